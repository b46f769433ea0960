/* attention.h: attention on a GPU, causal or to all keys, with queries, keys and values wherever they lie.
 *
 * struct attention_args (kernels/backend.h) is the case of equally many queries and keys in one interleaved array; a
 * memory of earlier keys makes seq_k greater. Nothing here rotates: cuda_rotary() does.
 */
#ifndef BAKA_KERNELS_CUDA_ATTENTION_H
#define BAKA_KERNELS_CUDA_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct backend;

/* Element (b, t, h, i) is data[b * batch + t * row + h * head_dim + i]; strides count elements. */
struct attention_view {
    void *data;
    int64_t batch, row;
};

/* AUTO takes the fastest that can compute the shape. Another choice that cannot is a sticky error. */
enum attention_algorithm {
    ATTENTION_AUTO,
    ATTENTION_GENERIC, /* fp32 arithmetic without tensor cores: any type, head_dim and stride */
    ATTENTION_MMA,     /* bf16 tensor cores (mma.sync): head_dim a multiple of 8 up to 128, 16-byte aligned rows */
    ATTENTION_HOPPER,  /* the same through wgmma and bulk tensor copies: compute capability 9.0 only */
};

/* Query t stands at position t + seq_k - seq_q and sees keys first[t] <= j <= t + seq_k - seq_q; with all_keys, every
 * key. */
struct attention_kv_args {
    int64_t batch, heads, head_dim, seq_q, seq_k; /* seq_k >= seq_q, unless all_keys */
    double scale;
    const int32_t *first;             /* [batch,seq_q] or NULL: 0 */
    struct attention_view q, k, v;    /* read */
    struct attention_view out;        /* = by forward, read by backward */
    float *lse;                       /* [batch,heads,seq_q] = by forward, read by backward */
    struct attention_view d_out;      /* the rest: backward only */
    struct attention_view dq, dk, dv; /* = */
    int64_t key0;                     /* the key of row 0 of dk and dv: those before it get no gradient */
    enum attention_algorithm algorithm;
    bool all_keys;
};

void cuda_attention_kv_forward(struct backend *b, const struct attention_kv_args *a);
void cuda_attention_kv_backward(struct backend *b, const struct attention_kv_args *a);
/* Workspace that the latter takes, a multiple of 256; behind it there is room for its caller. */
size_t cuda_attention_kv_backward_bytes(const struct attention_kv_args *a);

/* Turns the first rotary_dims of every head of x[batch,seq] in place, position t + position0, or back (inverse). */
struct rotary_args {
    int64_t batch, seq, heads, head_dim, rotary_dims, position0;
    double base;
    bool inverse;
    struct attention_view x;
};

void cuda_rotary(struct backend *b, const struct rotary_args *a);

#ifdef __cplusplus
}
#endif

#endif
