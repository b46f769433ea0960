/* muon.cu: momentum, orthogonalised by Newton and Schulz's iteration, one matrix after the other. x stays in fp32, the
 * products read it and A = x x^T rounded to storage: with BF16 they run on tensor cores, as the original's do. */
#include "kernels/cuda/optimizer_list.cuh"

#include "kernels/cuda/gemm.h"

enum { STEPS = 5, PIECE = 4096, TOTAL_THREADS = 1024, ALIGNMENT = 256 };
static const float factor_x = 3.4445f, factor_a = -4.7750f, factor_aa = 2.0315f;

/* In the workspace, before the sums of squares. */
struct muon_state {
    struct update update;
    float scale; /* 1 / (norm of the part + 1e-7) */
};

template <class T> struct part {
    int64_t rows, cols, side, n; /* side: the smaller one */
    float *p, *m;
    const float *grad;
    __nv_bfloat16 *copy;
    bool decay;
    float *x, *aa;
    T *rounded, *a;
};

static __global__ void prepare_muon(const update_inputs in, struct muon_state *out)
{
    out->update = begin_update(in);
}

/* The momentum, and by Nesterov its step in x, with the sums of its squares. */
static __global__ void __launch_bounds__(BLOCK)
    momentum_step(int64_t n, const float *grad, float *m, float *x, const struct muon_state *state, float keep,
                  float rest, double *sums)
{
    __shared__ double slots[BLOCK / WARP];
    const struct update u = state->update;
    if (!u.apply)
        return;
    const int64_t from = (int64_t)blockIdx.x * PIECE, to = from + PIECE < n ? from + PIECE : n;
    double sum = 0;
    for (int64_t i = from + threadIdx.x; i < to; i += BLOCK) {
        const float g = grad[i] * u.clip, now = keep * m[i] + rest * g, step = rest * g + keep * now;
        m[i] = now;
        x[i] = step;
        sum += (double)step * (double)step;
    }
    sum = block_sum(sum, slots);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(TOTAL_THREADS)
    find_scale(const double *sums, int64_t count, struct muon_state *state)
{
    __shared__ double slots[TOTAL_THREADS / WARP];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < count; i += TOTAL_THREADS)
        sum += sums[i];
    sum = block_sum(sum, slots);
    if (threadIdx.x == 0)
        state->scale = (float)(1.0 / (sqrt(sum) + 1e-7));
}

/* rounded = x, x *= factor_x: what the iteration's last product adds to. At first x is scaled. */
template <class T>
static __global__ void __launch_bounds__(BLOCK)
    round_x(int64_t n, float *x, T *rounded, const struct muon_state *state, bool first)
{
    const float scale = first ? state->scale : 1.0f;
    for (int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x; i < n; i += (int64_t)gridDim.x * BLOCK) {
        const float now = x[i] * scale;
        element_store(rounded + i, now);
        x[i] = now * factor_x;
    }
}

template <class T> static __global__ void __launch_bounds__(BLOCK) polynomial(int64_t n, T *a, const float *aa)
{
    for (int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x; i < n; i += (int64_t)gridDim.x * BLOCK)
        element_store(a + i, factor_a * element_load(a[i]) + factor_aa * aa[i]);
}

static __global__ void __launch_bounds__(BLOCK) apply_x(int64_t n, float *p, __nv_bfloat16 *copy, const float *x,
                                                        bool decay, float stretch, const struct muon_state *state)
{
    const struct update u = state->update;
    if (!u.apply)
        return;
    const float keep = decay ? u.keep : 1.0f, rate = u.rate * stretch;
    for (int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x; i < n; i += (int64_t)gridDim.x * BLOCK) {
        p[i] = p[i] * keep - rate * x[i];
        if (copy)
            copy[i] = __float2bfloat16_rn(p[i]);
    }
}

static unsigned blocks_for(int64_t n)
{
    const int64_t blocks = pieces_of(n, BLOCK);
    return (unsigned)(blocks < 4096 ? blocks : 4096);
}

static void *take(unsigned char **scratch, int64_t bytes)
{
    void *at = *scratch;
    *scratch += pieces_of(bytes, ALIGNMENT) * ALIGNMENT;
    return at;
}

template <class T> static part<T> part_of(const struct optimizer_tensor *t, int64_t index, void *memory)
{
    part<T> w = {};
    unsigned char *scratch = (unsigned char *)memory;
    w.rows = t->rows / t->parts;
    w.cols = t->cols;
    w.side = w.rows < w.cols ? w.rows : w.cols;
    w.n = w.rows * w.cols;
    w.p = (float *)t->param + index * w.n;
    w.m = (float *)t->m + index * w.n;
    w.grad = (const float *)t->grad + index * w.n;
    w.copy = t->copy ? (__nv_bfloat16 *)t->copy + index * w.n : NULL;
    w.decay = t->decay;
    w.x = (float *)take(&scratch, w.n * (int64_t)sizeof(float));
    w.rounded = (T *)take(&scratch, w.n * (int64_t)sizeof(T));
    w.a = (T *)take(&scratch, w.side * w.side * (int64_t)sizeof(T));
    w.aa = (float *)take(&scratch, w.side * w.side * (int64_t)sizeof(float));
    return w;
}

/* A = x x^T, from the other side x^T x where x is tall. */
template <class T> static void square_x(struct backend *b, const part<T> &w)
{
    const bool tall = w.rows > w.cols;
    struct cuda_gemm g = {};
    g.ta = tall;
    g.tb = !tall;
    g.m = g.n = w.side;
    g.k = tall ? w.rows : w.cols;
    g.a = g.b = w.rounded;
    g.lda = g.ldb = w.cols;
    g.c = w.a;
    g.ldc = w.side;
    cuda_gemm_run(b, &g, "muon");
}

template <class T> static void square_a(struct backend *b, const part<T> &w)
{
    struct cuda_gemm g = {};
    g.c_wide = true;
    g.m = g.n = g.k = w.side;
    g.a = g.b = w.a;
    g.lda = g.ldb = w.side;
    g.c = w.aa;
    g.ldc = w.side;
    cuda_gemm_run(b, &g, "muon");
}

/* x += a x, or x a where x is tall; a is what polynomial() has made of it. */
template <class T> static void add_product(struct backend *b, const part<T> &w)
{
    const bool tall = w.rows > w.cols;
    struct cuda_gemm g = {};
    g.accumulate = true;
    g.c_wide = true;
    g.m = w.rows;
    g.n = w.cols;
    g.k = w.side;
    g.a = tall ? w.rounded : w.a;
    g.lda = tall ? w.cols : w.side;
    g.b = tall ? w.a : w.rounded;
    g.ldb = tall ? w.side : w.cols;
    g.c = w.x;
    g.ldc = w.cols;
    cuda_gemm_run(b, &g, "muon");
}

template <class T>
static void update_part(struct backend *b, const part<T> &w, const struct muon_args *a, struct muon_state *state,
                        double *sums)
{
    cudaStream_t stream = cuda_stream(b);
    const int64_t pieces = pieces_of(w.n, PIECE);
    momentum_step<<<(unsigned)pieces, BLOCK, 0, stream>>>(w.n, w.grad, w.m, w.x, state, (float)a->momentum,
                                                          (float)(1 - a->momentum), sums);
    find_scale<<<1, TOTAL_THREADS, 0, stream>>>(sums, pieces, state);
    for (int step = 0; step < STEPS; step++) {
        round_x<<<blocks_for(w.n), BLOCK, 0, stream>>>(w.n, w.x, w.rounded, state, step == 0);
        square_x(b, w);
        square_a(b, w);
        polynomial<<<blocks_for(w.side * w.side), BLOCK, 0, stream>>>(w.side * w.side, w.a, w.aa);
        add_product(b, w);
    }
    const float stretch = w.rows > w.cols ? (float)sqrt((double)w.rows / (double)w.cols) : 1.0f;
    apply_x<<<blocks_for(w.n), BLOCK, 0, stream>>>(w.n, w.p, w.copy, w.x, w.decay, stretch, state);
    cuda_check(b, "muon");
}

template <class T> static void update_matrices(struct backend *b, const struct muon_args *a)
{
    int64_t largest = 0;
    for (int i = 0; i < a->count; i++)
        largest = a->tensors[i].n / a->tensors[i].parts > largest ? a->tensors[i].n / a->tensors[i].parts : largest;
    unsigned char *work =
        (unsigned char *)cuda_workspace(b, ALIGNMENT + (size_t)pieces_of(largest, PIECE) * sizeof(double));
    if (!work)
        return;
    struct muon_state *state = (struct muon_state *)work;
    const update_inputs in = {a->norm, cuda_values(b), NULL, a->clip, a->weight_decay};
    prepare_muon<<<1, 1, 0, cuda_stream(b)>>>(in, state);
    for (int i = 0; i < a->count; i++)
        for (int64_t index = 0; index < a->tensors[i].parts; index++)
            update_part(b, part_of<T>(&a->tensors[i], index, a->scratch), a, state, (double *)(work + ALIGNMENT));
}

extern "C" void cuda_muon(struct backend *b, const struct muon_args *a)
{
    if (cuda_failed(b))
        return;
    if (cuda_is_bf16(b))
        update_matrices<__nv_bfloat16>(b, a);
    else
        update_matrices<float>(b, a);
}
