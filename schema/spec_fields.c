/* spec_fields.c: THE field table. Adding a field is adding its member to struct spec and its line here; parsing, --set,
 * defaults, the hash, the JSON Schema and the reference page follow. Groups stand together, in the order of the pages.
 */
#include "schema/spec_fields.h"

#include <string.h>

static const char *const preset_words[] = {"none", "pythia-14m", "pythia-70m", "pythia-160m", "bakanet", NULL};
static const char *const norm_words[] = {"layernorm", "rmsnorm", NULL};
static const char *const ffn_words[] = {"gelu",         "relu2",    "swiglu", "geglu", "elephant",
                                        "elephant_glu", "mini_moe", "sdpa",   NULL};
static const char *const gelu_words[] = {"erf", "tanh", NULL};
static const char *const match_words[] = {"none", "params", "flops", NULL};
static const char *const gate_words[] = {"scalar", "vector", NULL};
static const char *const order_words[] = {"shuffle", "stream", NULL};
static const char *const reset_words[] = {"epoch", "document", NULL};
static const char *const device_words[] = {"auto", "cpu", "cuda", NULL};
static const char *const precision_words[] = {"fp32", "bf16", NULL};
static const char *const recompute_words[] = {"auto", "none", "cheap", "all", NULL};
static const char *const optimizer_words[] = {"adamw", "sgd", "lion", "muon", "lomo", "adalomo", NULL};
static const char *const schedule_words[] = {"constant", "linear", "cosine", "wsd", NULL};
static const char *const pause_words[] = {"drop", "predict_from_last", NULL};
static const char *const nonfinite_words[] = {"stop", "skip", NULL};

_Static_assert(sizeof(enum spec_ffn) == sizeof(int), "spec_value.c moves enums as int");

/* The offset of a member that must have the given type: another type does not compile. */
#define AT(type, member)                                                                                               \
    (offsetof(struct spec, member) + 0 * _Generic(&((struct spec *)0)->member, __typeof__(type) * : 1))
#define NAME_AT(member) .type = FIELD_NAME, .offset = AT(char[NAME_SIZE], member)
#define INTEGER_AT(member) .type = FIELD_INTEGER, .offset = AT(int64_t, member)
#define NUMBER_AT(member) .type = FIELD_NUMBER, .offset = AT(double, member)
#define PAIR_AT(member) .type = FIELD_PAIR, .offset = AT(double[2], member)
#define BOOL_AT(member) .type = FIELD_BOOL, .offset = AT(bool, member)
#define WORD_AT(enumeration, member, table) .type = FIELD_WORD, .offset = AT(enum enumeration, member), .words = (table)

#define STEP_LIMIT 1e12

/* Ranges are those in which fp32 computes: a number that it would round to 0 or carry to infinity is refused here. */
const struct spec_field spec_fields[] = {
    {.path = "name",
     NAME_AT(name),
     .flags = FIELD_NULLABLE,
     .unit = "",
     .doc = "What the run is called; submit makes a name when there is none."},

    {.path = "data.name",
     NAME_AT(data.name),
     .flags = FIELD_RESULT | FIELD_NEEDED,
     .unit = "",
     .doc = "The data set, as `bakactl data prepare -o NAME` called it."},
    {.path = "data.order",
     WORD_AT(spec_order, data.order, order_words),
     .flags = FIELD_RESULT,
     .fallback = "shuffle",
     .unit = "",
     .doc = "`shuffle`: windows of `train.seq_len` tokens, permuted by seed and epoch. `stream`: documents permuted by "
            "seed and epoch, joined, cut in `train.batch` equal streams; step s takes window s of each. With a memory "
            "that is the default."},
    {.path = "data.reset",
     WORD_AT(spec_reset, data.reset, reset_words),
     .flags = FIELD_RESULT,
     .fallback = "epoch",
     .unit = "",
     .doc = "Where attention may not look back: over the start of an `epoch`, or of a `document`."},

    {.path = "model.preset",
     WORD_AT(spec_preset, model.preset, preset_words),
     .flags = FIELD_NULLABLE,
     .fallback = "none",
     .unit = "",
     .doc =
         "A published shape: sets the model fields listed under \"Presets\"; fields of the spec itself win over it."},
    {.path = "model.dim",
     INTEGER_AT(model.dim),
     .flags = FIELD_RESULT,
     .min = 1,
     .max = 65536,
     .fallback = "128",
     .unit = "",
     .doc = "Width of the residual stream; a multiple of `model.heads`."},
    {.path = "model.layers",
     INTEGER_AT(model.layers),
     .flags = FIELD_RESULT,
     .min = 1,
     .max = 1024,
     .fallback = "4",
     .unit = "",
     .doc = "Blocks of attention and feed-forward layer."},
    {.path = "model.heads",
     INTEGER_AT(model.heads),
     .flags = FIELD_RESULT,
     .min = 1,
     .max = 1024,
     .fallback = "4",
     .unit = "",
     .doc = "Attention heads a block."},
    {.path = "model.vocab",
     INTEGER_AT(model.vocab),
     .flags = FIELD_RESULT | FIELD_NULLABLE,
     .min = 0,
     .max = 1 << 24,
     .unit = "tokens",
     .doc = "Size of the vocabulary, at least the data set's; 0 or null: not set, the data set's."},
    {.path = "model.d_ff",
     INTEGER_AT(model.d_ff),
     .flags = FIELD_RESULT | FIELD_NULLABLE,
     .min = 0,
     .max = 1 << 20,
     .unit = "",
     .doc = "Width of the feed-forward layer, or with `model.ffn.match` that of the gelu layer it is matched to; 0 or "
            "null: not set, 4 × `model.dim`."},
    {.path = "model.norm",
     WORD_AT(spec_norm, model.norm, norm_words),
     .flags = FIELD_RESULT,
     .fallback = "layernorm",
     .unit = "",
     .doc = "Kind of normalisation."},
    {.path = "model.norms",
     INTEGER_AT(model.norms),
     .flags = FIELD_RESULT,
     .min = 1,
     .max = 2,
     .fallback = "2",
     .unit = "",
     .doc = "Norms a block: 2, one before attention and one before the feed-forward layer; or 1 for both."},
    {.path = "model.parallel_residual",
     BOOL_AT(model.parallel_residual),
     .flags = FIELD_RESULT,
     .fallback = "true",
     .unit = "",
     .doc = "true: x + attn(n(x)) + ffn(n(x)). false: the feed-forward layer reads what attention has added to."},
    {.path = "model.rotary_pct",
     NUMBER_AT(model.rotary_pct),
     .flags = FIELD_RESULT,
     .min = 0,
     .max = 1,
     .fallback = "0.25",
     .unit = "share",
     .doc = "Share of each head's dimensions that is rotated by position, rounded down to an even number."},
    {.path = "model.rotary_base",
     NUMBER_AT(model.rotary_base),
     .flags = FIELD_RESULT | FIELD_ABOVE,
     .min = 1,
     .max = 1e12,
     .fallback = "10000",
     .unit = "",
     .doc = "Base of the rotary angles."},
    {.path = "model.tie_embeddings",
     BOOL_AT(model.tie_embeddings),
     .flags = FIELD_RESULT,
     .fallback = "false",
     .unit = "",
     .doc = "The output head uses the embedding's weights."},
    {.path = "model.bias",
     BOOL_AT(model.bias),
     .flags = FIELD_RESULT,
     .fallback = "true",
     .unit = "",
     .doc = "Linear layers have biases (the output head never has)."},
    {.path = "model.ffn.type",
     WORD_AT(spec_ffn, model.ffn.type, ffn_words),
     .flags = FIELD_RESULT,
     .fallback = "gelu",
     .unit = "",
     .doc = "Kind of feed-forward layer."},
    {.path = "model.ffn.gelu",
     WORD_AT(spec_gelu, model.ffn.gelu, gelu_words),
     .flags = FIELD_RESULT,
     .fallback = "erf",
     .unit = "",
     .doc = "The GELU of gelu and geglu layers: exact, or its tanh approximation."},
    {.path = "model.ffn.match",
     WORD_AT(spec_match, model.ffn.match, match_words),
     .flags = FIELD_RESULT,
     .fallback = "none",
     .unit = "",
     .doc = "Sizes the layer so that its parameters (biases apart) or FLOPs match a gelu layer of width `model.d_ff`; "
            "the width (of a unit, number of keys) is rounded to a multiple of 8."},
    {.path = "model.ffn.elephant.a",
     NUMBER_AT(model.ffn.elephant.a),
     .flags = FIELD_RESULT,
     .min = 1e-3,
     .max = 1e3,
     .fallback = "1",
     .unit = "",
     .doc = "Half the width of the elephant function 1 / (1 + |x/a|^d)."},
    {.path = "model.ffn.elephant.d",
     NUMBER_AT(model.ffn.elephant.d),
     .flags = FIELD_RESULT,
     .min = 1,
     .max = 64,
     .fallback = "8",
     .unit = "",
     .doc = "Steepness of the elephant function's sides."},
    {.path = "model.ffn.elephant.learnable",
     BOOL_AT(model.ffn.elephant.learnable),
     .flags = FIELD_RESULT,
     .fallback = "false",
     .unit = "",
     .doc = "Each hidden feature learns a height h and a width σ: h / (1 + |x/σ|^d), from h 1 and σ "
            "`model.ffn.elephant.a`."},
    {.path = "model.ffn.elephant.pre_norm",
     BOOL_AT(model.ffn.elephant.pre_norm),
     .flags = FIELD_RESULT,
     .fallback = "false",
     .unit = "",
     .doc = "A LayerNorm before the elephant function, over the hidden features."},
    {.path = "model.ffn.elephant.bias_std",
     NUMBER_AT(model.ffn.elephant.bias_std),
     .flags = FIELD_RESULT,
     .min = 0,
     .max = 100,
     .fallback = "0",
     .unit = "",
     .doc = "Standard deviation of the biases before the elephant function at the start: evenly spread over ±√3 times "
            "it."},
    {.path = "model.ffn.mini_moe.units",
     INTEGER_AT(model.ffn.mini_moe.units),
     .flags = FIELD_RESULT,
     .min = 1,
     .max = 1024,
     .fallback = "4",
     .unit = "",
     .doc = "SwiGLU units of a mini_moe layer, which share `model.d_ff` evenly."},
    {.path = "model.ffn.mini_moe.gate",
     WORD_AT(spec_gate, model.ffn.mini_moe.gate, gate_words),
     .flags = FIELD_RESULT,
     .fallback = "scalar",
     .unit = "",
     .doc = "A unit's sigmoid gate: one number for all of its output, or a `vector` of one for each feature."},
    {.path = "model.ffn.sdpa.n",
     INTEGER_AT(model.ffn.sdpa.n),
     .flags = FIELD_RESULT | FIELD_NULLABLE,
     .min = 0,
     .max = 1 << 20,
     .unit = "",
     .doc =
         "Learned keys and values that each head of an sdpa layer attends over; 0 or null: not set, 5 × `model.dim`, "
         "or what `model.ffn.match` gives."},

    {.path = "memory.xl.len",
     INTEGER_AT(memory.xl.len),
     .flags = FIELD_RESULT,
     .min = 0,
     .max = 1 << 20,
     .fallback = "0",
     .unit = "tokens",
     .doc = "Transformer-XL memory: each layer keeps the keys and values of so many tokens before the window, without "
            "gradient, from step to step; 0: none. `data.order` is then `stream`, also where it is not given."},
    {.path = "memory.xl.eval_len",
     INTEGER_AT(memory.xl.eval_len),
     .flags = FIELD_RESULT | FIELD_NULLABLE,
     .min = 0,
     .max = 1 << 20,
     .unit = "tokens",
     .doc = "The memory's length in evaluations; 0 or null: not set, `memory.xl.len`."},
    {.path = "memory.rmt.tokens",
     INTEGER_AT(memory.rmt.tokens),
     .flags = FIELD_RESULT,
     .min = 0,
     .max = 1 << 16,
     .fallback = "0",
     .unit = "positions",
     .doc = "Recurrent memory: so many positions before and behind each segment; what comes out behind it stands there "
            "in the next one. 0: none. `data.order` is then `stream`, also where it is not given."},
    {.path = "memory.rmt.bptt",
     INTEGER_AT(memory.rmt.bptt),
     .flags = FIELD_RESULT,
     .min = 1,
     .max = 1024,
     .fallback = "1",
     .unit = "segments",
     .doc = "Segments that a window is cut in, of equal length; the gradient goes through all of them, and stops at "
            "the window's start."},
    {.path = "memory.pause.mode",
     WORD_AT(spec_pause, memory.pause.mode, pause_words),
     .flags = FIELD_RESULT,
     .fallback = "drop",
     .unit = "",
     .doc =
         "What pauses are. `drop`: an embedding each, spread evenly over the window, outputs dropped. "
         "`predict_from_last`: one embedding, behind tokens drawn at random, and the last pause behind a token makes "
         "its prediction."},
    {.path = "memory.pause.tokens",
     INTEGER_AT(memory.pause.tokens),
     .flags = FIELD_RESULT,
     .min = 0,
     .max = 1 << 20,
     .fallback = "0",
     .unit = "pauses",
     .doc = "Pauses in each window, at most `train.seq_len`; no tokens, they are not predicted and not counted. 0: "
            "none."},

    {.path = "train.device",
     WORD_AT(spec_device, train.device, device_words),
     .fallback = "auto",
     .unit = "",
     .doc = "Where the run may go; `auto` takes a GPU if `resources.gpus` asks for one, else the CPU."},
    {.path = "train.precision",
     WORD_AT(spec_precision, train.precision, precision_words),
     .flags = FIELD_RESULT,
     .fallback = "fp32",
     .unit = "",
     .doc = "Storage of weights and activations; bf16 keeps fp32 master weights."},
    {.path = "train.init_from",
     NAME_AT(train.init_from),
     .flags = FIELD_RESULT | FIELD_NULLABLE,
     .unit = "",
     .doc =
         "A model that `bakactl import --hf` brought, to begin from in place of drawn values; its `model` fields must "
         "be the run's. The run is then evaluated before its first step too. null: not set."},
    {.path = "train.epochs",
     NUMBER_AT(train.epochs),
     .flags = FIELD_RESULT,
     .min = 0,
     .max = 1e6,
     .fallback = "1",
     .unit = "epochs",
     .doc = "Passes over the training tokens; may be a fraction. 0: no step, the model is evaluated as it begins."},
    {.path = "train.steps",
     INTEGER_AT(train.steps),
     .flags = FIELD_RESULT | FIELD_NULLABLE,
     .min = 0,
     .max = STEP_LIMIT,
     .unit = "steps",
     .doc = "Optimizer steps, in place of `train.epochs`; 0 or null: not set, the epochs decide."},
    {.path = "train.seq_len",
     INTEGER_AT(train.seq_len),
     .flags = FIELD_RESULT,
     .min = 1,
     .max = 1 << 20,
     .fallback = "128",
     .unit = "tokens",
     .doc = "Length of a window."},
    {.path = "train.batch",
     INTEGER_AT(train.batch),
     .flags = FIELD_RESULT,
     .min = 1,
     .max = 1 << 20,
     .fallback = "8",
     .unit = "sequences",
     .doc = "Windows an optimizer step."},
    {.path = "train.micro_batch",
     INTEGER_AT(train.micro_batch),
     .flags = FIELD_AUTO,
     .min = 1,
     .max = 1 << 20,
     .fallback = "auto",
     .unit = "sequences",
     .doc = "Windows computed at once, at most `train.batch`; `auto`: as many as fit the device. Another one adds the "
            "same gradients in another order: losses agree to rounding, not to the bit."},
    {.path = "train.recompute",
     WORD_AT(spec_recompute, train.recompute, recompute_words),
     .fallback = "auto",
     .unit = "",
     .doc = "What the backward pass computes once more to save memory, bit for bit as it was. `none`: everything is "
            "kept. `cheap`: norms and activations are rebuilt, for about 3 % of the time. `all`: a layer keeps its "
            "input alone, for up to 30 %. `auto`: the first of them with which a given `train.micro_batch` fits the "
            "device; where that is `auto` too, `none`, unless another one raises a micro-batch of fewer than 4096 "
            "positions."},
    {.path = "train.seed",
     INTEGER_AT(train.seed),
     .flags = FIELD_RESULT,
     .min = 0,
     .max = 9007199254740991.0,
     .fallback = "1",
     .unit = "",
     .doc = "Key of all random numbers: initial weights and order."},
    {.path = "train.optimizer.type",
     WORD_AT(spec_optimizer, train.optimizer.type, optimizer_words),
     .flags = FIELD_RESULT,
     .fallback = "adamw",
     .unit = "",
     .doc =
         "adamw, sgd, lion; muon: orthogonalised momentum for the matrices of layers, AdamW for the rest; lomo, "
         "adalomo: each matrix is updated within the backward pass, so that the gradient as a whole never exists. "
         "Weight "
         "decay is decoupled everywhere, none on norms and biases. The type sets the defaults under \"Optimizers\"."},
    {.path = "train.optimizer.lr",
     NUMBER_AT(train.optimizer.lr),
     .flags = FIELD_RESULT,
     .min = 1e-12,
     .max = 1000,
     .fallback = "0.001",
     .unit = "",
     .doc = "Peak learning rate."},
    {.path = "train.optimizer.betas",
     PAIR_AT(train.optimizer.betas),
     .flags = FIELD_RESULT | FIELD_BELOW,
     .min = 0,
     .max = 1,
     .fallback = "0.9,0.95",
     .unit = "",
     .doc =
         "adamw, lion, muon's AdamW: decay of the first and second moment; lion: weight of the momentum in the step, "
         "and its decay."},
    {.path = "train.optimizer.eps",
     NUMBER_AT(train.optimizer.eps),
     .flags = FIELD_RESULT,
     .min = 1e-16, /* in fp32 much less is 0, and a weight that never had a gradient 0/0 */
     .max = 1,
     .fallback = "1e-08",
     .unit = "",
     .doc = "adamw, muon's AdamW: added to the root of the second moment."},
    {.path = "train.optimizer.momentum",
     NUMBER_AT(train.optimizer.momentum),
     .flags = FIELD_RESULT | FIELD_NULLABLE | FIELD_BELOW | FIELD_LATER,
     .min = 0,
     .max = 1,
     .unit = "",
     .doc = "sgd, muon: what stays of the momentum each step; 0 or null: not set, sgd keeps none."},
    {.path = "train.optimizer.rest_lr",
     NUMBER_AT(train.optimizer.rest_lr),
     .flags = FIELD_RESULT | FIELD_LATER,
     .min = 1e-12,
     .max = 1000,
     .fallback = "0.0003",
     .unit = "",
     .doc = "muon: peak learning rate of its AdamW, for all that is no matrix of a layer."},
    {.path = "train.warmup",
     NUMBER_AT(train.warmup),
     .flags = FIELD_RESULT,
     .min = 0,
     .max = STEP_LIMIT,
     .fallback = "0.01",
     .unit = "steps or share",
     .doc = "Linear warm-up: below 1 a share of all steps, from 1 on a whole number of steps."},
    {.path = "train.schedule",
     WORD_AT(spec_schedule, train.schedule, schedule_words),
     .flags = FIELD_RESULT,
     .fallback = "cosine",
     .unit = "",
     .doc = "Learning rate behind the warm-up, down to `train.min_lr_ratio` of the peak at the last step; `constant` "
            "stays. `wsd` (warm-up, stable, decay): constant, then linear in the last `train.cooldown`."},
    {.path = "train.cooldown",
     NUMBER_AT(train.cooldown),
     .flags = FIELD_RESULT | FIELD_ABOVE | FIELD_LATER,
     .min = 0,
     .max = STEP_LIMIT,
     .fallback = "0.2",
     .unit = "steps or share",
     .doc = "Decay of the wsd schedule: below 1 a share of all steps, from 1 on a whole number of steps."},
    {.path = "train.min_lr_ratio",
     NUMBER_AT(train.min_lr_ratio),
     .flags = FIELD_RESULT,
     .min = 0,
     .max = 1,
     .fallback = "0.1",
     .unit = "share",
     .doc = "Where linear, cosine and wsd schedules end, as a share of the peak."},
    {.path = "train.clip",
     NUMBER_AT(train.clip),
     .flags = FIELD_RESULT,
     .min = 0,
     .max = 1e9,
     .fallback = "1",
     .unit = "",
     .doc = "Largest global norm of the gradient; 0: no clipping."},
    {.path = "train.weight_decay",
     NUMBER_AT(train.weight_decay),
     .flags = FIELD_RESULT,
     .min = 0,
     .max = 1000,
     .fallback = "0.1",
     .unit = "",
     .doc = "Decoupled weight decay of matrices."},
    {.path = "train.on_nonfinite",
     WORD_AT(spec_nonfinite, train.on_nonfinite, nonfinite_words),
     .flags = FIELD_RESULT,
     .fallback = "stop",
     .unit = "",
     .doc = "At a loss or gradient that is not finite: `stop` as diverged, or `skip` that step's update."},
    {.path = "train.eval_every",
     NUMBER_AT(train.eval_every),
     .min = 0,
     .max = STEP_LIMIT,
     .fallback = "0",
     .unit = "steps or share",
     .doc = "Evaluate on the validation split each so many steps, besides each epoch's end; below 1 a share of an "
            "epoch, at the nearest steps: 0.05 is 20 times an epoch; 0: at its end only."},
    {.path = "train.checkpoint_every",
     INTEGER_AT(train.checkpoint_every),
     .min = 0,
     .max = STEP_LIMIT,
     .fallback = "0",
     .unit = "steps",
     .doc = "Write a checkpoint each so many steps, besides the last; 0: by time, at most one in 10 s and 2 MB a "
            "second on average."},
    {.path = "train.verify_every",
     INTEGER_AT(train.verify_every),
     .min = 0,
     .max = STEP_LIMIT,
     .fallback = "0",
     .unit = "steps",
     .doc =
         "Do each so many steps twice from the same state and compare loss, gradient norm, weights and the optimizer's "
         "state bit for bit; 0: none. Where a memory or a processor silently turned a bit in one of them, the attempt "
         "ends as "
         "`silent_corruption` and the run resumes from its checkpoint. Takes as much of the machine's memory as a "
         "checkpoint, and 1/n more time."},

    {.path = "resources.gpus",
     INTEGER_AT(resources.gpus),
     .min = 0,
     .max = 1,
     .fallback = "0",
     .unit = "",
     .doc = "GPUs the run takes; with `train.device` cuda 0 means 1."},
    {.path = "resources.gpu_memory",
     INTEGER_AT(resources.gpu_memory),
     .flags = FIELD_NULLABLE,
     .min = 0,
     .max = 1 << 30,
     .unit = "MiB",
     .doc = "Memory the run may take of a GPU that it shares; 0 or null: not set, a whole GPU."},
    {.path = "resources.cpus",
     INTEGER_AT(resources.cpus),
     .min = 1,
     .max = 4096,
     .fallback = "1",
     .unit = "",
     .doc = "CPU slots the run takes, and the threads it may use; no result depends on it."},
    {.path = "resources.time",
     NUMBER_AT(resources.time),
     .flags = FIELD_NULLABLE,
     .min = 0,
     .max = 1e9,
     .unit = "seconds",
     .doc = "Longest time the run may take, over all its attempts; 0 or null: not set, no limit."},
};

const int spec_field_count = (int)(sizeof spec_fields / sizeof *spec_fields);

const struct spec_field *spec_field_find(const char *path)
{
    for (int i = 0; i < spec_field_count; i++) {
        if (strcmp(spec_fields[i].path, path) == 0)
            return &spec_fields[i];
    }
    return NULL;
}

const char *spec_path_in_group(const char *path, const char *group, size_t *size)
{
    size_t n = strlen(group);
    if (n) {
        if (strncmp(path, group, n) != 0 || path[n] != '.')
            return NULL;
        path += n + 1;
    }
    *size = strcspn(path, ".");
    return path;
}

bool spec_group_exists(const char *path)
{
    size_t size;
    for (int i = 0; i < spec_field_count; i++) {
        if (spec_path_in_group(spec_fields[i].path, path, &size))
            return true;
    }
    return false;
}
