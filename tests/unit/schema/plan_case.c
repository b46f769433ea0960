#include "plan_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/err.h"

const struct plan_device fp32 = {
    .storage_bytes = 4, .wide_bytes = 4, .workspace_bytes = WORKSPACE, .logits_bytes = LOGITS};
const struct plan_device fp64 = {
    .storage_bytes = 8, .wide_bytes = 8, .workspace_bytes = WORKSPACE, .logits_bytes = LOGITS};

struct spec make_spec(int64_t dim, int64_t layers, int64_t heads)
{
    struct spec s = {0};
    s.model.dim = dim;
    s.model.layers = layers;
    s.model.heads = heads;
    s.model.norm = SPEC_NORM_LAYERNORM;
    s.model.norms = 2;
    s.model.parallel_residual = true;
    s.model.rotary_pct = 0.25;
    s.model.rotary_base = 10000;
    s.model.bias = true;
    s.model.ffn.type = FFN_GELU;
    s.model.ffn.elephant.a = 1;
    s.model.ffn.elephant.d = 8;
    s.train.seq_len = 128;
    s.train.batch = 8;
    return s;
}

struct plan plan_ok(const struct spec *s, int64_t vocab, const struct plan_device *device)
{
    struct plan p;
    struct err err = {0};
    int rc = plan_make(s, vocab, device, &p, &err);
    if (rc != 0)
        fail_msg("%s: %s", err.path, err.message);
    return p;
}
