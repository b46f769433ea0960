/* neox_tensors.c: see neox_tensors.h. */
#include "worker/neox_tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair {
    const char *ours, *theirs;
};

static const struct pair whole[] = {
    {"embed.weight", "gpt_neox.embed_in.weight"},
    {"final_norm.weight", "gpt_neox.final_layer_norm.weight"},
    {"final_norm.bias", "gpt_neox.final_layer_norm.bias"},
    {"head.weight", "embed_out.weight"},
};

static const struct pair in_layer[] = {
    {"norm1.weight", "input_layernorm.weight"},
    {"norm1.bias", "input_layernorm.bias"},
    {"norm2.weight", "post_attention_layernorm.weight"},
    {"norm2.bias", "post_attention_layernorm.bias"},
    {"attn.qkv.weight", "attention.query_key_value.weight"},
    {"attn.qkv.bias", "attention.query_key_value.bias"},
    {"attn.out.weight", "attention.dense.weight"},
    {"attn.out.bias", "attention.dense.bias"},
    {"ffn.up.weight", "mlp.dense_h_to_4h.weight"},
    {"ffn.up.bias", "mlp.dense_h_to_4h.bias"},
    {"ffn.down.weight", "mlp.dense_4h_to_h.weight"},
    {"ffn.down.bias", "mlp.dense_4h_to_h.bias"},
};

static const char *look_up(const struct pair *pairs, size_t count, const char *ours)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(pairs[i].ours, ours) == 0)
            return pairs[i].theirs;
    return NULL;
}

/* What follows "PREFIXN." in a name, N a number; NULL when the name is not of that form. */
static const char *behind_layer(const char *name, const char *prefix, long *layer)
{
    size_t n = strlen(prefix);
    char *end;
    if (strncmp(name, prefix, n) != 0 || name[n] < '0' || name[n] > '9')
        return NULL;
    *layer = strtol(name + n, &end, 10);
    return *end == '.' ? end + 1 : NULL;
}

bool neox_tensor_name(const char *parameter, char out[SAFETENSORS_NAME_SIZE])
{
    long layer;
    const char *rest = behind_layer(parameter, "layers.", &layer);
    const char *theirs = rest ? look_up(in_layer, sizeof in_layer / sizeof *in_layer, rest)
                              : look_up(whole, sizeof whole / sizeof *whole, parameter);
    if (!theirs)
        return false;
    if (rest)
        snprintf(out, SAFETENSORS_NAME_SIZE, "gpt_neox.layers.%ld.%s", layer, theirs);
    else
        snprintf(out, SAFETENSORS_NAME_SIZE, "%s", theirs);
    return true;
}

bool neox_tensor_is_fused(const char *parameter)
{
    long layer;
    const char *rest = behind_layer(parameter, "layers.", &layer);
    return rest && strncmp(rest, "attn.qkv.", 9) == 0;
}

bool neox_tensor_is_derived(const char *name)
{
    static const char *const derived[] = {"attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq"};
    long layer;
    const char *rest = behind_layer(name, "gpt_neox.layers.", &layer);
    for (size_t i = 0; rest && i < sizeof derived / sizeof *derived; i++)
        if (strcmp(rest, derived[i]) == 0)
            return true;
    return strcmp(name, "gpt_neox.rotary_emb.inv_freq") == 0;
}

/* Row (part, head, i) of ours is row (head, part, i) of theirs. */
static void move_rows(const float *from, float *to, int64_t heads, int64_t head_dim, int64_t cols, bool fuse)
{
    size_t block = (size_t)(head_dim * cols);
    for (int64_t part = 0; part < 3; part++)
        for (int64_t head = 0; head < heads; head++) {
            size_t ours = (size_t)(part * heads + head) * block, theirs = (size_t)(head * 3 + part) * block;
            memcpy(to + (fuse ? theirs : ours), from + (fuse ? ours : theirs), block * sizeof *to);
        }
}

void neox_qkv_split(const float *fused, float *split, int64_t heads, int64_t head_dim, int64_t cols)
{
    move_rows(fused, split, heads, head_dim, cols, false);
}

void neox_qkv_fuse(const float *split, float *fused, int64_t heads, int64_t head_dim, int64_t cols)
{
    move_rows(split, fused, heads, head_dim, cols, true);
}
