/* test_optimizers.c: the optimizers beside AdamW against PyTorch's and numpy's answers in float64 (fixtures/,
 * make_fixtures.py), in double and on every instruction set of this CPU; LOMO's way through a list of tensors against
 * SGD's; threads; norms that are not finite. */
#include "fixture.h"
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENSORS = 3, STEPS = 4 };

/* Tensors of one optimizer; a column count of 0 is a vector. */
struct shape {
    int64_t rows, cols, parts;
};

struct problem {
    struct kernel_test *k;
    const struct fixture *f;
    struct optimizer_tensor t[TENSORS];
    int count;
    double *norm;
    int64_t updates;
    void *scratch;
};

struct rule {
    const char *fixture;
    struct shape shapes[TENSORS];
    int states; /* 1: m, 2: m a row and v a column (v whole in vectors) */
    void (*apply)(struct problem *p, const double *norm);
};

static double setting(const struct problem *p, const char *name)
{
    return *fixture_get(p->f, name, 1);
}

static void apply_sgd(struct problem *p, const double *norm)
{
    p->k->ops->sgd(p->k->backend, &(struct sgd_args){.tensors = p->t,
                                                     .count = p->count,
                                                     .norm = norm,
                                                     .updates = &p->updates,
                                                     .clip = setting(p, "clip"),
                                                     .momentum = setting(p, "momentum"),
                                                     .weight_decay = setting(p, "decay")});
}

static void apply_lion(struct problem *p, const double *norm)
{
    p->k->ops->lion(p->k->backend, &(struct lion_args){.tensors = p->t,
                                                       .count = p->count,
                                                       .norm = norm,
                                                       .updates = &p->updates,
                                                       .clip = setting(p, "clip"),
                                                       .beta1 = setting(p, "beta1"),
                                                       .beta2 = setting(p, "beta2"),
                                                       .weight_decay = setting(p, "decay")});
}

static void apply_muon(struct problem *p, const double *norm)
{
    p->k->ops->muon(p->k->backend, &(struct muon_args){.tensors = p->t,
                                                       .count = p->count,
                                                       .norm = norm,
                                                       .clip = setting(p, "clip"),
                                                       .momentum = setting(p, "momentum"),
                                                       .weight_decay = setting(p, "decay"),
                                                       .scratch = p->scratch});
}

static void apply_adalomo(struct problem *p, const double *norm)
{
    p->k->ops->adalomo(p->k->backend, &(struct adalomo_args){.tensors = p->t,
                                                             .count = p->count,
                                                             .norm = norm,
                                                             .updates = &p->updates,
                                                             .counts = true,
                                                             .clip = setting(p, "clip"),
                                                             .weight_decay = setting(p, "decay")});
}

static const struct rule rules[] = {
    {"sgd", {{6, 5, 1}, {7, 0, 1}}, 0, apply_sgd},         {"sgd_momentum", {{6, 5, 1}, {7, 0, 1}}, 1, apply_sgd},
    {"lion", {{6, 5, 1}, {7, 0, 1}}, 1, apply_lion},       {"muon", {{9, 4, 1}, {4, 6, 1}, {6, 5, 2}}, 1, apply_muon},
    {"adalomo", {{6, 5, 1}, {7, 0, 1}}, 2, apply_adalomo},
};

static void put_states(struct problem *p, const struct rule *rule, struct optimizer_tensor *t)
{
    bool factored = rule->states == 2 && t->decay;
    if (rule->states == 1 || factored)
        t->m = kernel_test_fill(p->k, 0, factored ? t->rows : t->n);
    if (rule->states == 2)
        t->v = kernel_test_fill(p->k, 0, factored ? t->cols : t->n);
}

static void open_problem(struct problem *p, const struct rule *rule, struct kernel_test *k, const struct fixture *f)
{
    *p = (struct problem){.k = k, .f = f, .norm = kernel_test_double(k, NAN)};
    for (const struct shape *s = rule->shapes; p->count < TENSORS && s->rows > 0; s++) {
        struct optimizer_tensor *t = &p->t[p->count];
        char name[32];
        snprintf(name, sizeof name, "p%d.0", p->count++);
        *t = (struct optimizer_tensor){.n = s->rows * (s->cols ? s->cols : 1),
                                       .decay = s->cols > 0,
                                       .rows = s->rows,
                                       .cols = s->cols ? s->cols : 1,
                                       .parts = s->parts};
        t->param = kernel_test_put(k, fixture_get(f, name, t->n), t->n);
        put_states(p, rule, t);
    }
    p->scratch = kernel_test_poison(k, 4096);
}

static void put_gradients(struct problem *p, int step)
{
    char name[32];
    for (int i = 0; i < p->count; i++) {
        snprintf(name, sizeof name, "g%d.%d", i, step);
        p->t[i].grad = kernel_test_put(p->k, fixture_get(p->f, name, p->t[i].n), p->t[i].n);
    }
}

static void begin(struct problem *p, int step)
{
    p->k->ops->step_begin(p->k->backend, &(struct step_values){.step = step, .lr = setting(p, "lr")});
}

static void run_step(struct problem *p, const struct rule *rule, int step)
{
    double squares[sizeof p->t / sizeof *p->t];
    put_gradients(p, step);
    begin(p, step);
    p->k->ops->grad_squares(p->k->backend, &(struct grad_squares_args){p->t, p->count, squares});
    p->k->ops->norm_of_squares(p->k->backend, &(struct norm_of_squares_args){squares, p->count, p->norm});
    rule->apply(p, p->norm);
    p->k->ops->step_end(p->k->backend);
}

static void check_parameters(struct problem *p, int step, double tolerance)
{
    for (int i = 0; i < p->count; i++) {
        char name[32];
        double *got = calloc((size_t)p->t[i].n, sizeof *got);
        snprintf(name, sizeof name, "p%d.%d", i, step);
        kernel_test_sync(p->k);
        kernel_test_get(p->k, p->t[i].param, p->t[i].n, got);
        assert_close(got, fixture_get(p->f, name, p->t[i].n), p->t[i].n, tolerance, "%s: %s",
                     p->k->ops->device_kind(p->k->backend), name);
        free(got);
    }
}

static void steps_are_those_of_the_sources(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        struct fixture f;
        fixture_read(&f, rules[r].fixture);
        for (int isa = -1; isa < cpu_isa_count; isa++) {
            if (isa >= 0 && !cpu_isas[isa].runs_here())
                continue;
            struct kernel_test k;
            struct problem p;
            kernel_test_open(&k, isa, 2);
            open_problem(&p, &rules[r], &k, &f);
            for (int step = 1; step <= STEPS; step++) {
                run_step(&p, &rules[r], step);
                check_parameters(&p, step, isa < 0 ? 1e-11 : 1e-5);
            }
            assert_int_equal(p.updates, rules[r].apply == apply_muon ? 0 : STEPS);
            kernel_test_close(&k);
        }
        fixture_finish(&f);
    }
}

static void a_norm_that_is_not_finite_changes_nothing(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        struct fixture f;
        struct kernel_test k;
        struct problem p;
        fixture_read(&f, rules[r].fixture);
        kernel_test_open(&k, -1, 1);
        open_problem(&p, &rules[r], &k, &f);
        put_gradients(&p, 1);
        begin(&p, 1);
        *p.norm = INFINITY;
        rules[r].apply(&p, p.norm);
        k.ops->step_end(k.backend);
        check_parameters(&p, 0, 0);
        for (int i = 0; i < p.count && p.t[i].m; i++) {
            double m;
            kernel_test_get(&k, p.t[i].m, 1, &m);
            assert_true(m == 0);
        }
        assert_int_equal(p.updates, 0);
        kernel_test_close(&k);
        fixture_finish(&f);
    }
}

/* Tensor by tensor, in any order, the norm and the parameters have the bits that all at once have. */
static void one_tensor_at_a_time_is_all_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct kernel_test k;
    struct problem whole, single;
    double squares[2][TENSORS], norm[2], got[2][30];
    fixture_read(&f, "sgd");
    kernel_test_open(&k, cpu_isa_count - 1, 2);
    open_problem(&whole, &rules[0], &k, &f);
    open_problem(&single, &rules[0], &k, &f);
    put_gradients(&whole, 1);
    put_gradients(&single, 1);
    begin(&whole, 1);
    k.ops->grad_squares(k.backend, &(struct grad_squares_args){whole.t, whole.count, squares[0]});
    for (int i = single.count - 1; i >= 0; i--)
        k.ops->grad_squares(k.backend, &(struct grad_squares_args){&single.t[i], 1, &squares[1][i]});
    for (int i = 0; i < 2; i++)
        k.ops->norm_of_squares(k.backend, &(struct norm_of_squares_args){squares[i], whole.count, &norm[i]});
    apply_sgd(&whole, &norm[0]);
    for (int i = single.count - 1; i >= 0; i--) {
        struct problem one = single;
        one.count = 1;
        one.t[0] = single.t[i];
        apply_sgd(&one, &norm[1]);
    }
    k.ops->step_end(k.backend);
    assert_memory_equal(squares[0], squares[1], (size_t)whole.count * sizeof(double));
    assert_close(&norm[0], fixture_get(&f, "norm.1", 1), 1, 1e-13, "norm");
    assert_memory_equal(&norm[0], &norm[1], sizeof norm[0]);
    for (int i = 0; i < whole.count; i++) {
        kernel_test_get(&k, whole.t[i].param, whole.t[i].n, got[0]);
        kernel_test_get(&k, single.t[i].param, whole.t[i].n, got[1]);
        assert_memory_equal(got[0], got[1], (size_t)whole.t[i].n * sizeof(double));
    }
    kernel_test_close(&k);
    fixture_finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_those_of_the_sources),
        cmocka_unit_test(a_norm_that_is_not_finite_changes_nothing),
        cmocka_unit_test(one_tensor_at_a_time_is_all_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
