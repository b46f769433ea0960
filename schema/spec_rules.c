/* spec_rules.c: the table of combinations that are not allowed although each field is within its own range. */
#include "schema/spec_fields.h"

#include <math.h>
#include <stdio.h>
#include "base/err.h"
#include "schema/plan_optimizer.h"

static bool heads_do_not_divide(const struct spec *s)
{
    return s->model.dim % s->model.heads != 0;
}

static bool micro_batch_over_batch(const struct spec *s)
{
    return s->train.micro_batch > s->train.batch;
}

static bool fused(const struct spec *s)
{
    return plan_optimizer_find(s->train.optimizer.type)->fused;
}

static bool fused_in_parts(const struct spec *s)
{
    return fused(s) && s->train.micro_batch != MICRO_BATCH_AUTO && s->train.micro_batch != s->train.batch;
}

static bool fused_and_skipped(const struct spec *s)
{
    return fused(s) && s->train.clip == 0 && s->train.on_nonfinite == NONFINITE_SKIP;
}

static bool momentum_of_none(const struct spec *s)
{
    enum spec_optimizer type = s->train.optimizer.type;
    return s->train.optimizer.momentum > 0 && type != OPTIMIZER_SGD && type != OPTIMIZER_MUON;
}

static bool muon_without_momentum(const struct spec *s)
{
    return s->train.optimizer.type == OPTIMIZER_MUON && s->train.optimizer.momentum == 0;
}

static bool bf16_without_cuda(const struct spec *s)
{
    return s->train.precision == PRECISION_BF16 && s->train.device != DEVICE_CUDA;
}

static bool gpus_on_cpu(const struct spec *s)
{
    return s->train.device == DEVICE_CPU && s->resources.gpus > 0;
}

static bool cuda_without_gpus(const struct spec *s)
{
    return s->train.device == DEVICE_CUDA && s->resources.gpus < 1;
}

static bool gpu_memory_without_gpu(const struct spec *s)
{
    return s->resources.gpu_memory > 0 && s->resources.gpus < 1;
}

static bool warmup_between(const struct spec *s)
{
    return s->train.warmup >= 1 && s->train.warmup != trunc(s->train.warmup);
}

static bool cooldown_between(const struct spec *s)
{
    return s->train.cooldown >= 1 && s->train.cooldown != trunc(s->train.cooldown);
}

/* In fp32 the factor clip/norm of less is 0: nothing would be learnt. */
static bool clip_vanishes(const struct spec *s)
{
    return s->train.clip > 0 && s->train.clip < 1e-6;
}

static bool one_norm_in_sequence(const struct spec *s)
{
    return s->model.norms == 1 && !s->model.parallel_residual;
}

struct rule {
    const char *path;  /* the field that the message is about */
    const char *other; /* a second field whose value the message shows; NULL: none */
    bool (*breaks)(const struct spec *s);
    const char *text;
};

static const struct rule rules[] = {
    {"model.heads", "model.dim", heads_do_not_divide, "model.dim must be a multiple of model.heads"},
    {"model.norms", "model.parallel_residual", one_norm_in_sequence,
     "one norm a block needs model.parallel_residual true: both branches read the same normalised input"},
    {"train.micro_batch", "train.batch", micro_batch_over_batch, "train.micro_batch must be at most train.batch"},
    {"train.micro_batch", "train.optimizer.type", fused_in_parts,
     "lomo and adalomo need train.micro_batch equal to train.batch: the gradient of a part is gone before the next"},
    {"train.on_nonfinite", "train.optimizer.type", fused_and_skipped,
     "without train.clip lomo and adalomo have changed weights before they know the gradient's norm: only stop"},
    {"train.optimizer.momentum", "train.optimizer.type", momentum_of_none, "only sgd and muon have a momentum"},
    {"train.optimizer.momentum", "train.optimizer.type", muon_without_momentum,
     "muon needs a momentum: what it orthogonalises"},
    {"train.precision", "train.device", bf16_without_cuda, "bf16 needs train.device \"cuda\": the CPU is fp32 only"},
    {"train.warmup", NULL, warmup_between, "a warm-up of 1 or more is a whole number of steps"},
    {"train.cooldown", NULL, cooldown_between, "a cooldown of 1 or more is a whole number of steps"},
    {"train.clip", NULL, clip_vanishes, "a norm to clip at is at least 1e-6 (0: no clipping)"},
    {"resources.gpus", "train.device", gpus_on_cpu, "train.device \"cpu\" takes no GPU"},
    {"resources.gpus", "train.device", cuda_without_gpus, "train.device \"cuda\" needs a GPU (0 in a file means 1)"},
    {"resources.gpu_memory", "resources.gpus", gpu_memory_without_gpu, "resources.gpu_memory needs resources.gpus 1"},
};

const char *spec_rule_text(int index, const char **path)
{
    if (index < 0 || index >= (int)(sizeof rules / sizeof *rules))
        return NULL;
    *path = rules[index].path;
    return rules[index].text;
}

int spec_rules_check(const struct spec *s, struct err *err)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *r = &rules[i];
        if (!r->breaks(s))
            continue;
        char value[96], other[96];
        spec_value_to_text(spec_field_find(r->path), s, value, sizeof value);
        if (!r->other)
            return err_set_at(err, ERR_INVALID, r->path, "%s is %s: %s", r->path, value, r->text);
        spec_value_to_text(spec_field_find(r->other), s, other, sizeof other);
        return err_set_at(err, ERR_INVALID, r->path, "%s is %s and %s is %s: %s", r->path, value, r->other, other,
                          r->text);
    }
    return 0;
}
