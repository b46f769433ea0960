/* backend.h: the one table of functions that a compute backend fills.
 *
 * Reference semantics (shapes, formula, source) stand here and nowhere else; a backend implements them, tests hold
 * each backend to the CPU reference and the reference to finite differences and PyTorch.
 *
 * Memory. Every pointer in an args struct is device memory from backend_arena() unless marked host. Matrices are
 * row-major and dense. `storage` is the element type of activations, of their gradients, and of the parameters as the
 * operators read them. Statistics (mean, rstd, lse), gradients of parameters, moments and the parameters that the
 * optimizer updates are `wide`: float for storage F32 and BF16, double for F64. With storage BF16 operators read
 * rounded copies of the parameters, which the optimizer keeps. Loss and norm scalars are double; token ids are int32.
 * An output is marked "=" (overwritten) or "+=" (accumulated).
 *
 * Order and errors. Calls enqueue on the backend's one stream and return nothing; the first error is sticky and comes
 * back from sync() or step_wait(). A backend never exits and never allocates inside a step: scratch is the workspace
 * given at open.
 *
 * Determinism. Equal inputs give equal bits, whatever the number of threads: work and reductions are cut into pieces
 * fixed by the shape.
 *
 * Steps. What is called between step_begin() and step_end() is one step: an optimizer step, or the evaluation of a
 * batch. A backend may hold the calls back, and replay a captured step whose calls were the same, so inside a step
 * - what changes from step to step is in struct step_values or was uploaded; args are the same for steps of one shape;
 * - uploads take effect before the step's first operator, wherever they stand, and their source is free on return;
 * - downloads are filled in by the step_wait() of this step, and their destination must live until then;
 * - lists that args point to stay unchanged while the backend lives.
 * step_wait() waits for the oldest step not waited for; at most steps_in_flight may be outstanding. Outside steps calls
 * run at once, uploads and downloads are complete after sync(), and no step may be outstanding.
 */
#ifndef BAKA_KERNELS_BACKEND_H
#define BAKA_KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/gpu_health.h"

#ifdef __cplusplus
extern "C" {
#endif

struct err;
struct backend;

enum dtype { DTYPE_F32, DTYPE_F64, DTYPE_BF16 };

static inline size_t dtype_size(enum dtype t)
{
    return t == DTYPE_F64 ? 8 : t == DTYPE_BF16 ? 2 : 4;
}

struct backend_options {
    enum dtype storage;
    int threads;            /* CPU: size of the OpenMP team, >= 1 */
    size_t workspace_bytes; /* scratch for all operators, see plan.h */
    size_t branch_bytes;    /* of those, for what runs beside others between branches_begin and branches_end */
};

struct step_values {
    int64_t step;      /* from 1; names the step in errors */
    double lr;         /* learning rate of this step */
    double loss_scale; /* the loss is this times the sum of negative log-likelihoods */
};

/* out[m,:] = table[tokens[m],:]; backward adds rows in increasing m. Tokens are within [0, vocab). */
struct embed_args {
    int64_t rows, dim, vocab;
    const int32_t *tokens; /* [rows] */
    const void *table;     /* [vocab,dim]; forward only */
    void *out;             /* [rows,dim] =; forward only */
    const void *d_out;     /* [rows,dim]; backward only */
    void *d_table;         /* [vocab,dim] +=; backward only */
};

/* Rows of a sequence that no token stands for. put_rows: row i of `count` in sequence b of x = row i % table_rows of
 * table, which begins b * table_stride rows further on; it stands at at[b,i], or where that is NULL at offset + i.
 * take_rows, for the gradient: d_table += those rows of x, by increasing b, then i, and they become 0. */
struct rows_args {
    int64_t batch, seq, dim, count;
    int64_t offset;
    const int32_t *at;    /* [batch,count], all different within a sequence, or NULL */
    void *x;              /* [batch*seq,dim] */
    int64_t table_rows;   /* of one table */
    int64_t table_stride; /* at least table_rows; 0: all sequences have the same */
    const void *table;    /* put_rows only */
    void *d_table;        /* take_rows only; += or NULL: the rows become 0, no more */
    bool wide;            /* d_table is of wide type, else of storage */
};

enum norm_kind { NORM_LAYERNORM, NORM_RMSNORM };

/* Residual sum and one or two normalisations of it that share their statistics (parallel residual).
 * s = x + add[0] + add[1] (NULL ones left out; with none, `sum` must equal x and is not written), rounded to storage:
 * statistics and outputs are those of `sum` as it is stored, so that a norm of the sum alone gives the same bits again;
 * LayerNorm (Ba et al. 2016, eq. 4): y = (s - mean) * rstd * weight + bias, rstd = 1/sqrt(var + eps), biased variance;
 * RMSNorm (Zhang & Sennrich 2019, eq. 4): y = s * rstd * weight (+ bias), rstd = 1/sqrt(mean(s^2) + eps). */
struct norm_forward_args {
    enum norm_kind kind;
    int64_t rows, dim;
    double eps;
    const void *x;
    const void *add[2];    /* [rows,dim] or NULL */
    void *sum;             /* [rows,dim] = */
    void *mean, *rstd;     /* [rows] statistics =; mean is not touched by RMSNorm */
    const void *weight[2]; /* [dim]; weight[1] NULL when there is one output */
    const void *bias[2];   /* [dim] or NULL */
    void *y[2];            /* [rows,dim] = */
};

/* dx = d_residual + sum over outputs of the norm's gradient. dx may alias d_residual. dx is also the gradient of what
 * forward added, so its column sums are those of the biases of the layers that made it. */
struct norm_backward_args {
    enum norm_kind kind;
    int64_t rows, dim;
    const void *sum, *mean, *rstd;
    const void *weight[2];
    const void *dy[2];      /* dy[1] NULL when there is one output */
    const void *d_residual; /* [rows,dim] or NULL */
    void *dx;               /* [rows,dim] = */
    void *d_weight[2];      /* [dim] += */
    void *d_bias[2];        /* [dim] += or NULL */
    void *d_add_bias[2];    /* [dim] += column sums of dx, or NULL */
};

/* y = x w^T + bias. */
struct linear_args {
    int64_t rows, in, out;
    const void *x;    /* [rows,in] */
    const void *w;    /* [out,in] */
    const void *bias; /* [out] or NULL */
    void *y;          /* [rows,out] = */
};

/* dx (= or +=) dy w; d_w (+= or =) dy^T x; d_bias += column sums of dy. NULL outputs are skipped. */
struct linear_backward_args {
    int64_t rows, in, out;
    const void *x, *w, *dy;
    void *dx; /* [rows,in] or NULL */
    bool dx_accumulate;
    void *d_w; /* [out,in] */
    bool d_w_overwrite;
    void *d_bias; /* [out] += or NULL */
};

enum activation_kind { ACT_GELU_ERF, ACT_GELU_TANH, ACT_RELU2, ACT_SILU, ACT_ELEPHANT };

/* gelu_erf: x Phi(x); gelu_tanh: Hendrycks & Gimpel's tanh form; relu2: max(x,0)^2 (So et al. 2021);
 * silu: x sigmoid(x);
 * elephant (Lan & Mahmood, arXiv 2310.01365): E(x) = 1/(1+u^p), u = |x/a|. Computed without overflow: for u > 1 with
 * v = 1/u, E = v^p/(1+v^p) and |E'| = (p/a) v^(p+1)/(1+v^p)^2; E' = -(p/a) sgn(x) u^(p-1) E^2 otherwise. */
struct activation {
    enum activation_kind kind;
    double a, p; /* elephant only; a > 0, p >= 1 */
};

/* First half of a feed-forward layer: pre = x w^T; plain: h = f(pre + bias); gated: pre + bias = [g | u] with `width`
 * columns each, h = f(g) * u (Shazeer 2020). h is that of pre as it is stored: activation_forward on it gives the same
 * bits. The bias stays out of pre because a product that adds one is slower than the pass that has to come anyway. */
struct ffn_up_args {
    int64_t rows, in, width;
    struct activation act;
    bool gated;
    const void *x;    /* [rows,in] */
    const void *w;    /* [width or 2*width,in] */
    const void *bias; /* same length as w has rows, or NULL */
    void *pre;        /* [rows,width or 2*width] = */
    void *h;          /* [rows,width] = */
};

struct ffn_up_backward_args {
    int64_t rows, in, width;
    struct activation act;
    bool gated;
    const void *x, *w, *bias;
    void *pre;      /* in: as forward left it; out: its gradient, which is also that of pre + bias */
    const void *dh; /* [rows,width] */
    void *dx;       /* [rows,in] = or += */
    bool dx_accumulate;
    void *d_w; /* +=, or = with */
    bool d_w_overwrite;
    void *d_bias; /* += or NULL */
};

/* The elephant function with a height and a width a feature (Lan & Mahmood's later code, qlan3/Elephant), plain or as a
 * gate: h = exp(log_h) E(x) (* u), E(x) = 1/(1 + |x/sigma|^p), sigma = exp(log_sigma), computed as struct activation
 * says. Backward: x and u become their gradients; d_log_h += column sums of dh h;
 * d_log_sigma += column sums of dh (* u) exp(log_h) p v/(1+v)^2, v = |x/sigma|^p, which is -x times the gradient of x.
 */
struct elephant_args {
    int64_t rows, width;
    double a, p;           /* a: sigma where log_sigma is NULL; a > 0, p >= 1 */
    const void *log_h;     /* [width] or NULL: 0 */
    const void *log_sigma; /* [width] or NULL */
    void *x;               /* [rows,width] */
    void *u;               /* [rows,width] or NULL: plain */
    void *h;               /* [rows,width] =; forward only */
    const void *dh;        /* backward only */
    void *d_log_h;         /* [width] += or NULL */
    void *d_log_sigma;     /* [width] += or NULL */
};

/* Gates of units, one number each. h holds unit i in its columns [i*width, (i+1)*width).
 * Forward: h := s h, s_i = sigmoid(z_i). Backward, from that h: z_i := (1 - s_i) * sum over the unit's columns of dh h;
 * dh := s dh. */
struct unit_gate_args {
    int64_t rows, units, width;
    void *z;  /* [rows,units] only read by forward; its gradient = by backward */
    void *h;  /* [rows,units*width] only read by backward */
    void *dh; /* backward only */
};

/* Sum of gated units, a gate for each element: y = sum over units, in their order, of sigmoid(z_i) * o_i.
 * Backward: z_i := dy o_i s_i (1 - s_i), o_i := dy s_i. */
struct unit_sum_args {
    int64_t units, n; /* n: elements of a unit's output */
    void *z, *o;      /* [units,n] only read by forward; their gradients = by backward */
    void *y;          /* [n] =; forward only */
    const void *dy;   /* backward only */
};

/* Softmax attention over a table of learned keys and values, all of them visible to each row and none of it rotated
 * (Sukhbaatar et al. 2019's persistent vectors alone): out = softmax(scale q k^T) v for each head. Probabilities are
 * never stored: backward computes them anew from lse. */
struct lookup_args {
    int64_t rows, heads, head_dim, keys;
    double scale;      /* > 0 */
    const void *q;     /* [rows, heads*head_dim] */
    const void *k, *v; /* [keys, heads*head_dim] */
    void *out;         /* [rows, heads*head_dim] = by forward, read by backward */
    void *lse;         /* [heads,rows] statistics, = by forward: log of the sum of exponentials */
    const void *d_out; /* the rest: backward only */
    void *dq;          /* [rows, heads*head_dim] = */
    void *d_k, *d_v;   /* [keys, heads*head_dim] += */
};

/* Rotary position embedding and causal softmax attention (Su et al. 2021, split-halves pairing on the first
 * rotary_dims of each head; Vaswani et al. 2017, eq. 1; row statistics as in Dao et al. 2022).
 * qkv holds q | k | v, each [heads*head_dim] a row. Forward rotates q and k in place (angles in fp32 or better,
 * theta_i = base^(-2i/rotary_dims), position t within the row); backward reads the rotated form and returns the
 * gradient of the unrotated one. Key j is visible to query t when first[t] <= j <= t (first NULL: 0).
 *
 * With a memory (Dai et al. 2019, here of projections) keys are those of `memory` positions before the row and then the
 * row's own: key j stands at position j, query t at memory + t, and sees first[t] <= j <= memory + t. Forward then
 * leaves k and v of qkv as they were and writes all keys, rotated, and values to kv; no gradient goes to the memory.
 * Invisible keys must be finite. */
struct attention_args {
    int64_t batch, seq, heads, head_dim;
    int64_t rotary_dims; /* even, 0 = none */
    double rotary_base, scale;
    const int32_t *first; /* [batch*seq] or NULL */
    void *qkv;            /* [batch*seq, 3*heads*head_dim] rotated in place by forward */
    void *out;            /* [batch*seq, heads*head_dim] = by forward, read by backward */
    void *lse;            /* [batch,heads,seq] statistics, = by forward: log of the sum of exponentials */
    const void *d_out;    /* backward only */
    void *d_qkv;          /* backward only, = */
    void *d_bias;         /* [3*heads*head_dim] += column sums of d_qkv, or NULL; backward only */
    int64_t memory;       /* 0: none, and the rest is NULL */
    const void *past;     /* [batch,memory, 2*heads*head_dim] k | v of the positions before, not rotated */
    void *kv;             /* [batch,memory+seq, 2*heads*head_dim] k rotated | v, = by forward, read by backward */
};

/* past = the last `memory` positions of past and then the row, whose k and v are those of qkv = q | k | v as attention
 * with a memory left it. With places only those positions of the row count, `tokens` of them. */
struct remember_args {
    int64_t batch, seq, width, memory; /* width: heads*head_dim */
    int64_t tokens;                    /* seq where places is NULL */
    const int32_t *places;             /* [batch,tokens] or NULL */
    const void *qkv;                   /* [batch*seq, 3*width] */
    void *past;                        /* [batch,memory, 2*width], in and out */
};

/* attention_next computes the last position of one sequence (batch 1) alone: rows before it are as attention_forward,
 * or attention_next, left them in qkv. It rotates q and k of row seq-1 by that position; first is NULL, and out
 * [heads*head_dim] and lse [heads] are of that position alone. */

/* logits = x w^T; loss_sum += sum over counted rows of -log softmax(logits)[target]; with dx set also
 * dlogits = (softmax - onehot) * step_values.loss_scale on counted rows and 0 on others, dx = dlogits w, d_w (+= or =)
 * dlogits^T x. A target of -1 is not counted. Logits exist for chunk_rows rows at a time. */
struct classifier_args {
    int64_t rows, dim, vocab, chunk_rows;
    const void *x;          /* [rows,dim] */
    const void *w;          /* [vocab,dim] */
    const int32_t *targets; /* [rows] */
    void *logits;           /* [chunk_rows,vocab] scratch */
    double *loss_sum;       /* scalar += */
    void *dx;               /* [rows,dim] = or NULL: loss only */
    void *d_w;              /* [vocab,dim]; set with dx */
    bool d_w_overwrite;
};

struct optimizer_tensor {
    void *param, *grad, *m, *v; /* [n] wide each */
    void *copy; /* [n] param rounded to storage BF16, to nearest even; NULL where operators read param */
    int64_t n;
    bool decay;
    int64_t rows, cols, parts; /* muon and adalomo only: n = rows*cols, parts matrices of rows/parts rows each */
};

/* copy = param, for tensors that have one: after param was written from outside. */
struct copy_parameters_args {
    const struct optimizer_tensor *tensors; /* host */
    int count;
};

/* squares[i] = sum of squares of the gradient of tensor i, in double; and norm = sqrt of their sum in increasing i.
 * Tensor by tensor or all at once gives the same bits. */
struct grad_squares_args {
    const struct optimizer_tensor *tensors; /* host */
    int count;
    double *squares; /* [count] = */
};
struct norm_of_squares_args {
    const double *squares; /* [count] */
    int count;
    double *norm; /* scalar = */
};

/* AdamW (Loshchilov & Hutter 2019, algorithm 2, decoupled as PyTorch has it):
 * g = grad * min(1, clip/(norm+1e-6)) (clip 0: g = grad); m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
 * p -= lr*weight_decay*p (decayed tensors); p -= lr * (m/bc1) / (sqrt(v/bc2) + eps), bci = 1 - bi^t with t the number
 * of updates including this one; copy = p rounded. A norm that is not finite leaves everything untouched. */
struct adamw_args {
    const struct optimizer_tensor *tensors; /* host */
    int count;
    const double *norm; /* from norm_of_squares */
    int64_t *updates;   /* scalar: updates applied so far, += 1 */
    double clip, beta1, beta2, eps, weight_decay;
    double lr_factor; /* lr is that of the step times this */
};

/* What follows is as with AdamW: g = grad * min(1, clip/(norm+1e-6)) (clip 0: g = grad), p -= lr*weight_decay*p first,
 * on decayed tensors; a norm that is not finite leaves everything untouched. A norm of NULL: g = grad, always applied.
 */

/* Stochastic gradient descent (Sutskever et al. 2013 as PyTorch has it): m = momentum m + g; p -= lr m. Without
 * momentum (0) m is NULL and p -= lr g. */
struct sgd_args {
    const struct optimizer_tensor *tensors; /* host */
    int count;
    const double *norm; /* or NULL */
    int64_t *updates;   /* scalar += 1, or NULL */
    double clip, momentum, weight_decay;
};

/* Lion (Chen et al. 2023, algorithm 2): p -= lr sign(b1 m + (1-b1) g), sign(0) = 0; m = b2 m + (1-b2) g. */
struct lion_args {
    const struct optimizer_tensor *tensors; /* host */
    int count;
    const double *norm;
    int64_t *updates; /* scalar += 1 */
    double clip, beta1, beta2, weight_decay;
};

/* Muon (Jordan et al. 2024): m += (1-b)(g - m); u = (1-b) g + b m; for each part U [rows,cols] of u:
 * X = U/(|U|+1e-7), five times X = a X + (b' A + c A A) X with A = X X^T (X^T X on the other side where rows > cols),
 * (a, b', c) = (3.4445, -4.7750, 2.0315); p -= lr sqrt(max(1, rows/cols)) X. With storage BF16 the products read X and
 * A rounded. */
struct muon_args {
    const struct optimizer_tensor *tensors; /* host; v unused */
    int count;
    const double *norm;
    double clip, momentum, weight_decay;
    /* For the largest part, s being its smaller side: rows*cols and s*s elements, each once wide and once in storage,
     * the four rounded up to 256 bytes. */
    void *scratch;
};

/* AdaLomo (Lv et al. 2023, algorithm 1, as OpenLMLab/LOMO has it), with t the number of updates including this one:
 * b2 = 1 - t^-0.8; q = g^2 + 1e-30. Matrices: m [rows] = b2 m + (1-b2) means of q's rows, v [cols] likewise of its
 * columns; u = g / sqrt(m/mean(m)) / sqrt(v). Vectors, m NULL: v [n] = b2 v + (1-b2) q, u = g / sqrt(v). u /= max(1,
 * RMS(u)); r = lr max(1e-3, RMS(p)); p -= r*weight_decay*p; p -= r u. Tensors are whole: parts do not matter. */
struct adalomo_args {
    const struct optimizer_tensor *tensors; /* host */
    int count;
    const double *norm; /* or NULL */
    int64_t *updates;   /* scalar, read */
    bool counts;        /* and += 1 */
    double clip, weight_decay;
};

/* What a device is, without opening it. */
struct backend_device {
    char kind[128];        /* as device_kind() */
    uint64_t memory_bytes; /* what a run may plan with; 0: unknown */
};

struct backend_ops {
    const char *name; /* "cpu" */

    /* ERR_UNAVAILABLE, and why, when there is no such device here. */
    int (*probe)(struct backend_device *out, struct err *err);
    int (*open)(const struct backend_options *options, struct backend **out, struct err *err);
    void (*close)(struct backend *b); /* frees the arena too */
    /* The device kind that goes into the numerics id, as "cpu-avx512" or a GPU's name. */
    const char *(*device_kind)(const struct backend *b);
    /* Names and versions of the libraries that compute, for the numerics id: "onednn 2.6.3". */
    const char *(*library_versions)(const struct backend *b);
    /* Dense FLOPs a second at most, in the arithmetic that this storage computes in: what MFU is measured by. 0 where
     * there is no honest number, as on a CPU. */
    double (*peak_flops)(const struct backend *b); /* composed default: 0 */
    /* One look at the device, at any time, also while steps are outstanding: some milliseconds of the host's time, none
     * of the device's. False: it has nothing to tell. */
    bool (*health)(struct backend *b, struct gpu_health *out); /* composed default: false */
    /* One zeroed block, aligned to 256 bytes, once per backend. */
    int (*arena)(struct backend *b, size_t bytes, void **base, struct err *err);
    void (*upload)(struct backend *b, void *dst, const void *host_src, size_t bytes);
    void (*download)(struct backend *b, void *host_dst, const void *src, size_t bytes); /* valid after sync */
    void (*zero)(struct backend *b, void *dst, size_t bytes);
    int (*sync)(struct backend *b, struct err *err);
    int steps_in_flight; /* at least 1 */
    void (*step_begin)(struct backend *b, const struct step_values *values);
    void (*step_end)(struct backend *b);
    int (*step_wait)(struct backend *b, struct err *err);

    /* Two lists of operators that neither read nor write what the other writes: the first stands between begin and
     * next, the second between next and end. A backend that was given branch_bytes may run them beside each other. They
     * do not nest. Composed default: nothing, the one runs after the other. */
    void (*branches_begin)(struct backend *b);
    void (*branches_next)(struct backend *b);
    void (*branches_end)(struct backend *b);

    void (*embed_forward)(struct backend *b, const struct embed_args *a);
    void (*embed_backward)(struct backend *b, const struct embed_args *a);
    void (*put_rows)(struct backend *b, const struct rows_args *a);
    void (*take_rows)(struct backend *b, const struct rows_args *a);
    void (*norm_forward)(struct backend *b, const struct norm_forward_args *a);
    void (*norm_backward)(struct backend *b, const struct norm_backward_args *a);
    void (*linear_forward)(struct backend *b, const struct linear_args *a);
    void (*linear_backward)(struct backend *b, const struct linear_backward_args *a);
    /* h = f(pre) and pre := d_pre, the pieces of the composed ffn_up; same structs, x, w, bias, dx, d_* unused. The
     * first also rebuilds an h that was not kept. */
    void (*activation_forward)(struct backend *b, const struct ffn_up_args *a);
    void (*activation_backward)(struct backend *b, const struct ffn_up_backward_args *a);
    void (*ffn_up_forward)(struct backend *b, const struct ffn_up_args *a);           /* composed default */
    void (*ffn_up_backward)(struct backend *b, const struct ffn_up_backward_args *a); /* composed default */
    void (*elephant_forward)(struct backend *b, const struct elephant_args *a);
    void (*elephant_backward)(struct backend *b, const struct elephant_args *a);
    void (*unit_gate_forward)(struct backend *b, const struct unit_gate_args *a);
    void (*unit_gate_backward)(struct backend *b, const struct unit_gate_args *a);
    void (*unit_sum_forward)(struct backend *b, const struct unit_sum_args *a);
    void (*unit_sum_backward)(struct backend *b, const struct unit_sum_args *a);
    void (*lookup_forward)(struct backend *b, const struct lookup_args *a);
    void (*lookup_backward)(struct backend *b, const struct lookup_args *a);
    void (*attention_forward)(struct backend *b, const struct attention_args *a);
    void (*attention_backward)(struct backend *b, const struct attention_args *a);
    void (*attention_next)(struct backend *b, const struct attention_args *a);
    void (*remember)(struct backend *b, const struct remember_args *a);
    void (*classifier)(struct backend *b, const struct classifier_args *a);
    void (*grad_squares)(struct backend *b, const struct grad_squares_args *a);
    void (*norm_of_squares)(struct backend *b, const struct norm_of_squares_args *a);
    void (*adamw)(struct backend *b, const struct adamw_args *a);
    void (*sgd)(struct backend *b, const struct sgd_args *a);
    void (*lion)(struct backend *b, const struct lion_args *a);
    void (*muon)(struct backend *b, const struct muon_args *a);
    void (*adalomo)(struct backend *b, const struct adalomo_args *a);
    void (*copy_parameters)(struct backend *b, const struct copy_parameters_args *a);

    /* Measures the algorithms for the matrix products that ran since opening and writes the fastest to the table at
     * `path` (NULL: the one that open() reads; it counts from the next open() on). `report` gets a line a product.
     * Allocates, waits and takes seconds: for `baka-worker --tune` alone, outside steps. NULL in a backend whose
     * algorithms follow from the shapes. */
    int (*tune)(struct backend *b, const char *path, void (*report)(void *context, const char *line), void *context,
                struct err *err);
};

/* First member of every backend's own struct. */
struct backend {
    const struct backend_ops *ops;
    enum dtype storage;
};

/* Opens the backend called `name` ("cpu", "cuda"); an unknown or absent one is ERR_UNAVAILABLE with what there is. */
int backend_open(const char *name, const struct backend_options *options, struct backend **out, struct err *err);
int backend_probe(const char *name, struct backend_device *out, struct err *err);

/* Fills the entries of `ops` that are NULL and have a composed default. */
void backend_fill_composed(struct backend_ops *ops);

#ifdef __cplusplus
}
#endif

#endif
