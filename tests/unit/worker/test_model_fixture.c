/* test_model_fixture.c: eight models against PyTorch in float64 (make_model_fixture.py): loss, gradients and five AdamW
 * steps with clipping, in double and in single precision. argv[1]: model_fixture.bin. */
#include "model_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/file.h"

static const char *fixture_path;
static char *fixture;
static size_t fixture_size;

/* The values of record "CASE.KIND" + NAME; *count of them. */
static const double *find_record(const char *name, int64_t *count)
{
    size_t at = 8;
    while (at + 72 <= fixture_size) {
        char key[65] = {0};
        int64_t n;
        memcpy(key, fixture + at, 64);
        memcpy(&n, fixture + at + 64, sizeof(n));
        assert_true(n >= 0 && at + 72 + (size_t)n * 8 <= fixture_size);
        if (strcmp(key, name) == 0) {
            *count = n;
            return (const double *)(const void *)(fixture + at + 72); /* 8-byte aligned as all records are */
        }
        at += 72 + (size_t)n * 8;
    }
    fail_msg("no record %s in the fixture", name);
    return NULL;
}

static const double *find_values(const char *name, const char *kind, int64_t count)
{
    char key[80];
    int64_t n = 0;
    snprintf(key, sizeof(key), "%s.%s", name, kind);
    const double *values = find_record(key, &n);
    assert_int_equal(n, count);
    return values;
}

/* All tensors of a kind ("init", "grad", "final") in the plan's order; the caller frees. */
static double *gather(const struct model_case *c, const char *name, const char *kind)
{
    double *out = calloc((size_t)c->plan.params, sizeof(double)), *at = out;
    assert_non_null(out);
    for (int i = 0; i < c->plan.parameter_count; i++) {
        const struct plan_parameter *p = &c->plan.parameters[i];
        char key[80];
        snprintf(key, sizeof(key), "%s.%s", kind, p->name);
        memcpy(at, find_values(name, key, p->rows * p->cols), (size_t)(p->rows * p->cols) * sizeof(double));
        at += p->rows * p->cols;
    }
    return out;
}

static struct spec read_spec(const char *name)
{
    const double *v = find_values(name, "spec", 30);
    struct spec s = {0};
    s.model.dim = (int64_t)v[0];
    s.model.layers = (int64_t)v[1];
    s.model.heads = (int64_t)v[2];
    s.model.vocab = (int64_t)v[3];
    s.model.d_ff = (int64_t)v[4];
    s.model.norm = v[5] != 0 ? SPEC_NORM_RMSNORM : SPEC_NORM_LAYERNORM;
    s.model.norms = (int64_t)v[6];
    s.model.parallel_residual = v[7] != 0;
    s.model.rotary_pct = v[8];
    s.model.rotary_base = v[9];
    s.model.tie_embeddings = v[10] != 0;
    s.model.bias = v[11] != 0;
    static const enum spec_ffn types[] = {FFN_GELU,     FFN_RELU2,        FFN_SWIGLU,   FFN_GEGLU,
                                          FFN_ELEPHANT, FFN_ELEPHANT_GLU, FFN_MINI_MOE, FFN_SDPA};
    s.model.ffn.type = types[(int)v[12]];
    s.model.ffn.gelu = v[13] != 0 ? GELU_TANH : GELU_ERF;
    s.model.ffn.elephant.a = v[14];
    s.model.ffn.elephant.d = v[15];
    s.train.seq_len = (int64_t)v[16];
    s.train.batch = (int64_t)v[17];
    s.data.reset = v[18] != 0 ? RESET_DOCUMENT : RESET_EPOCH;
    s.train.optimizer.lr = v[19];
    s.train.optimizer.betas[0] = v[20];
    s.train.optimizer.betas[1] = v[21];
    s.train.optimizer.eps = v[22];
    s.train.weight_decay = v[23];
    s.train.clip = v[24];
    s.model.ffn.mini_moe.units = (int64_t)v[25];
    s.model.ffn.mini_moe.gate = v[26] != 0 ? GATE_VECTOR : GATE_SCALAR;
    s.model.ffn.sdpa.n = (int64_t)v[27];
    s.model.ffn.elephant.learnable = v[28] != 0;
    s.model.ffn.elephant.pre_norm = v[29] != 0;
    return s;
}

static void open_case(struct model_case *c, const char *name, const char *backend)
{
    struct spec s = read_spec(name);
    case_open(c, &s, 0, backend, 1);
    int64_t n = s.train.batch * s.train.seq_len;
    const double *inputs = find_values(name, "inputs", n), *targets = find_values(name, "targets", n);
    const double *first = find_values(name, "first", n);
    c->counted = 0;
    for (int64_t i = 0; i < n; i++) {
        c->inputs[i] = (int32_t)inputs[i];
        c->targets[i] = (int32_t)targets[i];
        c->first[i] = (int32_t)first[i];
        c->counted += targets[i] >= 0;
    }
    double *init = gather(c, name, "init");
    case_write(c, init);
    free(init);
}

static void check_near(const char *what, double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance * fabs(expected)))
        fail_msg("%s: %.17g, PyTorch has %.17g", what, value, expected);
}

static void check_vector(const char *what, double *values, double *expected, int64_t n, double tolerance)
{
    double distance = vector_distance(values, expected, n);
    if (!(distance <= tolerance))
        fail_msg("%s: relative distance %.3g", what, distance);
    free(values);
    free(expected);
}

/* exact: to what float64 gives; else to what is owed in single precision. */
static void check_case(const char *name, const char *backend, bool exact)
{
    struct model_case c;
    open_case(&c, name, backend);
    double loss = case_backward(&c);
    const double *losses = find_values(name, "losses", 5), *norms = find_values(name, "norms", 5);
    check_near(name, loss, losses[0], exact ? 1e-13 : 1e-6);
    double *gradients = case_read(&c, CASE_GRADIENTS), *expected = gather(&c, name, "grad");
    int64_t at = 0;
    for (int i = 0; i < c.plan.parameter_count; i++) {
        int64_t n = c.plan.parameters[i].rows * c.plan.parameters[i].cols;
        double distance = vector_distance(gradients + at, expected + at, n);
        if (!(distance <= (exact ? 1e-11 : 1e-5)))
            fail_msg("%s, gradient of %s: relative distance %.3g", name, c.plan.parameters[i].name, distance);
        at += n;
    }
    check_vector(name, gradients, expected, c.plan.params, exact ? 1e-12 : 1e-5);

    for (int step = 0; step < 5; step++) {
        check_near("loss", case_backward(&c), losses[step], exact ? 1e-11 : 1e-5);
        check_near("gradient norm", case_step(&c, step + 1, c.spec.train.optimizer.lr), norms[step],
                   exact ? 1e-11 : 1e-4);
    }
    /* Not in single precision: a key's bias has no gradient but rounding, which Adam divides by its own size. */
    if (exact)
        check_vector("weights after 5 steps", case_read(&c, CASE_PARAMETERS), gather(&c, name, "final"), c.plan.params,
                     1e-11);
    case_close(&c);
}

static const char *const names[] = {"neox", "llama", "baka", "mixed", "units", "vectors", "lookup", "shaped"};
enum { NAMES = sizeof names / sizeof *names };

static void double_precision_is_pytorch(void **state)
{
    (void)state;
    for (int i = 0; i < NAMES; i++)
        check_case(names[i], "cpu-fp64", true);
}

static void single_precision_is_near_pytorch(void **state)
{
    (void)state;
    for (int i = 0; i < NAMES; i++)
        check_case(names[i], "cpu", false);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    fixture_path = argc > 1 ? argv[1] : "model_fixture.bin";
    if (file_read_all(fixture_path, 1 << 20, &fixture, &fixture_size, &err) != 0 || fixture_size < 8 ||
        memcmp(fixture, "BAKAFIX1", 8) != 0) {
        fprintf(stderr, "%s: not a fixture: %s\n", fixture_path, err.message);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(double_precision_is_pytorch),
        cmocka_unit_test(single_precision_is_near_pytorch),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(fixture);
    return failed;
}
