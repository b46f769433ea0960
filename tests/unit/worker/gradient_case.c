#include "gradient_case.h"

#include <math.h>
#include <stdlib.h>
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

static double loss_at(struct model_case *c, double (*loss)(struct model_case *c), int tensor, const double *from,
                      const double *direction, double t, double *scratch, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        scratch[i] = from[i] + t * direction[i];
    case_write_tensor(c, tensor, scratch);
    return loss(c);
}

static double check_tensor(struct model_case *c, double (*loss)(struct model_case *c), int tensor, const double *from,
                           const double *gradient, struct philox *p)
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
        double numeric = (loss_at(c, loss, tensor, from, direction, step_size, scratch, n) -
                          loss_at(c, loss, tensor, from, direction, -step_size, scratch, n)) /
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

double gradient_check(struct model_case *c, double (*backward)(struct model_case *c),
                      double (*loss)(struct model_case *c))
{
    double *from = case_read(c, CASE_PARAMETERS);
    double value = backward(c);
    assert_true(fabs(value - loss(c)) <= 1e-14 * value); /* sums may come in another order */
    double *gradient = case_read(c, CASE_GRADIENTS), worst = 0;
    struct philox p;
    philox_init(&p, 5, "test", "directions");
    int64_t at = 0;
    for (int i = 0; i < c->plan.parameter_count; i++) {
        double error = check_tensor(c, loss, i, from + at, gradient + at, &p);
        worst = error > worst ? error : worst;
        at += c->plan.parameters[i].rows * c->plan.parameters[i].cols;
    }
    free(from);
    free(gradient);
    return worst;
}
