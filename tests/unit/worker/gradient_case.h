/* gradient_case.h: a model's gradient against central finite differences in double precision. */
#ifndef TESTS_WORKER_GRADIENT_CASE_H
#define TESTS_WORKER_GRADIENT_CASE_H

#include "model_case.h"

/* backward computes a loss with its gradient, loss the same alone; both must be repeatable. Fails the test where some
 * tensor's relative error is over 1e-5 in some direction; the worst one otherwise. */
double gradient_check(struct model_case *c, double (*backward)(struct model_case *c),
                      double (*loss)(struct model_case *c));

#endif
