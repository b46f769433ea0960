/* norm_backward.cu: the gradients of norm.cu's operator.
 *
 * A thread owns 8 columns and goes through a piece of the rows, so that the sums for weights and biases stay in
 * registers and every tensor is read once; a second kernel adds the pieces' sums in their order. Other shapes (odd,
 * unaligned, more than 4096 columns) go element by element: sums first, then dx.
 */
#include "kernels/cuda/operators.h"
#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/vector.cuh"

enum {
    WARP_COLUMNS = WARP * VECTOR,
    ROW_WARPS = 16,             /* a row takes up to 16 warps, 4096 columns */
    ROW_WARPS_NARROW = 4,       /* a block of up to so many may use more registers a thread */
    RESIDENT_WARPS_NARROW = 12, /* a multiprocessor, at the registers that takes */
    RESIDENT_WARPS = 16,
    ELEMENT_THREADS = 256,
    COLUMN_ROWS = 8, /* rows at a time in the element-wise column sums */
};
static const int64_t PIECE_ROWS_LEAST = 4;
static const int64_t COLUMN_PARTIALS = 1 << 20; /* at most so many sums a kind in the element-wise path */

/* What one thread has of one row. */
template <class T> struct row_columns {
    packed<T, VECTOR> s, d0, d1, residual;
    float mean, rstd;
};

/* Rows and columns that are not there are zeros, which add nothing to any sum. */
template <class T, bool TWO>
static __device__ __forceinline__ void row_load(row_columns<T> *r, const norm_backward_args &a, int64_t row,
                                                int64_t end, int c)
{
    packed_zero<T, VECTOR>(&r->s);
    packed_zero<T, VECTOR>(&r->d0);
    packed_zero<T, VECTOR>(&r->d1);
    packed_zero<T, VECTOR>(&r->residual);
    r->mean = 0;
    r->rstd = 0;
    if (row >= end)
        return;
    if (a.kind == NORM_LAYERNORM)
        r->mean = ((const float *)a.mean)[row];
    r->rstd = ((const float *)a.rstd)[row];
    if (c >= a.dim)
        return;
    const int64_t at = row * a.dim + c;
    packed_load<T, VECTOR>(&r->s, (const T *)a.sum + at);
    packed_load<T, VECTOR>(&r->d0, (const T *)a.dy[0] + at);
    if (TWO)
        packed_load<T, VECTOR>(&r->d1, (const T *)a.dy[1] + at);
    if (a.d_residual)
        packed_load<T, VECTOR>(&r->residual, (const T *)a.d_residual + at);
}

/* As backward_row in kernels/cpu/norm.c: with n = (s - mean) rstd and g = dy[0] weight[0] + dy[1] weight[1],
 * ds = rstd (g - avg(g) - n avg(g n)). ROWS rows at a time while the next ones are on their way. With one warp a row
 * each warp has a piece of its own, else each block has. partial: [pieces][3 or 5][dim], the sums of a piece for
 * d_weight[0], d_bias[0], with two outputs d_weight[1], d_bias[1], and of dx. */
template <class T, bool TWO, int ROWS, int THREADS>
static __global__ void __launch_bounds__(THREADS, THREADS <= 128 ? 3 : 1)
    backward_rows(const norm_backward_args a, int row_warps, int64_t piece_rows, float *partial)
{
    __shared__ float slots[2][THREADS / WARP][2 * ROWS];
    const bool shared_row = row_warps > 1;
    const int warp = threadIdx.x / WARP;
    const int64_t piece = shared_row ? (int64_t)blockIdx.x : (int64_t)blockIdx.x * (blockDim.x / WARP) + warp;
    const int c = (shared_row ? (int)threadIdx.x : (int)threadIdx.x % WARP) * VECTOR;
    const int64_t begin = piece * piece_rows, end = begin + piece_rows < a.rows ? begin + piece_rows : a.rows;
    const bool here = c < a.dim;

    packed<T, VECTOR> w0, w1;
    packed_zero<T, VECTOR>(&w0);
    packed_zero<T, VECTOR>(&w1);
    if (here) {
        packed_load<T, VECTOR>(&w0, (const T *)a.weight[0] + c);
        if (TWO)
            packed_load<T, VECTOR>(&w1, (const T *)a.weight[1] + c);
    }
    float sum_w[TWO ? 2 : 1][VECTOR] = {}, sum_b[TWO ? 2 : 1][VECTOR] = {}, sum_dx[VECTOR] = {};
    row_columns<T> now[ROWS], next[ROWS];
#pragma unroll
    for (int k = 0; k < ROWS; k++)
        row_load<T, TWO>(&now[k], a, begin + k, end, c);
    int side = 0;
    for (int64_t row = begin; row < end; row += ROWS) {
#pragma unroll
        for (int k = 0; k < ROWS; k++)
            row_load<T, TWO>(&next[k], a, row + ROWS + k, end, c);
        float n[ROWS][VECTOR], g[ROWS][VECTOR], sums[2 * ROWS];
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            float d[VECTOR], w[VECTOR];
            unpack<T, VECTOR>(now[k].s, n[k]);
            unpack<T, VECTOR>(now[k].d0, d);
            unpack<T, VECTOR>(w0, w);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) {
                n[k][i] = (n[k][i] - now[k].mean) * now[k].rstd;
                g[k][i] = d[i] * w[i];
                sum_w[0][i] += d[i] * n[k][i];
                sum_b[0][i] += d[i];
            }
            if constexpr (TWO) {
                unpack<T, VECTOR>(now[k].d1, d);
                unpack<T, VECTOR>(w1, w);
#pragma unroll
                for (int i = 0; i < VECTOR; i++) {
                    g[k][i] += d[i] * w[i];
                    sum_w[1][i] += d[i] * n[k][i];
                    sum_b[1][i] += d[i];
                }
            }
            sums[2 * k] = 0;
            sums[2 * k + 1] = 0;
#pragma unroll
            for (int i = 0; i < VECTOR; i++) {
                sums[2 * k] += g[k][i];
                sums[2 * k + 1] += g[k][i] * n[k][i];
            }
        }
#pragma unroll
        for (int k = 0; k < 2 * ROWS; k++)
            sums[k] = warp_sum(sums[k]);
        if (shared_row) {
            /* Two sides in turn: one barrier between writing a side and reading it also lies between reading it and
             * writing it again. */
            if (threadIdx.x % WARP == 0) {
#pragma unroll
                for (int k = 0; k < 2 * ROWS; k++)
                    slots[side][warp][k] = sums[k];
            }
            __syncthreads();
#pragma unroll
            for (int k = 0; k < 2 * ROWS; k++)
                sums[k] = 0;
            for (int w = 0; w < row_warps; w++) {
#pragma unroll
                for (int k = 0; k < 2 * ROWS; k++)
                    sums[k] += slots[side][w][k];
            }
            side ^= 1;
        }
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            const float average = a.kind == NORM_LAYERNORM ? sums[2 * k] / (float)a.dim : 0.0f;
            const float slope = sums[2 * k + 1] / (float)a.dim;
            float d[VECTOR];
            unpack<T, VECTOR>(now[k].residual, d);
#pragma unroll
            for (int i = 0; i < VECTOR; i++)
                d[i] += now[k].rstd * (g[k][i] - average - n[k][i] * slope);
            if (here && row + k < end) {
                elements_store<T, VECTOR>((T *)a.dx + (row + k) * a.dim + c, d);
#pragma unroll
                for (int i = 0; i < VECTOR; i++)
                    sum_dx[i] += d[i];
            }
            now[k] = next[k];
        }
    }
    if (!here)
        return;
    float *to = partial + piece * (TWO ? 5 : 3) * a.dim + c;
#pragma unroll
    for (int k = 0; k < (TWO ? 2 : 1); k++) {
        elements_store<float, VECTOR>(to + (2 * k) * a.dim, sum_w[k]);
        elements_store<float, VECTOR>(to + (2 * k + 1) * a.dim, sum_b[k]);
    }
    elements_store<float, VECTOR>(to + (TWO ? 4 : 2) * a.dim, sum_dx);
}

/* The same sums, element by element: a thread has one column and each COLUMN_ROWS-th row of the piece. DX: those of dx
 * alone, which is there by then; else all others. */
template <class T, bool DX>
static __global__ void __launch_bounds__(WARP *COLUMN_ROWS)
    backward_columns(const norm_backward_args a, int64_t piece_rows, float *partial)
{
    __shared__ float slots[4][COLUMN_ROWS][WARP];
    const int64_t j = (int64_t)blockIdx.y * WARP + threadIdx.x, piece = blockIdx.x;
    const int64_t begin = piece * piece_rows, end = begin + piece_rows < a.rows ? begin + piece_rows : a.rows;
    float sums[4] = {0, 0, 0, 0};
    if (j < a.dim) {
        for (int64_t row = begin + threadIdx.y; row < end; row += COLUMN_ROWS) {
            if (DX) {
                sums[0] += element_load(((const T *)a.dx)[row * a.dim + j]);
                continue;
            }
            float mean = a.kind == NORM_LAYERNORM ? ((const float *)a.mean)[row] : 0.0f;
            float n = (element_load(((const T *)a.sum)[row * a.dim + j]) - mean) * ((const float *)a.rstd)[row];
            for (int k = 0; k < 2 && a.dy[k]; k++) {
                float d = element_load(((const T *)a.dy[k])[row * a.dim + j]);
                sums[2 * k] += d * n;
                sums[2 * k + 1] += d;
            }
        }
    }
    for (int k = 0; k < 4; k++)
        slots[k][threadIdx.y][threadIdx.x] = sums[k];
    __syncthreads();
    const int others = a.dy[1] ? 4 : 2;
    for (int k = threadIdx.y; k < (DX ? 1 : others) && j < a.dim; k += COLUMN_ROWS) {
        float total = 0;
        for (int y = 0; y < COLUMN_ROWS; y++)
            total += slots[k][y][threadIdx.x];
        partial[(piece * (others + 1) + (DX ? others : k)) * a.dim + j] = total;
    }
}

template <class T>
static __device__ __forceinline__ float gradient_at(const norm_backward_args &a, int64_t first, int64_t j)
{
    float g = element_load(((const T *)a.dy[0])[first + j]) * element_load(((const T *)a.weight[0])[j]);
    if (a.dy[1])
        g += element_load(((const T *)a.dy[1])[first + j]) * element_load(((const T *)a.weight[1])[j]);
    return g;
}

/* dx of any row, a block each. */
template <class T>
static __global__ void __launch_bounds__(ELEMENT_THREADS) backward_elements(const norm_backward_args a)
{
    __shared__ float slots[2][ELEMENT_THREADS / WARP];
    const int64_t row = blockIdx.x, first = row * a.dim;
    const float mean = a.kind == NORM_LAYERNORM ? ((const float *)a.mean)[row] : 0.0f;
    const float rstd = ((const float *)a.rstd)[row];
    float sum_g = 0, sum_gn = 0;
    for (int64_t j = threadIdx.x; j < a.dim; j += ELEMENT_THREADS) {
        float n = (element_load(((const T *)a.sum)[first + j]) - mean) * rstd, g = gradient_at<T>(a, first, j);
        sum_g += g;
        sum_gn += g * n;
    }
    float average = block_sum(sum_g, slots[0]) / (float)a.dim;
    const float slope = block_sum(sum_gn, slots[1]) / (float)a.dim;
    if (a.kind == NORM_RMSNORM)
        average = 0;
    for (int64_t j = threadIdx.x; j < a.dim; j += ELEMENT_THREADS) {
        float n = (element_load(((const T *)a.sum)[first + j]) - mean) * rstd;
        float d = rstd * (gradient_at<T>(a, first, j) - average - n * slope);
        if (a.d_residual)
            d += element_load(((const T *)a.d_residual)[first + j]);
        element_store((T *)a.dx + first + j, d);
    }
}

/* Where the sums go; NULL: nowhere. */
struct gradients {
    float *to[4], *dx[2];
};

/* to[kind][j] += the pieces' sums, the last kind being dx's: 32 threads a column take each 32nd piece, then their sums
 * are added in order. */
static __global__ void __launch_bounds__(WARP *WARP)
    add_pieces(const float *partial, int64_t pieces, int64_t dim, int kinds, const gradients g)
{
    __shared__ float slots[WARP][WARP];
    const int64_t width = dim * kinds, column = (int64_t)blockIdx.x * WARP + threadIdx.x;
    float sum = 0;
    if (column < width) {
#pragma unroll 8
        for (int64_t piece = threadIdx.y; piece < pieces; piece += WARP)
            sum += partial[piece * width + column];
    }
    slots[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || column >= width)
        return;
    float total = 0;
    for (int y = 0; y < WARP; y++)
        total += slots[y][threadIdx.x];
    const int kind = (int)(column / dim);
    const bool dx = kind == kinds - 1;
    float *to = dx ? g.dx[0] : kind == 0 ? g.to[0] : kind == 1 ? g.to[1] : kind == 2 ? g.to[2] : g.to[3];
    if (to)
        to[column % dim] += total;
    if (dx && g.dx[1])
        g.dx[1][column % dim] += total;
}

/* How backward cuts the rows. */
struct cut {
    bool vectors;
    int row_warps, block_warps;
    int64_t piece_rows, pieces; /* pieces: also those of the last block that have no rows */
};

static struct cut cut_rows(int64_t rows, int64_t dim, bool vectors, int multiprocessors)
{
    struct cut c;
    c.vectors = vectors && dim <= ROW_WARPS * WARP_COLUMNS;
    c.row_warps = (int)pieces_of(dim, WARP_COLUMNS);
    c.block_warps = 1;
    int64_t most;
    if (c.vectors) {
        c.block_warps = c.row_warps == 1 ? ROW_WARPS_NARROW : c.row_warps;
        const bool narrow = c.block_warps <= ROW_WARPS_NARROW;
        most = (int64_t)((narrow ? RESIDENT_WARPS_NARROW : RESIDENT_WARPS) / c.row_warps) * multiprocessors;
    } else {
        most = COLUMN_PARTIALS / dim < 256 ? COLUMN_PARTIALS / dim : 256;
    }
    most = most < 1 ? 1 : most;
    c.piece_rows = pieces_of(rows, most);
    c.piece_rows = c.piece_rows < PIECE_ROWS_LEAST ? PIECE_ROWS_LEAST : c.piece_rows;
    c.pieces = pieces_of(rows, c.piece_rows);
    if (c.vectors && c.row_warps == 1)
        c.pieces = pieces_of(c.pieces, c.block_warps) * c.block_warps;
    return c;
}

extern "C" size_t cuda_norm_backward_bytes(int64_t rows, int64_t dim, int outputs, int multiprocessors)
{
    if (rows == 0)
        return 0;
    struct cut fast = cut_rows(rows, dim, dim % VECTOR == 0, multiprocessors);
    struct cut slow = cut_rows(rows, dim, false, multiprocessors);
    return (size_t)((fast.pieces > slow.pieces ? fast.pieces : slow.pieces) * (2 * outputs + 1) * dim) * sizeof(float);
}

template <class T, bool TWO>
static void backward_launch(cudaStream_t stream, const struct norm_backward_args *a, const struct cut *c,
                            float *partial)
{
    const unsigned threads = (unsigned)c->block_warps * WARP;
    const unsigned blocks = (unsigned)(c->row_warps == 1 ? c->pieces / c->block_warps : c->pieces);
    enum { NARROW = ROW_WARPS_NARROW * WARP, WIDE = ROW_WARPS * WARP, ROWS = sizeof(T) == 2 ? 2 : 1 };
    if (threads <= NARROW)
        backward_rows<T, TWO, ROWS, NARROW><<<blocks, threads, 0, stream>>>(*a, c->row_warps, c->piece_rows, partial);
    else
        backward_rows<T, TWO, 1, WIDE><<<blocks, threads, 0, stream>>>(*a, c->row_warps, c->piece_rows, partial);
}

template <class T> static void backward(struct backend *b, const struct norm_backward_args *a)
{
    cudaStream_t stream = cuda_stream(b);
    const bool vectors =
        vectors_fit(a->dim, {a->sum, a->weight[0], a->weight[1], a->dy[0], a->dy[1], a->d_residual, a->dx});
    const struct cut c = cut_rows(a->rows, a->dim, vectors, cuda_multiprocessors(b));
    const int kinds = a->dy[1] ? 5 : 3;
    float *partial = (float *)cuda_workspace(b, (size_t)(c.pieces * kinds * a->dim) * sizeof *partial);
    if (!partial)
        return;
    if (c.vectors && a->dy[1]) {
        backward_launch<T, true>(stream, a, &c, partial);
    } else if (c.vectors) {
        backward_launch<T, false>(stream, a, &c, partial);
    } else {
        /* The sums first: they read what dx may overwrite. */
        const dim3 grid((unsigned)c.pieces, (unsigned)pieces_of(a->dim, WARP)), block(WARP, COLUMN_ROWS);
        backward_columns<T, false><<<grid, block, 0, stream>>>(*a, c.piece_rows, partial);
        backward_elements<T><<<(unsigned)a->rows, ELEMENT_THREADS, 0, stream>>>(*a);
        backward_columns<T, true><<<grid, block, 0, stream>>>(*a, c.piece_rows, partial);
    }
    struct gradients g;
    for (int k = 0; k < 2; k++) {
        g.dx[k] = (float *)a->d_add_bias[k];
        g.to[2 * k] = a->dy[k] ? (float *)a->d_weight[k] : NULL;
        g.to[2 * k + 1] = a->dy[k] ? (float *)a->d_bias[k] : NULL;
    }
    add_pieces<<<(unsigned)pieces_of(kinds * a->dim, WARP), dim3(WARP, WARP), 0, stream>>>(partial, c.pieces, a->dim,
                                                                                           kinds, g);
}

extern "C" void cuda_norm_backward(struct backend *b, const struct norm_backward_args *a)
{
    if (cuda_failed(b) || a->rows == 0)
        return;
    if (cuda_is_bf16(b))
        backward<__nv_bfloat16>(b, a);
    else
        backward<float>(b, a);
    cuda_check(b, "norm_backward");
}
