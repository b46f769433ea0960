/* test_device.c: opening, sticky errors, the optimizer, and limits of the workspace. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void test_open(void **state)
{
    (void)state;
    struct err err = {0};
    struct backend *b = NULL;
    struct backend_options options = {.storage = DTYPE_F32, .threads = 2, .workspace_bytes = 1 << 20};
    assert_int_equal(backend_open("cpu", &options, &b, &err), 0);
    assert_string_equal(b->ops->name, "cpu");
    assert_memory_equal(b->ops->device_kind(b), "cpu-", 4);
    assert_memory_equal(b->ops->library_versions(b), "onednn ", 7);
    void *base = NULL;
    assert_int_equal(b->ops->arena(b, 12345, &base, &err), 0);
    assert_int_equal((uintptr_t)base % 256, 0);
    for (int i = 0; i < 12345; i++)
        assert_int_equal(((unsigned char *)base)[i], 0);
    assert_int_equal(b->ops->arena(b, 1, &base, &err), -ERR_CONFLICT);
    b->ops->close(b);

    b = NULL;
    assert_int_equal(backend_open("abacus", &options, &b, &err), -ERR_UNAVAILABLE);
    assert_non_null(strstr(err.message, "abacus"));
    assert_non_null(strstr(err.message, "cpu"));
    options.storage = DTYPE_BF16;
    assert_int_equal(backend_open("cpu", &options, &b, &err), -ERR_INVALID);
    options.storage = DTYPE_F32;
    options.threads = 0;
    assert_int_equal(backend_open("cpu", &options, &b, &err), -ERR_INVALID);
    options = (struct backend_options){.storage = DTYPE_F32, .threads = 1, .workspace_bytes = (size_t)-1};
    assert_int_equal(backend_open("cpu", &options, &b, &err), -ERR_NO_MEMORY);
    assert_null(b);
}

static void test_first_error_sticks(void **state)
{
    (void)state;
    struct kernel_test k;
    kernel_test_open(&k, cpu_isa_count - 1, 2);
    k.ops->step_begin(k.backend, &(struct step_values){.step = 41});
    static const int32_t tokens[] = {0, 2, 7};
    struct embed_args a = {.rows = 3,
                           .dim = 4,
                           .vocab = 7,
                           .tokens = kernel_test_ints(&k, tokens, 3),
                           .table = kernel_test_fill(&k, 1, 28),
                           .out = kernel_test_fill(&k, 5, 12)};
    k.ops->embed_forward(k.backend, &a);
    struct err err = {0};
    assert_int_equal(k.ops->sync(k.backend, &err), -ERR_INVALID);
    assert_non_null(strstr(err.message, "embed_forward at step 41"));
    assert_non_null(strstr(err.message, "token 7"));

    /* What follows does nothing and does not replace it. */
    double out[12];
    a.vocab = 8;
    k.ops->embed_forward(k.backend, &a);
    kernel_test_get(&k, a.out, 12, out);
    for (int i = 0; i < 12; i++)
        assert_true(out[i] == 5);
    struct err again = {0};
    assert_int_equal(k.ops->sync(k.backend, &again), -ERR_INVALID);
    assert_string_equal(again.message, err.message);
    kernel_test_close(&k);
}

static void test_shapes_that_do_not_fit(void **state)
{
    (void)state;
    struct err err = {0};
    struct backend *b;
    const struct backend_options options = {.storage = DTYPE_F32, .threads = 4, .workspace_bytes = 64 << 10};
    assert_int_equal(backend_open("cpu", &options, &b, &err), 0);
    float none = 0;
    struct attention_args a = {.batch = 1,
                               .seq = 100000,
                               .heads = 1,
                               .head_dim = 64,
                               .rotary_dims = 64,
                               .rotary_base = 10000,
                               .scale = 1,
                               .qkv = &none,
                               .out = &none,
                               .lse = &none};
    b->ops->attention_forward(b, &a);
    assert_int_equal(b->ops->sync(b, &err), -ERR_TOO_LARGE);
    assert_non_null(strstr(err.message, "attention_forward"));
    b->ops->close(b);

    assert_int_equal(backend_open("cpu", &options, &b, &err), 0);
    const struct norm_backward_args n = {.rows = 1000, .dim = 100000};
    b->ops->norm_backward(b, &n);
    assert_int_equal(b->ops->sync(b, &err), -ERR_TOO_LARGE);
    assert_non_null(strstr(err.message, "norm_backward"));
    b->ops->close(b);
}

/* Fewer slots than threads: the same bits from a smaller team. */
static void test_small_workspace(void **state)
{
    (void)state;
    enum { SEQ = 100, N = SEQ * 3 * 2 * 8 };
    float qkv[2][N], out[2][SEQ * 16], lse[2][SEQ * 2];
    for (int run = 0; run < 2; run++) {
        struct err err = {0};
        struct backend *b;
        const struct backend_options options = {
            .storage = DTYPE_F32, .threads = 3, .workspace_bytes = run ? (256 << 10) : (32 << 20)};
        assert_int_equal(backend_open("cpu", &options, &b, &err), 0);
        struct draw d = {7};
        for (int i = 0; i < N; i++)
            qkv[run][i] = (float)draw_normal(&d);
        const struct attention_args a = {.batch = 1,
                                         .seq = SEQ,
                                         .heads = 2,
                                         .head_dim = 8,
                                         .rotary_dims = 8,
                                         .rotary_base = 10000,
                                         .scale = 1,
                                         .qkv = qkv[run],
                                         .out = out[run],
                                         .lse = lse[run]};
        b->ops->attention_forward(b, &a);
        assert_int_equal(b->ops->sync(b, &err), 0);
        b->ops->close(b);
    }
    assert_memory_equal(out[0], out[1], sizeof out[0]);
    assert_memory_equal(lse[0], lse[1], sizeof lse[0]);
}

/* The optimizer against its formulas in double, over tensors larger than one piece. */
static void check_optimizer(int isa, int threads, double tolerance, double clip, double spoil)
{
    static const int64_t sizes[] = {1, 40001, 17, 16384};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    struct kernel_test k;
    kernel_test_open(&k, isa, threads);
    struct draw d = {11};
    struct optimizer_tensor tensors[COUNT];
    double *host[COUNT][4], square = 0;
    for (int t = 0; t < COUNT; t++) {
        for (int w = 0; w < 4; w++) {
            host[t][w] = calloc((size_t)sizes[t], sizeof(double));
            for (int64_t i = 0; i < sizes[t]; i++) {
                host[t][w][i] = draw_normal(&d);
                host[t][w][i] = w == 3 ? fabs(host[t][w][i]) : host[t][w][i];
            }
        }
        if (t == 1 && spoil != 0)
            host[t][1][20000] = spoil;
        for (int64_t i = 0; i < sizes[t]; i++)
            square += host[t][1][i] * host[t][1][i];
        tensors[t] = (struct optimizer_tensor){
            .param = kernel_test_put(&k, host[t][0], sizes[t]),
            .grad = kernel_test_put(&k, host[t][1], sizes[t]),
            .m = kernel_test_put(&k, host[t][2], sizes[t]),
            .v = kernel_test_put(&k, host[t][3], sizes[t]),
            .n = sizes[t],
            .decay = t % 2,
        };
    }
    const double b1 = 0.9, b2 = 0.95, eps = 1e-8, lr = 1e-2, decay = 0.1, c1 = 1 - pow(b1, 3), c2 = 1 - pow(b2, 3);
    k.ops->step_begin(k.backend, &(struct step_values){.step = 3, .lr = lr});
    int64_t updates = 2;
    double *norm = kernel_test_double(&k, -1);
    double squares[COUNT];
    k.ops->grad_squares(k.backend, &(struct grad_squares_args){tensors, COUNT, squares});
    k.ops->norm_of_squares(k.backend, &(struct norm_of_squares_args){squares, COUNT, norm});
    k.ops->adamw(k.backend, &(struct adamw_args){tensors, COUNT, norm, &updates, clip, b1, b2, eps, decay, 1});
    k.ops->step_end(k.backend);
    kernel_test_sync(&k);
    assert_int_equal(updates, spoil != 0 ? 2 : 3);
    if (spoil != 0)
        assert_false(isfinite(*norm));
    else if (fabs(*norm - sqrt(square)) > 1e-12 * sqrt(square))
        fail_msg("the norm is %.17g, not %.17g", *norm, sqrt(square));
    double factor = clip > 0 ? fmin(1, clip / (sqrt(square) + 1e-6)) : 1;
    for (int t = 0; t < COUNT; t++) {
        double *p = host[t][0], *g = host[t][1], *m = host[t][2], *v = host[t][3];
        for (int64_t i = 0; spoil == 0 && i < sizes[t]; i++) {
            double gi = g[i] * factor;
            m[i] = b1 * m[i] + (1 - b1) * gi;
            v[i] = b2 * v[i] + (1 - b2) * gi * gi;
            p[i] -= tensors[t].decay ? lr * decay * p[i] : 0;
            p[i] -= lr * (m[i] / c1) / (sqrt(v[i] / c2) + eps);
        }
        void *device[] = {tensors[t].param, tensors[t].grad, tensors[t].m, tensors[t].v};
        static const char *const names[] = {"param", "grad", "m", "v"};
        for (int w = 0; w < 4; w++) {
            double *got = calloc((size_t)sizes[t], sizeof(double));
            kernel_test_get(&k, device[w], sizes[t], got);
            if (w != 1 || spoil == 0)
                assert_close(got, host[t][w], sizes[t], spoil != 0 ? 0 : tolerance, "tensor %d, %s", t, names[w]);
            free(got);
            free(host[t][w]);
        }
    }
    kernel_test_close(&k);
}

static void test_optimizer(void **state)
{
    (void)state;
    for (int isa = -1; isa < cpu_isa_count; isa++) {
        if (isa >= 0 && !cpu_isas[isa].runs_here())
            continue;
        for (int threads = 1; threads <= 3; threads++) {
            check_optimizer(isa, threads, isa < 0 ? 1e-14 : 1e-6, 1.0, 0);
            check_optimizer(isa, threads, isa < 0 ? 1e-14 : 1e-6, 0, 0);
            check_optimizer(isa, threads, isa < 0 ? 1e-14 : 1e-6, 1e9, 0);
            check_optimizer(isa, threads, 0, 1.0, INFINITY);
            check_optimizer(isa, threads, 0, 1.0, NAN);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_first_error_sticks),
        cmocka_unit_test(test_shapes_that_do_not_fit),
        cmocka_unit_test(test_small_workspace),
        cmocka_unit_test(test_optimizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
