/* test_torch.c: operators against PyTorch's answers in float64 (fixtures/, make_fixtures.py), in double and on every
 * instruction set of this CPU. */
#include "fixture.h"
#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Runs a check on each backend with its tolerance. */
static void each_backend(void (*check)(struct kernel_test *k, const struct fixture *f, double tolerance),
                         const char *fixture)
{
    struct fixture f;
    fixture_read(&f, fixture);
    for (int isa = -1; isa < cpu_isa_count; isa++) {
        if (isa >= 0 && !cpu_isas[isa].runs_here())
            continue;
        struct kernel_test k;
        kernel_test_open(&k, isa, 2);
        check(&k, &f, isa < 0 ? 1e-12 : 3e-6);
        kernel_test_close(&k);
    }
    fixture_finish(&f);
}

static void compare(struct kernel_test *k, const void *p, const struct fixture *f, const char *name, int64_t n,
                    double tolerance)
{
    double *got = calloc((size_t)n, sizeof *got);
    kernel_test_sync(k);
    kernel_test_get(k, p, n, got);
    assert_close(got, fixture_get(f, name, n), n, tolerance, "%s: %s", k->ops->device_kind(k->backend), name);
    free(got);
}

static void check_activations(struct kernel_test *k, const struct fixture *f, double tolerance)
{
    static const struct {
        const char *name;
        struct activation act;
    } cases[] = {
        {"gelu_erf", {ACT_GELU_ERF, 0, 0}},
        {"gelu_tanh", {ACT_GELU_TANH, 0, 0}},
        {"relu2", {ACT_RELU2, 0, 0}},
        {"silu", {ACT_SILU, 0, 0}},
        {"elephant_1_8", {ACT_ELEPHANT, 1, 8}},
        {"elephant_0.7_4", {ACT_ELEPHANT, 0.7, 4}},
        {"elephant_1.3_2.5", {ACT_ELEPHANT, 1.3, 2.5}},
    };
    enum { N = 197 };
    const double *x = fixture_get(f, "x", N);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct ffn_up_args forward = {
            .rows = 1, .width = N, .act = cases[i].act, .pre = kernel_test_put(k, x, N), .h = kernel_test_poison(k, N)};
        k->ops->activation_forward(k->backend, &forward);
        compare(k, forward.h, f, cases[i].name, N, tolerance);
        const struct ffn_up_backward_args backward = {
            .rows = 1, .width = N, .act = cases[i].act, .pre = forward.pre, .dh = kernel_test_fill(k, 1, N)};
        k->ops->activation_backward(k->backend, &backward);
        char name[64];
        snprintf(name, sizeof name, "%s.d", cases[i].name);
        compare(k, backward.pre, f, name, N, tolerance);
    }
}

static void check_norms(struct kernel_test *k, const struct fixture *f, double tolerance)
{
    const double *shape = fixture_get(f, "shape", 2);
    int64_t rows = (int64_t)shape[0], dim = (int64_t)shape[1], n = rows * dim;
    for (int kind = 0; kind < 2; kind++) {
        bool layer = kind == NORM_LAYERNORM;
        void *x = kernel_test_put(k, fixture_get(f, "x", n), n);
        const struct norm_forward_args a = {
            .kind = (enum norm_kind)kind,
            .rows = rows,
            .dim = dim,
            .eps = 1e-5,
            .x = x,
            .sum = x,
            .mean = kernel_test_poison(k, rows),
            .rstd = kernel_test_poison(k, rows),
            .weight = {kernel_test_put(k, fixture_get(f, "weight", dim), dim)},
            .bias = {layer ? kernel_test_put(k, fixture_get(f, "bias", dim), dim) : NULL},
            .y = {kernel_test_poison(k, n)},
        };
        k->ops->norm_forward(k->backend, &a);
        compare(k, a.y[0], f, layer ? "layernorm.y" : "rmsnorm.y", n, tolerance);
        const struct norm_backward_args b = {
            .kind = a.kind,
            .rows = rows,
            .dim = dim,
            .sum = x,
            .mean = a.mean,
            .rstd = a.rstd,
            .weight = {a.weight[0]},
            .dy = {kernel_test_put(k, fixture_get(f, "dy", n), n)},
            .dx = kernel_test_poison(k, n),
            .d_weight = {kernel_test_fill(k, 0, dim)},
            .d_bias = {layer ? kernel_test_fill(k, 0, dim) : NULL},
        };
        k->ops->norm_backward(k->backend, &b);
        compare(k, b.dx, f, layer ? "layernorm.dx" : "rmsnorm.dx", n, tolerance);
        compare(k, b.d_weight[0], f, layer ? "layernorm.dw" : "rmsnorm.dw", dim, tolerance);
        if (layer)
            compare(k, b.d_bias[0], f, "layernorm.db", dim, tolerance);
    }
}

static void check_attention(struct kernel_test *k, const struct fixture *f, double tolerance)
{
    const double *shape = fixture_get(f, "shape", 5);
    int64_t batch = (int64_t)shape[0], seq = (int64_t)shape[1], heads = (int64_t)shape[2], dim = (int64_t)shape[3];
    int64_t rows = batch * seq, n = rows * heads * dim;
    int32_t *first = calloc((size_t)rows, sizeof *first);
    for (int64_t i = 0; i < rows; i++)
        first[i] = (int32_t)fixture_get(f, "first", rows)[i];
    for (int documents = 0; documents < 2; documents++) {
        const struct attention_args a = {
            .batch = batch,
            .seq = seq,
            .heads = heads,
            .head_dim = dim,
            .rotary_dims = (int64_t)shape[4],
            .rotary_base = 10000,
            .scale = 1 / sqrt((double)dim),
            .first = documents ? kernel_test_ints(k, first, rows) : NULL,
            .qkv = kernel_test_put(k, fixture_get(f, "qkv", 3 * n), 3 * n),
            .out = kernel_test_poison(k, n),
            .lse = kernel_test_poison(k, rows * heads),
            .d_out = kernel_test_put(k, fixture_get(f, "d_out", n), n),
            .d_qkv = kernel_test_poison(k, 3 * n),
        };
        k->ops->attention_forward(k->backend, &a);
        k->ops->attention_backward(k->backend, &a);
        compare(k, a.out, f, documents ? "documents.out" : "plain.out", n, tolerance);
        compare(k, a.lse, f, documents ? "documents.lse" : "plain.lse", rows * heads, tolerance);
        compare(k, a.d_qkv, f, documents ? "documents.d_qkv" : "plain.d_qkv", 3 * n, tolerance);
    }
    free(first);
}

static void check_classifier(struct kernel_test *k, const struct fixture *f, double tolerance)
{
    const double *shape = fixture_get(f, "shape", 3);
    int64_t rows = (int64_t)shape[0], dim = (int64_t)shape[1], vocab = (int64_t)shape[2];
    int32_t *targets = calloc((size_t)rows, sizeof *targets);
    for (int64_t i = 0; i < rows; i++)
        targets[i] = (int32_t)fixture_get(f, "targets", rows)[i];
    const struct classifier_args a = {
        .rows = rows,
        .dim = dim,
        .vocab = vocab,
        .chunk_rows = 4,
        .x = kernel_test_put(k, fixture_get(f, "x", rows * dim), rows * dim),
        .w = kernel_test_put(k, fixture_get(f, "w", vocab * dim), vocab * dim),
        .targets = kernel_test_ints(k, targets, rows),
        .logits = kernel_test_poison(k, 4 * vocab),
        .loss_sum = kernel_test_double(k, 0),
        .dx = kernel_test_poison(k, rows * dim),
        .d_w = kernel_test_fill(k, 0, vocab * dim),
    };
    k->ops->step_begin(k->backend, &(struct step_values){.step = 1, .loss_scale = *fixture_get(f, "scale", 1)});
    k->ops->classifier(k->backend, &a);
    k->ops->step_end(k->backend);
    free(targets);
    compare(k, a.dx, f, "dx", rows * dim, tolerance);
    compare(k, a.d_w, f, "dw", vocab * dim, tolerance);
    assert_close(a.loss_sum, fixture_get(f, "loss", 1), 1, tolerance, "loss");
}

static void check_adamw(struct kernel_test *k, const struct fixture *f, double tolerance)
{
    static const int64_t sizes[] = {30, 7};
    struct optimizer_tensor t[2];
    for (int i = 0; i < 2; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%d.0", i);
        t[i] = (struct optimizer_tensor){
            .param = kernel_test_put(k, fixture_get(f, name, sizes[i]), sizes[i]),
            .m = kernel_test_fill(k, 0, sizes[i]),
            .v = kernel_test_fill(k, 0, sizes[i]),
            .n = sizes[i],
            .decay = i == 0,
        };
    }
    int64_t updates = 0;
    double squares[2], *norm = kernel_test_double(k, -1);
    for (int step = 1; step <= 5; step++) {
        char name[16];
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "g%d.%d", i, step);
            t[i].grad = kernel_test_put(k, fixture_get(f, name, sizes[i]), sizes[i]);
        }
        k->ops->step_begin(k->backend, &(struct step_values){.step = step, .lr = *fixture_get(f, "lr", 1)});
        k->ops->grad_squares(k->backend, &(struct grad_squares_args){t, 2, squares});
        k->ops->norm_of_squares(k->backend, &(struct norm_of_squares_args){squares, 2, norm});
        k->ops->adamw(k->backend, &(struct adamw_args){.tensors = t,
                                                       .count = 2,
                                                       .norm = norm,
                                                       .updates = &updates,
                                                       .clip = *fixture_get(f, "clip", 1),
                                                       .beta1 = *fixture_get(f, "beta1", 1),
                                                       .beta2 = *fixture_get(f, "beta2", 1),
                                                       .eps = *fixture_get(f, "eps", 1),
                                                       .weight_decay = *fixture_get(f, "decay", 1),
                                                       .lr_factor = 1});
        k->ops->step_end(k->backend);
        snprintf(name, sizeof name, "norm.%d", step);
        assert_close(norm, fixture_get(f, name, 1), 1, 1e-13, "norm of step %d", step);
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "p%d.%d", i, step);
            compare(k, t[i].param, f, name, sizes[i], tolerance);
        }
    }
}

static void test_activations(void **state)
{
    (void)state;
    each_backend(check_activations, "activations");
}

static void test_norms(void **state)
{
    (void)state;
    each_backend(check_norms, "norms");
}

static void test_attention(void **state)
{
    (void)state;
    each_backend(check_attention, "attention");
}

static void test_classifier(void **state)
{
    (void)state;
    each_backend(check_classifier, "classifier");
}

static void test_adamw(void **state)
{
    (void)state;
    each_backend(check_adamw, "adamw");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations), cmocka_unit_test(test_norms), cmocka_unit_test(test_attention),
        cmocka_unit_test(test_classifier),  cmocka_unit_test(test_adamw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
