/* activation.c: the activations, alone and fused with the first product of a feed-forward layer.
 *
 * Values and derivatives are computed for a block of elements in the first-level cache and combined with the gate
 * there, so that a feed-forward layer passes over memory once forward and once backward.
 */
#include "kernels/cpu/cpu.h"

#include "kernels/cpu/power.h"
#include "kernels/cpu/vmath.h"

/* With t = min(u, 1/u) and r = t^(p-1), nothing overflows: E = (u > 1 ? t^p : 1)/(1 + t^p) and
 * |E'| = (p/a) (u > 1 ? t^(p+1) : t^(p-1))/(1 + t^p)^2. */
static void elephant(double scale, double p, int n, const real *x, real *f, real *d)
{
    real t[ACTIVATION_BLOCK], r[ACTIVATION_BLOCK];
    real a = (real)scale, slope = (real)(p / scale);
    for (int i = 0; i < n; i++) {
        real u = (x[i] < 0 ? -x[i] : x[i]) / a;
        t[i] = u > 1 ? 1 / u : u;
    }
    power_block(p - 1, n, t, r);
    for (int i = 0; i < n; i++) {
        bool large = (x[i] < 0 ? -x[i] : x[i]) > a;
        real q = r[i] * t[i], scaled = 1 / (1 + q);
        f[i] = (large ? q : 1) * scaled;
        if (d) {
            real sign = x[i] > 0 ? -slope : x[i] < 0 ? slope : 0;
            d[i] = sign * ((large ? q * t[i] : r[i]) * (scaled * scaled));
        }
    }
}

static void gelu_erf(int n, const real *x, real *f, real *d)
{
#pragma omp simd
    for (int i = 0; i < n; i++) {
        struct normal g = normal_real(x[i]);
        f[i] = x[i] * g.cdf;
        d[i] = g.cdf + x[i] * g.density;
    }
}

/* 0.5 x (1 + tanh z) = x sigmoid(2 z), z = sqrt(2/pi) (x + 0.044715 x^3); beyond 20 the logistic is 0 or 1 in any
 * precision, and the cube must not overflow. */
static void gelu_tanh(int n, const real *x, real *f, real *d)
{
    const real k = (real)(2 * 0.79788456080286535588), cubic = (real)0.044715;
#pragma omp simd
    for (int i = 0; i < n; i++) {
        real y = x[i] > 20 ? 20 : x[i];
        y = y < -20 ? -20 : y;
        struct logistic g = logistic_real(k * (y + cubic * y * y * y));
        f[i] = x[i] * g.s;
        d[i] = g.s + y * (g.s * g.complement) * (k * (1 + 3 * cubic * y * y));
    }
}

static void relu2(int n, const real *x, real *f, real *d)
{
#pragma omp simd
    for (int i = 0; i < n; i++) {
        real y = x[i] < 0 ? 0 : x[i];
        f[i] = y * y;
        d[i] = 2 * y;
    }
}

static void silu(int n, const real *x, real *f, real *d)
{
#pragma omp simd
    for (int i = 0; i < n; i++) {
        struct logistic g = logistic_real(x[i]);
        f[i] = x[i] * g.s;
        d[i] = g.s + x[i] * (g.s * g.complement);
    }
}

/* f = act(x), d = act'(x), n <= ACTIVATION_BLOCK. */
static void activate(const struct activation *act, int n, const real *x, real *f, real *d)
{
    switch (act->kind) {
    case ACT_GELU_ERF:
        gelu_erf(n, x, f, d);
        break;
    case ACT_GELU_TANH:
        gelu_tanh(n, x, f, d);
        break;
    case ACT_RELU2:
        relu2(n, x, f, d);
        break;
    case ACT_SILU:
        silu(n, x, f, d);
        break;
    case ACT_ELEPHANT:
        elephant(act->a, act->p, n, x, f, d);
        break;
    }
}

/* sum = x + bias (NULL: 0). */
static void add_bias(int n, const real *x, const real *bias, real *sum)
{
#pragma omp simd
    for (int i = 0; i < n; i++)
        sum[i] = x[i] + (bias ? bias[i] : 0);
}

/* One row's columns [j0, j1) of h from pre. */
static void forward_row(const struct ffn_up_args *a, int64_t row, int64_t j0, int64_t j1)
{
    int64_t width = a->width;
    const real *pre = (const real *)a->pre + row * (a->gated ? 2 * width : width), *bias = a->bias;
    real *h = (real *)a->h + row * width;
    for (int64_t j = j0; j < j1; j += ACTIVATION_BLOCK) {
        int n = (int)least(ACTIVATION_BLOCK, j1 - j);
        real x[ACTIVATION_BLOCK], f[ACTIVATION_BLOCK], d[ACTIVATION_BLOCK];
        add_bias(n, pre + j, bias ? bias + j : NULL, x);
        activate(&a->act, n, x, f, d);
        if (!a->gated) {
            for (int i = 0; i < n; i++)
                h[j + i] = f[i];
            continue;
        }
        add_bias(n, pre + width + j, bias ? bias + width + j : NULL, x);
#pragma omp simd
        for (int i = 0; i < n; i++)
            h[j + i] = f[i] * x[i];
    }
}

/* One row of pre becomes its gradient. */
static void backward_row(const struct ffn_up_backward_args *a, int64_t row)
{
    int64_t width = a->width;
    real *pre = (real *)a->pre + row * (a->gated ? 2 * width : width);
    const real *dh = (const real *)a->dh + row * width, *bias = a->bias;
    for (int64_t j = 0; j < width; j += ACTIVATION_BLOCK) {
        int n = (int)least(ACTIVATION_BLOCK, width - j);
        real x[ACTIVATION_BLOCK], f[ACTIVATION_BLOCK], d[ACTIVATION_BLOCK];
        add_bias(n, pre + j, bias ? bias + j : NULL, x);
        activate(&a->act, n, x, f, d);
        if (!a->gated) {
#pragma omp simd
            for (int i = 0; i < n; i++)
                pre[j + i] = dh[j + i] * d[i];
            continue;
        }
        add_bias(n, pre + width + j, bias ? bias + width + j : NULL, x);
#pragma omp simd
        for (int i = 0; i < n; i++) {
            real gradient = dh[j + i];
            pre[j + i] = gradient * x[i] * d[i];
            pre[width + j + i] = gradient * f[i];
        }
    }
}

void SYM(activation_forward)(struct backend *b, const struct ffn_up_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "activation_forward");
    if (!c)
        return;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t row = 0; row < a->rows; row++)
        forward_row(a, row, 0, a->width);
}

void SYM(activation_backward)(struct backend *b, const struct ffn_up_backward_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "activation_backward");
    if (!c)
        return;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t row = 0; row < a->rows; row++)
        backward_row(a, row);
}

/* A piece is a range of rows and of h's columns: the product for the gate's half and the other half, then the
 * activation on both. */
void SYM(ffn_up_forward)(struct backend *b, const struct ffn_up_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "ffn_up_forward");
    if (!c || a->rows == 0)
        return;
    struct product p = {
        .tb = true,
        .m = a->rows,
        .n = a->width,
        .k = a->in,
        .a = a->x,
        .lda = a->in,
        .b = a->w,
        .ldb = a->in,
        .c = a->pre,
        .ldc = a->gated ? 2 * a->width : a->width,
    };
    struct product half = p;
    half.b += a->width * a->in;
    half.c += a->width;
    struct product_grid g = SYM(product_cut)(&p);
    bool refused = false;
#pragma omp parallel for num_threads(c->threads) schedule(dynamic, 1) reduction(|| : refused)
    for (int64_t piece = 0; piece < g.rows * g.columns; piece++) {
        struct product_range r = product_piece(&p, &g, piece);
        refused = !SYM(product_run)(c, &p, &r) || refused;
        if (a->gated)
            refused = !SYM(product_run)(c, &half, &r) || refused;
        for (int64_t i = r.m0; i < r.m1; i++)
            forward_row(a, i, r.n0, r.n1);
    }
    SYM(product_check)(c, refused);
}

void SYM(ffn_up_backward)(struct backend *b, const struct ffn_up_backward_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "ffn_up_backward");
    if (!c || a->rows == 0)
        return;
    int64_t out = a->gated ? 2 * a->width : a->width;
    const struct product p = {
        .accumulate = a->dx_accumulate,
        .m = a->rows,
        .n = a->in,
        .k = out,
        .a = a->pre,
        .lda = out,
        .b = a->w,
        .ldb = a->in,
        .c = a->dx,
        .ldc = a->in,
    };
    int64_t tile = SYM(product_cut)(&p).tile_m, pieces = (a->rows + tile - 1) / tile;
    bool refused = false;
#pragma omp parallel for num_threads(c->threads) schedule(dynamic, 1) reduction(|| : refused)
    for (int64_t piece = 0; piece < pieces; piece++) {
        struct product_range r = {piece * tile, least(piece * tile + tile, a->rows), 0, a->in};
        for (int64_t i = r.m0; i < r.m1; i++)
            backward_row(a, i);
        refused = !SYM(product_run)(c, &p, &r) || refused;
    }
    SYM(product_check)(c, refused);
    if (!refused)
        SYM(weight_gradient)(c, a->rows, a->in, out, a->pre, a->x, a->d_w, a->d_w_overwrite, a->d_bias);
}
