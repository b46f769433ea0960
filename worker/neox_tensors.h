/* neox_tensors.h: how GPT-NeoX models of Hugging Face's transformers (GPTNeoXForCausalLM) lay out what baka has: other
 * names, and in attention's fused product the rows of a head together, q, k and v of it, where ours are all q, all k,
 * all v. Pure. */
#ifndef BAKA_WORKER_NEOX_TENSORS_H
#define BAKA_WORKER_NEOX_TENSORS_H

#include <stdbool.h>
#include <stdint.h>
#include "worker/safetensors.h"

/* "layers.3.attn.qkv.weight" to "gpt_neox.layers.3.attention.query_key_value.weight". False for a parameter that
 * GPT-NeoX has not. */
bool neox_tensor_name(const char *parameter, char out[SAFETENSORS_NAME_SIZE]);
/* Is this parameter of attention's fused product? */
bool neox_tensor_is_fused(const char *parameter);
/* Names that older versions saved beside the parameters, and that follow from the configuration: masks, frequencies. */
bool neox_tensor_is_derived(const char *name);

/* [3*heads*head_dim, cols] each: theirs to ours, ours to theirs. */
void neox_qkv_split(const float *fused, float *split, int64_t heads, int64_t head_dim, int64_t cols);
void neox_qkv_fuse(const float *split, float *fused, int64_t heads, int64_t head_dim, int64_t cols);

#endif
