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

static bool eval_every_between(const struct spec *s)
{
    return s->train.eval_every >= 1 && s->train.eval_every != trunc(s->train.eval_every);
}

static bool no_step_from_nothing(const struct spec *s)
{
    return s->train.epochs == 0 && s->train.steps == 0 && s->train.init_from[0] == '\0';
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

bool spec_has_memory(const struct spec *s)
{
    return s->memory.xl.len > 0 || s->memory.rmt.tokens > 0;
}

const char *spec_memory_field(const struct spec *s)
{
    if (s->memory.xl.len > 0)
        return "memory.xl.len";
    if (s->memory.rmt.tokens > 0)
        return "memory.rmt.tokens";
    return s->memory.pause.tokens > 0 ? "memory.pause.tokens" : NULL;
}

static bool xl_out_of_order(const struct spec *s)
{
    return s->memory.xl.len > 0 && s->data.order != ORDER_STREAM;
}

static bool rmt_out_of_order(const struct spec *s)
{
    return s->memory.rmt.tokens > 0 && s->data.order != ORDER_STREAM;
}

static bool xl_keeps_nonfinite(const struct spec *s)
{
    return s->memory.xl.len > 0 && s->train.on_nonfinite == NONFINITE_SKIP;
}

static bool rmt_keeps_nonfinite(const struct spec *s)
{
    return s->memory.rmt.tokens > 0 && s->train.on_nonfinite == NONFINITE_SKIP;
}

static bool rmt_with_documents(const struct spec *s)
{
    return s->memory.rmt.tokens > 0 && s->data.reset == RESET_DOCUMENT;
}

static bool segments_without_rmt(const struct spec *s)
{
    return s->memory.rmt.bptt > 1 && s->memory.rmt.tokens == 0;
}

static bool segments_do_not_divide(const struct spec *s)
{
    return s->memory.rmt.bptt > 1 && s->train.seq_len % s->memory.rmt.bptt != 0;
}

static bool segments_with_xl(const struct spec *s)
{
    return s->memory.rmt.bptt > 1 && s->memory.xl.len > 0;
}

static bool segments_with_pauses(const struct spec *s)
{
    return s->memory.rmt.bptt > 1 && s->memory.pause.tokens > 0;
}

static bool longer_memory_of_none(const struct spec *s)
{
    return s->memory.xl.len == 0 && s->memory.xl.eval_len > 0;
}

static bool shorter_memory_in_evaluation(const struct spec *s)
{
    return s->memory.xl.eval_len > 0 && s->memory.xl.eval_len < s->memory.xl.len;
}

static bool more_pauses_than_tokens(const struct spec *s)
{
    return s->memory.pause.tokens > s->train.seq_len;
}

static bool rmt_of_a_given_model(const struct spec *s)
{
    return s->memory.rmt.tokens > 0 && s->train.init_from[0] != '\0';
}

static bool pauses_of_a_given_model(const struct spec *s)
{
    return s->memory.pause.tokens > 0 && s->train.init_from[0] != '\0';
}

static bool one_norm_in_sequence(const struct spec *s)
{
    return s->model.norms == 1 && !s->model.parallel_residual;
}

static bool bias_std_without_bias(const struct spec *s)
{
    return s->model.ffn.elephant.bias_std > 0 && !s->model.bias;
}

static bool bias_std_of_a_gate(const struct spec *s)
{
    return s->model.ffn.elephant.bias_std > 0 && s->model.ffn.type == FFN_ELEPHANT_GLU;
}

static bool keys_given_and_matched(const struct spec *s)
{
    return s->model.ffn.type == FFN_SDPA && s->model.ffn.sdpa.n > 0 && s->model.ffn.match != MATCH_NONE;
}

static bool units_do_not_divide(const struct spec *s)
{
    int64_t d_ff = s->model.d_ff > 0 ? s->model.d_ff : 4 * s->model.dim;
    return s->model.ffn.type == FFN_MINI_MOE && s->model.ffn.match == MATCH_NONE &&
           d_ff % s->model.ffn.mini_moe.units != 0;
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
    {"data.order", "memory.xl.len", xl_out_of_order,
     "a memory needs data.order \"stream\": a window must follow the one before"},
    {"data.order", "memory.rmt.tokens", rmt_out_of_order,
     "a memory needs data.order \"stream\": a window must follow the one before"},
    {"data.reset", "memory.rmt.tokens", rmt_with_documents,
     "a recurrent memory cannot be cut at a document's start: data.reset must be \"epoch\""},
    {"memory.rmt.bptt", "memory.rmt.tokens", segments_without_rmt,
     "segments are those of a recurrent memory: memory.rmt.tokens must be at least 1"},
    {"memory.rmt.bptt", "train.seq_len", segments_do_not_divide, "train.seq_len must be a multiple of memory.rmt.bptt"},
    {"memory.rmt.bptt", "memory.xl.len", segments_with_xl,
     "keys of a segment in the same window have a gradient, those of an xl memory have none: memory.rmt.bptt must be "
     "1"},
    {"memory.rmt.bptt", "memory.pause.tokens", segments_with_pauses,
     "pauses are placed in whole windows: memory.rmt.bptt must be 1"},
    {"memory.xl.eval_len", "memory.xl.len", longer_memory_of_none,
     "an evaluation has no memory where memory.xl.len is 0"},
    {"memory.xl.eval_len", "memory.xl.len", shorter_memory_in_evaluation,
     "an evaluation's memory is at least as long as that of training"},
    {"memory.pause.tokens", "train.seq_len", more_pauses_than_tokens,
     "memory.pause.tokens must be at most train.seq_len"},
    {"train.init_from", "memory.rmt.tokens", rmt_of_a_given_model,
     "a model to begin from has no embeddings of a recurrent memory"},
    {"train.init_from", "memory.pause.tokens", pauses_of_a_given_model,
     "a model to begin from has no embeddings of pauses"},
    {"train.on_nonfinite", "memory.rmt.tokens", rmt_keeps_nonfinite,
     "a memory would carry what is not finite into all later steps: train.on_nonfinite must be \"stop\""},
    {"train.on_nonfinite", "memory.xl.len", xl_keeps_nonfinite,
     "a memory would carry what is not finite into all later steps: train.on_nonfinite must be \"stop\""},
    {"model.ffn.elephant.bias_std", "model.bias", bias_std_without_bias, "there are biases with model.bias true only"},
    {"model.ffn.elephant.bias_std", "model.ffn.type", bias_std_of_a_gate,
     "the spread of biases is that of the plain elephant layer"},
    {"model.ffn.sdpa.n", "model.ffn.match", keys_given_and_matched,
     "the match gives the number of keys: leave model.ffn.sdpa.n out"},
    {"model.ffn.mini_moe.units", "model.d_ff", units_do_not_divide,
     "without a match model.d_ff must be a multiple of model.ffn.mini_moe.units"},
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
    {"train.eval_every", NULL, eval_every_between, "1 or more is a whole number of steps, below 1 a share of an epoch"},
    {"train.epochs", NULL, no_step_from_nothing,
     "it must be above 0; only a model that train.init_from names can be evaluated without a step"},
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
