/* test_model_ffn.c: what holds of single feed-forward layers: units whose gates are open are one SwiGLU, shaped
 * elephants start as their spec says. */
#include "model_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a tensor stands in a flat vector of all. */
static double *tensor_in(const struct model_case *c, double *all, const char *name, int64_t *count)
{
    for (int i = 0; i < c->plan.parameter_count; i++) {
        const struct plan_parameter *p = &c->plan.parameters[i];
        *count = p->rows * p->cols;
        if (strcmp(p->name, name) == 0)
            return all;
        all += *count;
    }
    fail_msg("no %s", name);
    return NULL;
}

static void set_tensor(struct model_case *c, double *all, const char *name, double value)
{
    int64_t n = 0;
    double *at = tensor_in(c, all, name, &n);
    for (int64_t i = 0; i < n; i++)
        at[i] = value;
}

static void copy_rows(struct model_case *to, double *all, const char *name, int64_t row, struct model_case *from,
                      double *others, int64_t from_row, int64_t rows)
{
    int64_t n = 0, from_n = 0;
    double *target = tensor_in(to, all, name, &n), *source = tensor_in(from, others, name, &from_n);
    int64_t cols = plan_find_parameter(&to->plan, name)->cols;
    assert_true((row + rows) * cols <= n && (from_row + rows) * cols <= from_n);
    memcpy(target + row * cols, source + from_row * cols, (size_t)(rows * cols) * sizeof(double));
}

/* Rows of a unit's gate and up part, and its columns of the down product, from where one SwiGLU of n units' width has
 * them. */
static void copy_units(struct model_case *moe, double *all, struct model_case *swiglu, double *others, int layer,
                       bool vector)
{
    int64_t width = moe->plan.d_ff, units = moe->spec.model.ffn.mini_moe.units, unit = width / units, n = 0;
    int64_t d = moe->spec.model.dim;
    char up[64], down[64];
    snprintf(up, sizeof up, "layers.%d.ffn.up.weight", layer);
    snprintf(down, sizeof down, "layers.%d.ffn.down.weight", layer);
    if (!vector) {
        copy_rows(moe, all, up, 0, swiglu, others, 0, 2 * width);
        copy_rows(moe, all, down, 0, swiglu, others, 0, d);
        return;
    }
    double *to = tensor_in(moe, all, down, &n), *from = tensor_in(swiglu, others, down, &n);
    for (int64_t u = 0; u < units; u++) {
        copy_rows(moe, all, up, 2 * u * unit, swiglu, others, u * unit, unit);
        copy_rows(moe, all, up, (2 * u + 1) * unit, swiglu, others, width + u * unit, unit);
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < unit; j++)
                to[(u * d + i) * unit + j] = from[i * width + u * unit + j];
    }
}

/* With gates of 1, n units of width w are one SwiGLU of width n*w. */
static void units_with_open_gates_are_swiglu(void **state)
{
    (void)state;
    for (int vector = 0; vector < 2; vector++) {
        struct spec s = case_spec();
        struct model_case swiglu, moe;
        s.model.ffn.type = FFN_SWIGLU;
        case_open(&swiglu, &s, 61, "cpu-fp64", 1);
        s.model.ffn.type = FFN_MINI_MOE;
        s.model.ffn.mini_moe.units = 3;
        s.model.ffn.mini_moe.gate = vector ? GATE_VECTOR : GATE_SCALAR;
        case_open(&moe, &s, 61, "cpu-fp64", 1);
        double *others = case_read(&swiglu, CASE_PARAMETERS), *all = case_read(&moe, CASE_PARAMETERS);
        for (int layer = 0; layer < 2; layer++) {
            char name[64];
            copy_units(&moe, all, &swiglu, others, layer, vector);
            snprintf(name, sizeof name, "layers.%d.ffn.gate.weight", layer);
            set_tensor(&moe, all, name, 0);
            snprintf(name, sizeof name, "layers.%d.ffn.gate.bias", layer);
            set_tensor(&moe, all, name, 60); /* sigmoid(60) is 1 */
        }
        case_write(&moe, all);
        double one = case_loss(&swiglu), many = case_loss(&moe);
        assert_true(fabs(one - many) <= 1e-14 * one);
        for (int layer = 0; layer < 2; layer++) {
            char name[64];
            snprintf(name, sizeof name, "layers.%d.ffn.gate.bias", layer);
            set_tensor(&moe, all, name, 0); /* and half open ones are not */
        }
        case_write(&moe, all);
        assert_true(fabs(one - case_loss(&moe)) > 1e-6 * one);
        free(others);
        free(all);
        case_close(&swiglu);
        case_close(&moe);
    }
}

static void check_values(const double *values, int64_t n, double first, double step)
{
    for (int64_t i = 0; i < n; i++)
        assert_true(fabs(values[i] - (first + (double)i * step)) <= 1e-14);
}

/* Elephants start with the height 1, the width of the spec, and biases from one end to the other. */
static void shaped_elephants_start_as_the_spec_says(void **state)
{
    (void)state;
    struct spec s = case_spec();
    struct model_case c;
    int64_t n = 0;
    s.model.ffn.type = FFN_ELEPHANT;
    s.model.ffn.elephant.a = 0.1;
    s.model.ffn.elephant.bias_std = 0.5;
    s.model.ffn.elephant.learnable = s.model.ffn.elephant.pre_norm = true;
    case_open(&c, &s, CASE_VOCAB, "cpu-fp64", 1);
    double *all = case_read(&c, CASE_PARAMETERS);
    double end = 0.5 * sqrt(3.0);
    double *h = tensor_in(&c, all, "layers.1.ffn.log_h", &n), *sigma = tensor_in(&c, all, "layers.1.ffn.log_sigma", &n);
    double *bias = tensor_in(&c, all, "layers.1.ffn.up.bias", &n),
           *norm = tensor_in(&c, all, "layers.1.ffn.norm.weight", &n);
    assert_int_equal(n, 12);
    check_values(h, n, 0, 0);
    check_values(sigma, n, log(0.1), 0);
    check_values(bias, n, -end, 2 * end / 11);
    check_values(norm, n, 1, 0);
    free(all);
    case_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_with_open_gates_are_swiglu),
        cmocka_unit_test(shaped_elephants_start_as_the_spec_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
