/* optimizer.h: how the optimizers cut the tensors of a model into pieces, so that all of them are one parallel region's
 * work, and what they read of their args alike.
 *
 * A piece is up to 16,384 elements of one tensor; what is summed is added in the order of pieces.
 */
#ifndef BAKA_KERNELS_CPU_OPTIMIZER_H
#define BAKA_KERNELS_CPU_OPTIMIZER_H

#include <math.h>
#include "kernels/cpu/cpu.h"

enum { PIECE = 16384 };

struct span {
    const struct optimizer_tensor *tensor;
    int64_t from, n;
};

static inline int64_t pieces_of(int64_t n)
{
    return (n + PIECE - 1) / PIECE;
}

static inline int64_t pieces_of_all(const struct optimizer_tensor *tensors, int count)
{
    int64_t pieces = 0;
    for (int i = 0; i < count; i++)
        pieces += pieces_of(tensors[i].n);
    return pieces;
}

static inline struct span span_at(const struct optimizer_tensor *tensors, int64_t piece)
{
    while (piece >= pieces_of(tensors->n))
        piece -= pieces_of((tensors++)->n);
    return (struct span){tensors, piece * PIECE, least(PIECE, tensors->n - piece * PIECE)};
}

/* The factor of the gradient; norm NULL: 1. */
static inline real clip_factor(const double *norm, double clip)
{
    double factor = norm && clip > 0 ? clip / (*norm + 1e-6) : 1;
    return (real)(factor < 1 ? factor : 1);
}

static inline bool norm_allows(const double *norm)
{
    return !norm || isfinite(*norm);
}

#endif
