/* test_model_gradient.c: the whole model's gradient against central finite differences in double precision, for each
 * feed-forward layer in each arrangement of a block with both norms, embeddings and biases varying across them; in
 * micro-batches, with positions that do not count and with documents, under every policy of recomputation. */
#include "model_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/philox.h"

enum { DIRECTIONS = 3 };
static const double step_size = 1e-5, tolerance = 1e-5;

/* Along the gradient and, as much, along a random vector: neither cancels, and an error in any element shows. */
static void draw_direction(struct philox *p, const double *gradient, double *direction, int64_t n)
{
    double norm = 0, random_norm = 0;
    for (int64_t i = 0; i < n; i++) {
        direction[i] = philox_normal(p);
        norm += gradient[i] * gradient[i];
        random_norm += direction[i] * direction[i];
    }
    double along = norm > 0 ? 1 / sqrt(norm) : 0;
    for (int64_t i = 0; i < n; i++)
        direction[i] = gradient[i] * along + direction[i] / sqrt(random_norm);
}

static double loss_at(struct model_case *c, int tensor, const double *from, const double *direction, double t,
                      double *scratch, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        scratch[i] = from[i] + t * direction[i];
    case_write_tensor(c, tensor, scratch);
    return case_loss(c);
}

static double check_tensor(struct model_case *c, int tensor, const double *from, const double *gradient,
                           struct philox *p)
{
    const struct plan_parameter *t = &c->plan.parameters[tensor];
    int64_t n = t->rows * t->cols;
    double *direction = calloc((size_t)n, sizeof(double)), *scratch = calloc((size_t)n, sizeof(double)), worst = 0;
    assert_true(direction && scratch);
    for (int d = 0; d < DIRECTIONS; d++) {
        draw_direction(p, gradient, direction, n);
        double exact = 0;
        for (int64_t i = 0; i < n; i++)
            exact += gradient[i] * direction[i];
        double numeric = (loss_at(c, tensor, from, direction, step_size, scratch, n) -
                          loss_at(c, tensor, from, direction, -step_size, scratch, n)) /
                         (2 * step_size);
        double error = fabs(numeric - exact) / (fabs(numeric) + fabs(exact) + 1e-7);
        if (!(error <= tolerance))
            fail_msg("%s: numeric %.12g, backward %.12g, relative error %.3g", t->name, numeric, exact, error);
        worst = error > worst ? error : worst;
    }
    case_write_tensor(c, tensor, from);
    free(direction);
    free(scratch);
    return worst;
}

static double check_model(const struct spec *spec)
{
    struct model_case c;
    case_open(&c, spec, CASE_VOCAB, "cpu-fp64", 1);
    case_randomize(&c, 3);
    double *from = case_read(&c, CASE_PARAMETERS);
    double loss = case_backward(&c);
    assert_true(loss == case_loss(&c));
    double *gradient = case_read(&c, CASE_GRADIENTS), worst = 0;
    struct philox p;
    philox_init(&p, 5, "test", "directions");
    int64_t at = 0;
    for (int i = 0; i < c.plan.parameter_count; i++) {
        double error = check_tensor(&c, i, from + at, gradient + at, &p);
        worst = error > worst ? error : worst;
        at += c.plan.parameters[i].rows * c.plan.parameters[i].cols;
    }
    free(from);
    free(gradient);
    case_close(&c);
    return worst;
}

static void backward_is_the_derivative(void **state)
{
    (void)state;
    static const enum spec_recompute recompute[] = {RECOMPUTE_NONE, RECOMPUTE_ALL, RECOMPUTE_CHEAP, RECOMPUTE_ALL};
    double worst = 0;
    for (int i = 0; i < 6 * CASE_FFNS; i++) {
        int ffn = i / 6, block = i / 2 % 3, rms = i % 2;
        struct spec s = case_spec();
        case_set_ffn(&s, ffn);
        s.model.parallel_residual = block < 2;
        s.model.norms = block == 1 ? 1 : 2;
        s.model.norm = rms ? SPEC_NORM_RMSNORM : SPEC_NORM_LAYERNORM;
        s.model.tie_embeddings = (ffn + block) % 2;
        s.model.bias = (ffn / 2 + block + rms) % 2;
        s.model.ffn.gelu = block == 2 ? GELU_TANH : GELU_ERF;
        s.model.rotary_pct = block == 0 ? 0.5 : block == 1 ? 1 : 0;
        s.data.reset = (ffn + rms) % 2 ? RESET_DOCUMENT : RESET_EPOCH;
        s.train.micro_batch = 1 + i % 3;
        s.train.recompute = recompute[i % 4];
        double error = check_model(&s);
        worst = error > worst ? error : worst;
    }
    printf("worst relative error %.3g\n", worst);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(backward_is_the_derivative)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
