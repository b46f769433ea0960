/* adalomo.cu: AdaLomo, one tensor after the other: its gradient's squares by row and column, the size of its update,
 * then the update. Sums are cut by the shape alone and added in a fixed order. */
#include "kernels/cuda/optimizer_list.cuh"

enum { BANDS = 32, COLUMN_BLOCK = 128, SUM_BLOCKS = 512, ALIGNMENT = 256 };

/* In the workspace, before the sums; what the one tensor in work needs beside its numbers. */
struct adalomo_state {
    struct update update;
    double beta2;
    double row_mean; /* of m */
    float keep, rate;
};

struct work {
    int64_t rows, cols, n;
    bool matrix, decay;
    float *p, *m, *v;
    const float *grad;
    __nv_bfloat16 *copy;
    struct adalomo_state *state;
    double *columns; /* [BANDS, cols] */
    double *sums;    /* [2, SUM_BLOCKS] of squares of updates and of parameters */
};

static __device__ __forceinline__ double square_of(float grad, float clip)
{
    const double g = (double)(grad * clip);
    return g * g + 1e-30;
}

static __global__ void prepare_adalomo(const update_inputs in, const int64_t *updates, bool counts,
                                       struct adalomo_state *out)
{
    out->beta2 = 1.0 - pow((double)(*updates + 1), -0.8);
    out->update = begin_update(in);
    if (counts && out->update.apply)
        *const_cast<int64_t *>(updates) += 1;
}

static __device__ __forceinline__ void average(float *to, double q, double beta2)
{
    *to = (float)beta2 * *to + (float)(1.0 - beta2) * (float)q;
}

/* One block a row. */
static __global__ void __launch_bounds__(BLOCK) square_rows(const work w)
{
    __shared__ double slots[BLOCK / WARP];
    if (!w.state->update.apply)
        return;
    const float clip = w.state->update.clip;
    for (int64_t row = blockIdx.x; row < w.rows; row += gridDim.x) {
        double sum = 0;
        for (int64_t j = threadIdx.x; j < w.cols; j += BLOCK)
            sum += square_of(w.grad[row * w.cols + j], clip);
        sum = block_sum(sum, slots);
        if (threadIdx.x == 0)
            average(w.m + row, sum / (double)w.cols, w.state->beta2);
        __syncthreads();
    }
}

/* One thread a column of a band of rows. */
static __global__ void __launch_bounds__(COLUMN_BLOCK) square_columns(const work w)
{
    const int64_t j = (int64_t)blockIdx.x * COLUMN_BLOCK + threadIdx.x;
    if (j >= w.cols || !w.state->update.apply)
        return;
    const float clip = w.state->update.clip;
    const int64_t band = (w.rows + BANDS - 1) / BANDS, from = blockIdx.y * band;
    const int64_t to = from + band < w.rows ? from + band : w.rows;
    double sum = 0;
    for (int64_t i = from; i < to; i++)
        sum += square_of(w.grad[i * w.cols + j], clip);
    w.columns[blockIdx.y * w.cols + j] = sum;
}

static __global__ void __launch_bounds__(COLUMN_BLOCK) finish_columns(const work w)
{
    const int64_t j = (int64_t)blockIdx.x * COLUMN_BLOCK + threadIdx.x;
    if (j >= w.cols || !w.state->update.apply)
        return;
    double sum = 0;
    for (int band = 0; band < BANDS; band++)
        sum += w.columns[band * w.cols + j];
    average(w.v + j, sum / (double)w.rows, w.state->beta2);
}

static __global__ void __launch_bounds__(BLOCK) find_row_mean(const work w)
{
    __shared__ double slots[BLOCK / WARP];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < w.rows; i += BLOCK)
        sum += (double)w.m[i];
    sum = block_sum(sum, slots);
    if (threadIdx.x == 0)
        w.state->row_mean = sum / (double)w.rows;
}

static __global__ void __launch_bounds__(BLOCK) square_vector(const work w)
{
    if (!w.state->update.apply)
        return;
    for (int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x; i < w.n; i += (int64_t)gridDim.x * BLOCK)
        average(w.v + i, square_of(w.grad[i], w.state->update.clip), w.state->beta2);
}

static __device__ __forceinline__ float update_at(const work &w, int64_t i, float clip, double row_mean)
{
    const float g = w.grad[i] * clip;
    if (!w.matrix)
        return g / sqrtf(w.v[i]);
    return g * (float)sqrt(row_mean / (double)w.m[i / w.cols]) / sqrtf(w.v[i % w.cols]);
}

static __global__ void __launch_bounds__(BLOCK) sum_updates(const work w)
{
    __shared__ double slots[BLOCK / WARP];
    const float clip = w.state->update.clip;
    const double row_mean = w.state->row_mean;
    double updates = 0, squares = 0;
    for (int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x; i < w.n; i += (int64_t)SUM_BLOCKS * BLOCK) {
        const double u = (double)update_at(w, i, clip, row_mean), p = (double)w.p[i];
        updates += u * u;
        squares += p * p;
    }
    updates = block_sum(updates, slots);
    __syncthreads();
    squares = block_sum(squares, slots);
    if (threadIdx.x == 0) {
        w.sums[blockIdx.x] = updates;
        w.sums[SUM_BLOCKS + blockIdx.x] = squares;
    }
}

static __global__ void __launch_bounds__(SUM_BLOCKS)
    find_rate(const work w, const struct cuda_step_values *values, double weight_decay)
{
    __shared__ double slots[SUM_BLOCKS / WARP];
    const double updates = block_sum(w.sums[threadIdx.x], slots);
    __syncthreads();
    const double squares = block_sum(w.sums[SUM_BLOCKS + threadIdx.x], slots);
    if (threadIdx.x > 0)
        return;
    const double size = sqrt(updates / (double)w.n), scale = sqrt(squares / (double)w.n);
    const double rate = values->lr * (scale > 1e-3 ? scale : 1e-3);
    w.state->keep = (float)(w.decay ? 1.0 - rate * weight_decay : 1.0);
    w.state->rate = (float)(rate / (size > 1.0 ? size : 1.0));
}

static __global__ void __launch_bounds__(BLOCK) apply_update(const work w)
{
    if (!w.state->update.apply)
        return;
    const float clip = w.state->update.clip, keep = w.state->keep, rate = w.state->rate;
    const double row_mean = w.state->row_mean;
    for (int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x; i < w.n; i += (int64_t)gridDim.x * BLOCK) {
        w.p[i] = w.p[i] * keep - rate * update_at(w, i, clip, row_mean);
        if (w.copy)
            w.copy[i] = __float2bfloat16_rn(w.p[i]);
    }
}

static unsigned blocks_for(int64_t n)
{
    return (unsigned)(n < 65536 ? n : 65536);
}

static void average_squares(const work &w, cudaStream_t stream)
{
    if (!w.matrix) {
        square_vector<<<blocks_for(pieces_of(w.n, BLOCK)), BLOCK, 0, stream>>>(w);
        return;
    }
    const unsigned columns = (unsigned)pieces_of(w.cols, COLUMN_BLOCK);
    square_rows<<<blocks_for(w.rows), BLOCK, 0, stream>>>(w);
    square_columns<<<dim3(columns, BANDS), COLUMN_BLOCK, 0, stream>>>(w);
    finish_columns<<<columns, COLUMN_BLOCK, 0, stream>>>(w);
    find_row_mean<<<1, BLOCK, 0, stream>>>(w);
}

static void update_tensor(struct backend *b, const struct optimizer_tensor *t, const struct adalomo_args *a,
                          unsigned char *memory)
{
    cudaStream_t stream = cuda_stream(b);
    struct work w = {};
    w.matrix = t->m != NULL;
    w.rows = w.matrix ? t->rows : 1;
    w.cols = w.matrix ? t->cols : t->n;
    w.n = t->n;
    w.decay = t->decay;
    w.p = (float *)t->param;
    w.m = (float *)t->m;
    w.v = (float *)t->v;
    w.grad = (const float *)t->grad;
    w.copy = (__nv_bfloat16 *)t->copy;
    w.state = (struct adalomo_state *)memory;
    w.sums = (double *)(memory + ALIGNMENT);
    w.columns = w.sums + 2 * SUM_BLOCKS;
    average_squares(w, stream);
    sum_updates<<<SUM_BLOCKS, BLOCK, 0, stream>>>(w);
    find_rate<<<1, SUM_BLOCKS, 0, stream>>>(w, cuda_values(b), a->weight_decay);
    apply_update<<<blocks_for(pieces_of(w.n, BLOCK)), BLOCK, 0, stream>>>(w);
    cuda_check(b, "adalomo");
}

extern "C" void cuda_adalomo(struct backend *b, const struct adalomo_args *a)
{
    if (cuda_failed(b))
        return;
    int64_t columns = 0;
    for (int i = 0; i < a->count; i++)
        if (a->tensors[i].m && a->tensors[i].cols > columns)
            columns = a->tensors[i].cols;
    unsigned char *memory =
        (unsigned char *)cuda_workspace(b, ALIGNMENT + (size_t)(2 * SUM_BLOCKS + BANDS * columns) * sizeof(double));
    if (!memory)
        return;
    const update_inputs in = {a->norm, cuda_values(b), NULL, a->clip, a->weight_decay};
    prepare_adalomo<<<1, 1, 0, cuda_stream(b)>>>(in, a->updates, a->counts, (struct adalomo_state *)memory);
    for (int i = 0; i < a->count; i++)
        update_tensor(b, &a->tensors[i], a, memory);
}
