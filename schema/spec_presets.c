/* spec_presets.c: what one word stands for: published shapes, which set model fields only, and the defaults of an
 * optimizer, which set train fields only. Sources: EleutherAI/pythia's model configurations
 * (14m: 14,067,712 parameters, 70m: 70,426,624, 160m: 162,322,944); BakaNet: its author's branches 001 and 002. */
#include "schema/spec_fields.h"

#include <stdlib.h>

struct setting {
    const char *path, *value;
};

#define PYTHIA_COMMON                                                                                                  \
    {"model.vocab", "50304"}, {"model.norm", "layernorm"}, {"model.norms", "2"}, {"model.parallel_residual", "true"},  \
        {"model.rotary_pct", "0.25"}, {"model.rotary_base", "10000"}, {"model.tie_embeddings", "false"},               \
        {"model.bias", "true"}, {"model.ffn.type", "gelu"}, {"model.ffn.gelu", "erf"},                                 \
    {                                                                                                                  \
        NULL, NULL                                                                                                     \
    }

static const struct setting pythia_14m[] = {
    {"model.dim", "128"}, {"model.layers", "6"}, {"model.heads", "4"}, {"model.d_ff", "512"}, PYTHIA_COMMON};
static const struct setting pythia_70m[] = {
    {"model.dim", "512"}, {"model.layers", "6"}, {"model.heads", "8"}, {"model.d_ff", "2048"}, PYTHIA_COMMON};
static const struct setting pythia_160m[] = {
    {"model.dim", "768"}, {"model.layers", "12"}, {"model.heads", "12"}, {"model.d_ff", "3072"}, PYTHIA_COMMON};
static const struct setting bakanet[] = {
    {"model.dim", "768"},
    {"model.layers", "12"},
    {"model.heads", "12"},
    {"model.d_ff", "3072"},
    {"model.vocab", "50277"},
    {"model.norm", "layernorm"},
    {"model.norms", "1"},
    {"model.parallel_residual", "true"},
    {"model.rotary_pct", "1"},
    {"model.rotary_base", "10000"},
    {"model.tie_embeddings", "false"},
    {"model.bias", "false"},
    {"model.ffn.type", "swiglu"},
    {NULL, NULL},
};

static const struct setting *const presets[] = {
    [PRESET_PYTHIA_14M] = pythia_14m,
    [PRESET_PYTHIA_70M] = pythia_70m,
    [PRESET_PYTHIA_160M] = pythia_160m,
    [PRESET_BAKANET] = bakanet,
};

/* LOMO, whose step sgd's is, and AdaLomo: OpenLMLab/LOMO. Lion: Chen et al. 2023, section 5: a tenth of AdamW's rate,
 * ten times its decay. Muon: Keller Jordan's muon.py. */
static const struct setting sgd[] = {
    {"train.optimizer.lr", "0.03"}, {"train.warmup", "0.1"}, {"train.weight_decay", "0"}, {NULL, NULL}};
static const struct setting lion[] = {
    {"train.optimizer.lr", "0.0001"}, {"train.optimizer.betas", "0.9,0.99"}, {"train.weight_decay", "1"}, {NULL, NULL}};
static const struct setting muon[] = {{"train.optimizer.lr", "0.02"},
                                      {"train.optimizer.momentum", "0.95"},
                                      {"train.optimizer.eps", "1e-10"},
                                      {"train.weight_decay", "0"},
                                      {NULL, NULL}};
static const struct setting adalomo[] = {{"train.clip", "0"}, {"train.weight_decay", "0"}, {NULL, NULL}};

static const struct setting *const optimizers[] = {
    [OPTIMIZER_SGD] = sgd,  [OPTIMIZER_LION] = lion,       [OPTIMIZER_MUON] = muon,
    [OPTIMIZER_LOMO] = sgd, [OPTIMIZER_ADALOMO] = adalomo,
};

const char *spec_preset_setting(enum spec_preset preset, int index, const char **value)
{
    if ((unsigned)preset >= sizeof presets / sizeof *presets || !presets[preset])
        return NULL;
    *value = presets[preset][index].value;
    return presets[preset][index].path;
}

const char *spec_optimizer_setting(enum spec_optimizer type, int index, const char **value)
{
    if ((unsigned)type >= sizeof optimizers / sizeof *optimizers || !optimizers[type])
        return NULL;
    *value = optimizers[type][index].value;
    return optimizers[type][index].path;
}

static void apply(const char *path, const char *value, struct spec *s)
{
    const struct spec_field *f = spec_field_find(path);
    /* cannot fail: the values are constants of this file and stay within the table's ranges */
    if (!f || spec_value_from_text(f, value, s, NULL) < 0)
        abort();
}

void spec_preset_apply(enum spec_preset preset, struct spec *s)
{
    const char *path, *value;
    for (int i = 0; (path = spec_preset_setting(preset, i, &value)); i++)
        apply(path, value, s);
}

void spec_optimizer_apply(enum spec_optimizer type, struct spec *s)
{
    const char *path, *value;
    for (int i = 0; (path = spec_optimizer_setting(type, i, &value)); i++)
        apply(path, value, s);
}
