/* plan_ffn.h: the shape of a feed-forward layer: its parameters and what its forward leaves for its backward, in the
 * order in which they are placed. For plan*.c only. */
#ifndef BAKA_SCHEMA_PLAN_FFN_H
#define BAKA_SCHEMA_PLAN_FFN_H

#include "schema/plan.h"

enum { PLAN_FFN_PARAMETERS = 10, PLAN_FFN_BUFFERS = 8 };

/* A parameter to be. */
struct plan_tensor {
    const char *name;
    int64_t rows, cols;
    int64_t parts; /* as in struct plan_parameter; 0: 1 */
    bool product;  /* a matrix of a product: decayed, and counted in FLOPs */
    bool beside;   /* one operator makes this gradient and that of the tensor before */
    bool added;    /* that operator adds to gradients and cannot overwrite them */
    enum plan_init init;
    double init_scale;
};

struct plan_ffn_buffer {
    const char *name;
    int64_t width;   /* elements a position */
    bool statistics; /* wide ones */
    bool cheap;      /* rebuilt without a product: not kept with train.recompute cheap */
};

struct plan_ffn {
    bool gated;
    int64_t width;   /* d_ff after ffn.match */
    int64_t scratch; /* elements a position that backward needs for gradients of what forward left */
    int64_t keys;    /* of sdpa; as many values */
    int parameter_count, buffer_count;
    struct plan_tensor parameters[PLAN_FFN_PARAMETERS];
    struct plan_ffn_buffer buffers[PLAN_FFN_BUFFERS];
};

/* d_ff: model.d_ff or its default, at least 1. Fields of the spec that it reads may be any number; widths that come out
 * are at least 1. */
int plan_ffn_find(const struct spec *s, int64_t d_ff, struct plan_ffn *out, struct err *err);

/* GPT-NeoX: small init (Nguyen & Salazar 2019) everywhere, Wang's on what is added to the residual stream. */
double plan_std(int64_t dim);
double plan_output_std(int64_t dim, int64_t layers);

#endif
