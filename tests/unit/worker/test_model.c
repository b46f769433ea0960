/* test_model.c: what holds of every model: micro-batches add up, stale memory, threads and recomputation do not matter,
 * single precision is near double, state can be taken out and put back, initial values follow their names. */
#include "model_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "worker/model_parts.h"

static struct spec medium_spec(void)
{
    struct spec s = case_spec();
    s.model.dim = 32;
    s.model.heads = 4;
    s.model.d_ff = 84;
    s.model.ffn.type = FFN_SWIGLU;
    s.train.seq_len = 24;
    s.train.batch = 8;
    return s;
}

static void check_micro_batches(int ffn)
{
    struct spec s = case_spec();
    case_set_ffn(&s, ffn);
    s.model.tie_embeddings = true;
    s.data.reset = RESET_DOCUMENT;
    double *whole = NULL, loss = 0;
    for (int64_t micro = 3; micro >= 1; micro--) {
        struct model_case c;
        s.train.micro_batch = micro;
        case_open(&c, &s, CASE_VOCAB, "cpu-fp64", 1);
        case_randomize(&c, 1);
        double this_loss = case_backward(&c), *gradient = case_read(&c, CASE_GRADIENTS);
        if (!whole) {
            loss = this_loss;
            whole = gradient;
        } else {
            assert_true(fabs(this_loss - loss) <= 1e-14 * loss);
            assert_true(vector_distance(gradient, whole, c.plan.params) <= 1e-13);
            free(gradient);
        }
        case_close(&c);
    }
    free(whole);
}

static void micro_batches_add_up_to_the_batch(void **state)
{
    (void)state;
    for (int ffn = 0; ffn < CASE_FFNS; ffn++)
        check_micro_batches(ffn);
}

/* Activations and logits, from the first buffer to the inputs, to NaN. */
static void poison(struct model_case *c)
{
    size_t begin = c->plan.buffers[0].offset, end = plan_find_buffer(&c->plan, "tokens")->offset;
    assert_int_equal(end - begin, c->plan.bytes.by_class[PLAN_ACTIVATIONS] + c->plan.bytes.by_class[PLAN_LOGITS]);
    void *bytes = malloc(end - begin);
    assert_non_null(bytes);
    memset(bytes, 0xff, end - begin);
    c->model->ops->upload(c->model->backend, c->model->arena + begin, bytes, end - begin);
    free(bytes);
}

static void stale_memory_does_not_matter(void **state)
{
    (void)state;
    for (int ffn = 0; ffn < CASE_FFNS; ffn++) {
        int variant = ffn % 3;
        struct spec s = medium_spec();
        case_set_ffn(&s, ffn);
        s.train.micro_batch = 3; /* the last one has 2 rows */
        s.model.parallel_residual = variant < 2;
        s.model.norms = variant == 1 ? 1 : 2;
        s.model.norm = variant == 1 ? SPEC_NORM_RMSNORM : SPEC_NORM_LAYERNORM;
        s.train.recompute = (enum spec_recompute)(RECOMPUTE_NONE + variant);
        double *results[2];
        for (int poisoned = 0; poisoned < 2; poisoned++) {
            struct model_case c;
            case_open(&c, &s, 61, "cpu", 1);
            for (int step = 1; step <= 3; step++) {
                if (poisoned)
                    poison(&c);
                case_backward(&c);
                if (poisoned)
                    poison(&c);
                assert_true(isfinite(case_step(&c, step, 0.01)));
                if (poisoned)
                    poison(&c);
                assert_true(isfinite(case_loss(&c)));
            }
            results[poisoned] = case_read(&c, CASE_PARAMETERS);
            assert_int_equal(case_updates(&c), 3);
            if (poisoned)
                assert_memory_equal(results[0], results[1], (size_t)c.plan.params * sizeof(double));
            case_close(&c);
        }
        free(results[0]);
        free(results[1]);
    }
}

struct outcome {
    double losses[3], norms[3], after; /* of three steps; the loss behind them */
    double *gradients, *parameters;
};

static struct outcome train(const struct spec *s, enum spec_recompute recompute)
{
    struct outcome o;
    struct spec with = *s;
    with.train.recompute = recompute;
    struct model_case c;
    case_open(&c, &with, 61, "cpu", 1);
    assert_int_equal(c.plan.recompute, recompute);
    case_randomize(&c, 11);
    for (int step = 0; step < 3; step++) {
        o.losses[step] = case_backward(&c);
        if (step == 0)
            o.gradients = case_read(&c, CASE_GRADIENTS);
        o.norms[step] = case_step(&c, step + 1, 0.01);
    }
    o.after = case_loss(&c);
    o.parameters = case_read(&c, CASE_PARAMETERS);
    case_close(&c);
    return o;
}

/* Widths that leave a tail behind every vector, and ones that do not. */
static struct spec recomputed_spec(int variant)
{
    int block = variant % 3;
    struct spec s = medium_spec();
    s.model.layers = 1 + variant % 4;
    s.model.dim = variant % 2 ? 36 : 32;
    s.model.d_ff = variant % 2 ? 78 : 80;
    s.model.parallel_residual = block < 2;
    s.model.norms = block == 1 ? 1 : 2;
    s.model.norm = variant / 3 % 2 ? SPEC_NORM_RMSNORM : SPEC_NORM_LAYERNORM;
    case_set_ffn(&s, variant % CASE_FFNS);
    s.model.tie_embeddings = variant / 6 % 2;
    s.model.bias = variant / 3 % 4 < 2;
    s.data.reset = variant % 5 == 4 ? RESET_DOCUMENT : RESET_EPOCH;
    s.train.micro_batch = variant % 4 == 3 ? 8 : 3; /* 3, 3 and 2 rows */
    return s;
}

static void recomputation_does_not_change_a_bit(void **state)
{
    (void)state;
    for (int variant = 0; variant < 2 * CASE_FFNS; variant++) {
        struct spec s = recomputed_spec(variant);
        struct outcome kept = train(&s, RECOMPUTE_NONE);
        struct plan p;
        struct err err = {0};
        assert_int_equal(plan_make(&s, 61, &plan_device_cpu, &p, &err), 0);
        size_t size = (size_t)p.params * sizeof(double);
        plan_finish(&p);
        for (int r = RECOMPUTE_CHEAP; r <= RECOMPUTE_ALL; r++) {
            struct outcome again = train(&s, (enum spec_recompute)r);
            assert_memory_equal(again.losses, kept.losses, sizeof(kept.losses));
            assert_memory_equal(again.norms, kept.norms, sizeof(kept.norms));
            assert_memory_equal(&again.after, &kept.after, sizeof(kept.after));
            assert_memory_equal(again.gradients, kept.gradients, size);
            assert_memory_equal(again.parameters, kept.parameters, size);
            free(again.gradients);
            free(again.parameters);
        }
        assert_true(kept.after < kept.losses[0]);
        free(kept.gradients);
        free(kept.parameters);
    }
}

static void check_threads(int ffn)
{
    struct spec s = medium_spec();
    case_set_ffn(&s, ffn);
    enum { STEPS = 8 };
    double losses[2][STEPS], *results[2];
    for (int threads = 1; threads <= 2; threads++) {
        struct model_case c;
        case_open(&c, &s, 301, "cpu", threads);
        for (int step = 0; step < STEPS; step++) {
            losses[threads - 1][step] = case_backward(&c);
            case_step(&c, step + 1, 0.003);
        }
        results[threads - 1] = case_read(&c, CASE_PARAMETERS);
        if (threads == 2)
            assert_memory_equal(results[0], results[1], (size_t)c.plan.params * sizeof(double));
        case_close(&c);
    }
    assert_memory_equal(losses[0], losses[1], sizeof(losses[0]));
    assert_true(losses[0][STEPS - 1] < 0.95 * losses[0][0]); /* and it learns */
    free(results[0]);
    free(results[1]);
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    for (int ffn = 0; ffn < CASE_FFNS; ffn++)
        check_threads(ffn);
}

static void check_single_precision(int ffn)
{
    struct spec s = medium_spec();
    case_set_ffn(&s, ffn);
    struct model_case narrow, wide;
    case_open(&narrow, &s, 61, "cpu", 1);
    case_open(&wide, &s, 61, "cpu-fp64", 1);
    double *values = case_read(&narrow, CASE_PARAMETERS);
    case_write(&wide, values); /* the same numbers, not the same before rounding */
    double a = case_backward(&narrow), b = case_backward(&wide);
    assert_true(fabs(a - b) <= 1e-6 * b);
    double *g = case_read(&narrow, CASE_GRADIENTS), *h = case_read(&wide, CASE_GRADIENTS);
    assert_true(vector_distance(g, h, wide.plan.params) <= 1e-5);
    free(values);
    free(g);
    free(h);
    case_close(&narrow);
    case_close(&wide);
}

static void single_precision_is_near_double(void **state)
{
    (void)state;
    for (int ffn = 0; ffn < CASE_FFNS; ffn++)
        check_single_precision(ffn);
}

static void a_step_that_is_not_finite_changes_nothing(void **state)
{
    (void)state;
    struct spec s = case_spec();
    struct model_case c;
    case_open(&c, &s, CASE_VOCAB, "cpu", 1);
    case_backward(&c);
    case_step(&c, 1, 0.01);
    double *good = case_read(&c, CASE_PARAMETERS), *bad = case_read(&c, CASE_PARAMETERS);
    double *m = case_read(&c, CASE_M), *v = case_read(&c, CASE_V);
    bad[c.plan.params - 1] = INFINITY;
    case_write(&c, bad);
    case_backward(&c);
    case_write(&c, good);
    assert_false(isfinite(case_step(&c, 2, 0.01)));
    assert_int_equal(case_updates(&c), 1);
    double *after[] = {case_read(&c, CASE_PARAMETERS), case_read(&c, CASE_M), case_read(&c, CASE_V)};
    size_t size = (size_t)c.plan.params * sizeof(double);
    assert_memory_equal(after[0], good, size);
    assert_memory_equal(after[1], m, size);
    assert_memory_equal(after[2], v, size);
    double *lists[] = {good, bad, m, v, after[0], after[1], after[2]};
    for (int i = 0; i < 7; i++)
        free(lists[i]);
    case_close(&c);
}

static void state_put_into_another_model_goes_on_alike(void **state)
{
    (void)state;
    struct spec s = medium_spec();
    struct model_case a, b;
    struct err err = {0};
    case_open(&a, &s, 61, "cpu", 1);
    s.train.seed = 2; /* other initial values, all to be overwritten */
    case_open(&b, &s, 61, "cpu", 1);
    for (int step = 1; step <= 3; step++) {
        case_backward(&a);
        case_step(&a, step, 0.01);
    }
    assert_int_equal(model_state_count(a.model), 3 * a.plan.parameter_count);
    for (int i = 0; i < model_state_count(a.model); i++) {
        struct model_tensor t, u;
        model_state_tensor(a.model, i, &t);
        model_state_tensor(b.model, i, &u);
        assert_string_equal(t.name, u.name);
        assert_int_equal(t.bytes, (size_t)(t.rows * t.cols) * 4);
        assert_int_equal(t.dtype, DTYPE_F32);
        void *values = malloc(t.bytes);
        assert_non_null(values);
        assert_int_equal(model_read_state(a.model, i, values, &err), 0);
        assert_int_equal(model_write_state(b.model, i, values, &err), 0);
        free(values);
    }
    struct model_tensor t;
    model_state_tensor(a.model, 0, &t);
    assert_string_equal(t.name, "embed.weight");
    model_state_tensor(a.model, a.plan.parameter_count, &t);
    assert_string_equal(t.name, "embed.weight.m");
    model_state_tensor(a.model, 2 * a.plan.parameter_count, &t);
    assert_string_equal(t.name, "embed.weight.v");
    assert_int_equal(model_write_updates(b.model, case_updates(&a), &err), 0);
    for (int step = 4; step <= 6; step++) {
        double x = case_backward(&a), y = case_backward(&b);
        assert_memory_equal(&x, &y, sizeof(x));
        x = case_step(&a, step, 0.01);
        y = case_step(&b, step, 0.01);
        assert_memory_equal(&x, &y, sizeof(x));
    }
    case_close(&a);
    case_close(&b);
}

static double *read_one(struct model_case *c, const char *name, int64_t *count)
{
    double *all = case_read(c, CASE_PARAMETERS);
    int64_t at = 0;
    for (int i = 0; i < c->plan.parameter_count; i++) {
        const struct plan_parameter *p = &c->plan.parameters[i];
        *count = p->rows * p->cols;
        if (strcmp(p->name, name) == 0) {
            memmove(all, all + at, (size_t)*count * sizeof(double));
            return all;
        }
        at += *count;
    }
    fail_msg("no %s", name);
    return NULL;
}

static double deviation(struct model_case *c, const char *name)
{
    int64_t n = 0;
    double sum = 0, *values = read_one(c, name, &n);
    for (int64_t i = 0; i < n; i++)
        sum += values[i] * values[i];
    free(values);
    return sqrt(sum / (double)n);
}

static void initial_values_follow_seed_and_name(void **state)
{
    (void)state;
    struct spec s = medium_spec();
    s.model.dim = 128;
    struct model_case a, b, other;
    case_open(&a, &s, 256, "cpu", 1);
    s.model.ffn.type = FFN_ELEPHANT; /* another feed-forward layer, other residual: what is shared starts equal */
    s.model.parallel_residual = false;
    case_open(&b, &s, 256, "cpu", 1);
    s.train.seed = 2;
    case_open(&other, &s, 256, "cpu", 1);
    static const char *const shared[] = {"embed.weight", "layers.1.attn.qkv.weight", "layers.0.attn.out.weight",
                                         "layers.1.ffn.down.weight", "head.weight"};
    for (int i = 0; i < 5; i++) {
        int64_t n = 0;
        double *x = read_one(&a, shared[i], &n), *y = read_one(&b, shared[i], &n), *z = read_one(&other, shared[i], &n);
        assert_memory_equal(x, y, (size_t)n * sizeof(double));
        assert_memory_not_equal(x, z, (size_t)n * sizeof(double));
        free(x);
        free(y);
        free(z);
    }
    double std = sqrt(2.0 / (5 * 128)), out = 2.0 / (2 * sqrt(128));
    assert_float_equal(deviation(&a, "embed.weight") / std, 1, 0.02);
    assert_float_equal(deviation(&a, "head.weight") / std, 1, 0.02);
    assert_float_equal(deviation(&a, "layers.0.ffn.up.weight") / std, 1, 0.02);
    assert_float_equal(deviation(&a, "layers.0.ffn.down.weight") / out, 1, 0.03);
    assert_float_equal(deviation(&a, "layers.1.attn.out.weight") / out, 1, 0.03);
    assert_true(deviation(&a, "layers.1.attn.out.bias") == 0);
    assert_true(deviation(&a, "final_norm.weight") == 1);
    case_close(&a);
    case_close(&b);
    case_close(&other);
}

static void plan_of_another_spec_is_refused(void **state)
{
    (void)state;
    struct spec s = case_spec();
    struct plan p;
    struct err err = {0};
    assert_int_equal(plan_make(&s, CASE_VOCAB, &plan_device_cpu, &p, &err), 0);
    for (int i = 0; i < 2; i++) {
        struct backend_options options = {
            .storage = DTYPE_F32, .threads = 1, .workspace_bytes = p.bytes.by_class[PLAN_WORKSPACE]};
        struct backend *b = NULL;
        struct model *m = NULL;
        assert_int_equal(backend_open("cpu", &options, &b, &err), 0);
        struct spec wrong = s;
        if (i == 0)
            wrong.model.ffn.type = FFN_SWIGLU;
        else
            wrong.model.layers = 3;
        assert_int_equal(model_create(&wrong, &p, b, &m, &err), -ERR_INTERNAL);
        assert_null(m);
        b->ops->close(b);
    }
    plan_finish(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(micro_batches_add_up_to_the_batch),
        cmocka_unit_test(stale_memory_does_not_matter),
        cmocka_unit_test(recomputation_does_not_change_a_bit),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(single_precision_is_near_double),
        cmocka_unit_test(a_step_that_is_not_finite_changes_nothing),
        cmocka_unit_test(state_put_into_another_model_goes_on_alike),
        cmocka_unit_test(initial_values_follow_seed_and_name),
        cmocka_unit_test(plan_of_another_spec_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
