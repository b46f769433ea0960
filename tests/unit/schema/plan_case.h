/* plan_case.h: what the plan's tests plan: Pythia's shapes in small, on devices without a limit. */
#ifndef BAKA_TESTS_PLAN_CASE_H
#define BAKA_TESTS_PLAN_CASE_H

#include "schema/plan.h"

enum { WORKSPACE = 32 << 20, LOGITS = 64 << 20 };

extern const struct plan_device fp32, fp64;

/* 8 sequences of 128, layer norms, gelu, parallel residual. */
struct spec make_spec(int64_t dim, int64_t layers, int64_t heads);
/* Fails the test where there is no plan. The caller finishes it. */
struct plan plan_ok(const struct spec *s, int64_t vocab, const struct plan_device *device);

#endif
