/* spec.h: the experiment. One field table (spec_fields.c) gives every field its path, type, range, default, doc line
 * and whether it changes the result; parsing, validation, defaults, --set, the canonical form and its hash, the JSON
 * Schema and docs/spec.md all come from it. A second table (spec_rules.c) holds the combinations that are not allowed.
 *
 * A struct spec is a plain value: copy it with =, nothing to free.
 */
#ifndef BAKA_SCHEMA_SPEC_H
#define BAKA_SCHEMA_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cjson/cJSON.h>
#include "base/path.h"
#include "base/sha256.h"

struct err;

enum spec_preset { PRESET_NONE, PRESET_PYTHIA_14M, PRESET_PYTHIA_70M, PRESET_PYTHIA_160M, PRESET_BAKANET };
enum spec_norm { SPEC_NORM_LAYERNORM, SPEC_NORM_RMSNORM };
enum spec_ffn { FFN_GELU, FFN_RELU2, FFN_SWIGLU, FFN_GEGLU, FFN_ELEPHANT, FFN_ELEPHANT_GLU, FFN_MINI_MOE, FFN_SDPA };
enum spec_gelu { GELU_ERF, GELU_TANH };
enum spec_match { MATCH_NONE, MATCH_PARAMS, MATCH_FLOPS };
enum spec_gate { GATE_SCALAR, GATE_VECTOR };
enum spec_order { ORDER_SHUFFLE, ORDER_STREAM };
enum spec_reset { RESET_EPOCH, RESET_DOCUMENT };
enum spec_device { DEVICE_AUTO, DEVICE_CPU, DEVICE_CUDA };
enum spec_precision { PRECISION_FP32, PRECISION_BF16 };
enum spec_recompute { RECOMPUTE_AUTO, RECOMPUTE_NONE, RECOMPUTE_CHEAP, RECOMPUTE_ALL }; /* by what is kept, falling */
enum spec_optimizer {
    OPTIMIZER_ADAMW,
    OPTIMIZER_SGD,
    OPTIMIZER_LION,
    OPTIMIZER_MUON,
    OPTIMIZER_LOMO,
    OPTIMIZER_ADALOMO
};
enum spec_schedule { SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_WSD };
enum spec_pause { PAUSE_DROP, PAUSE_PREDICT_FROM_LAST };
enum spec_nonfinite { NONFINITE_STOP, NONFINITE_SKIP };

enum { MICRO_BATCH_AUTO = 0 };

struct spec {
    char name[NAME_SIZE]; /* "" when absent: submit makes one */
    struct {
        char name[NAME_SIZE];
        enum spec_order order;
        enum spec_reset reset;
    } data;
    struct {
        enum spec_preset preset;
        int64_t dim, layers, heads, vocab /* 0: the data set's */, d_ff /* 0: 4*dim */;
        enum spec_norm norm;
        int64_t norms; /* 1 or 2 a block */
        bool parallel_residual;
        double rotary_pct; /* share of head_dim, rounded down to even */
        double rotary_base;
        bool tie_embeddings, bias;
        struct {
            enum spec_ffn type;
            enum spec_gelu gelu;
            enum spec_match match;
            struct {
                double a, d;
                bool learnable, pre_norm;
                double bias_std;
            } elephant;
            struct {
                int64_t units;
                enum spec_gate gate;
            } mini_moe;
            struct {
                int64_t n; /* 0: 5*dim, or what ffn.match gives */
            } sdpa;
        } ffn;
    } model;
    struct {
        struct {
            int64_t len, eval_len /* 0: len */;
        } xl;
        struct {
            int64_t tokens, bptt;
        } rmt;
        struct {
            enum spec_pause mode;
            int64_t tokens;
        } pause;
    } memory;
    struct {
        enum spec_device device;
        enum spec_precision precision;
        char init_from[NAME_SIZE]; /* "": initial values are drawn */
        double epochs;             /* 0: no step */
        int64_t steps;             /* 0: epochs decide */
        int64_t seq_len, batch, micro_batch /* MICRO_BATCH_AUTO */, seed;
        enum spec_recompute recompute;
        struct {
            enum spec_optimizer type;
            double lr, betas[2], eps;
            double momentum; /* 0: not set */
            double rest_lr;
        } optimizer;
        double warmup; /* >= 1: steps, below 1: share of all steps */
        enum spec_schedule schedule;
        double cooldown; /* wsd; as warmup */
        double min_lr_ratio, clip /* 0: none */, weight_decay;
        enum spec_nonfinite on_nonfinite;
        double eval_every;        /* >= 1: steps, below 1: share of an epoch; 0: at each epoch's end only */
        int64_t checkpoint_every; /* steps; 0: by time, see docs/spec.md */
        int64_t verify_every;     /* steps; 0: none is done twice */
    } train;
    struct {
        int64_t gpus, gpu_memory /* MiB, 0: a whole GPU */, cpus;
        double time; /* seconds, 0: no limit */
    } resources;
};

enum { SPEC_MAX_BYTES = 1 << 20, SPEC_MAX_DEPTH = 32 };

/* Defaults, then the preset named in the text (if any), then the text's own fields; then validated whole. */
int spec_parse(const char *text, size_t size, struct spec *out, struct err *err);
int spec_from_json(const cJSON *object, struct spec *out, struct err *err);
/* Change one field of a spec given as JSON object: path "model.ffn.type", text parsed by the field's type. `object` is
 * the user's sparse form, so that a preset still fills what the user did not say. Not validated as a whole. */
int spec_set_text(cJSON *object, const char *path, const char *text, struct err *err);
/* Something that was read before a window changes what the model makes of it. */
bool spec_has_memory(const struct spec *s);
/* The path of a memory.* field that adds something to the plain model, pauses too; NULL: none. */
const char *spec_memory_field(const struct spec *s);
int spec_validate(const struct spec *s, struct err *err);
/* Every field with its value, nested as in the file. Caller deletes. */
cJSON *spec_to_json(const struct spec *s);
/* Canonical JSON of the result-changing fields (no name, no resources, ...), and its SHA-256. Caller frees the text. */
char *spec_canonical(const struct spec *s);
void spec_hash(const struct spec *s, char hex[SHA256_HEX_SIZE]);
/* Value of one field as text, for sweep names and "what differs"; -ERR_INVALID for an unknown path. */
int spec_get_text(const struct spec *s, const char *path, char *out, size_t size, struct err *err);
/* Calls visit for each field whose value differs. */
void spec_diff(const struct spec *a, const struct spec *b,
               void (*visit)(void *arg, const char *path, const char *a_text, const char *b_text), void *arg);
/* spec.schema.json (JSON Schema 2020-12) and docs/spec.md, generated from the table. */
void spec_print_json_schema(FILE *out);
void spec_print_markdown(FILE *out);

#endif
