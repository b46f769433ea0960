/* embed.cu: rows of the table by token, and their gradient.
 *
 * Backward sorts the rows by token, rows of one token staying in their order, and cuts the sorted list into pieces. A
 * block adds up the runs of equal tokens in its piece; a run that lies wholly in one piece goes to the table at once,
 * the parts of others go to scratch, from where a second kernel adds them in the order of pieces. So a token that fills
 * the whole batch costs no more than many rare ones, no two blocks write one row of the table, and every sum has one
 * order. A token outside the vocabulary traps: the launch fails, and that becomes the sticky error.
 */
#include "kernels/cuda/operators.h"

#include <cub/device/device_radix_sort.cuh>
#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/vector.cuh"

enum {
    GATHER_THREADS = 256,
    SEGMENT_THREADS = 256, /* most */
    JOIN_WARPS = 8,
    JOIN_COLUMNS = 4, /* columns a thread, WARP apart */
    SORT_SLACK = 1 << 20,
};
static const int64_t PARTIAL_BYTES = 8 << 20, PIECE_LEAST = 16;

static int64_t aligned(int64_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* A warp copies a row. */
template <class T, int N> static __global__ void __launch_bounds__(GATHER_THREADS) gather(const embed_args a)
{
    const int64_t row = (int64_t)blockIdx.x * (GATHER_THREADS / WARP) + threadIdx.x / WARP;
    if (row >= a.rows)
        return;
    const int64_t token = a.tokens[row];
    if (token < 0 || token >= a.vocab)
        __trap();
    const T *from = (const T *)a.table + token * a.dim;
    T *to = (T *)a.out + row * a.dim;
#pragma unroll 4
    for (int64_t c = (threadIdx.x % WARP) * N; c < a.dim; c += WARP * N) {
        packed<T, N> v;
        packed_load<T, N>(&v, from + c);
        packed_store<T, N>(to + c, v);
    }
}

template <class T> static void forward(cudaStream_t stream, const struct embed_args *a)
{
    const unsigned blocks = (unsigned)pieces_of(a->rows, GATHER_THREADS / WARP);
    if (vectors_fit(a->dim, {a->table, a->out}))
        gather<T, VECTOR><<<blocks, GATHER_THREADS, 0, stream>>>(*a);
    else
        gather<T, 1><<<blocks, GATHER_THREADS, 0, stream>>>(*a);
}

extern "C" void cuda_embed_forward(struct backend *b, const struct embed_args *a)
{
    if (cuda_failed(b) || a->rows == 0)
        return;
    if (cuda_is_bf16(b))
        forward<__nv_bfloat16>(cuda_stream(b), a);
    else
        forward<float>(cuda_stream(b), a);
    cuda_check(b, "embed_forward");
}

/* What backward keeps in the workspace. */
struct scratch {
    int64_t piece, pieces;                                        /* sorted positions a piece */
    int64_t stride;                                               /* of a partial row */
    size_t keys, rows_in, rows, partial, sort, sort_bytes, bytes; /* offsets, and sizes */
};

static struct scratch scratch_layout(int64_t rows, int64_t dim, size_t sort_bytes)
{
    struct scratch s;
    s.stride = pieces_of(dim, VECTOR) * VECTOR;
    const int64_t row_bytes = s.stride * (int64_t)sizeof(float);
    for (s.piece = PIECE_LEAST; s.piece < rows && pieces_of(rows, s.piece) * 2 * row_bytes > PARTIAL_BYTES;)
        s.piece *= 2;
    s.pieces = pieces_of(rows, s.piece);
    const size_t list = (size_t)aligned(rows * 4);
    s.keys = 0;
    s.rows_in = list;
    s.rows = 2 * list;
    s.partial = 3 * list;
    s.sort = s.partial + (size_t)aligned(s.pieces * 2 * row_bytes);
    s.sort_bytes = sort_bytes;
    s.bytes = s.sort + sort_bytes;
    return s;
}

/* The library's sort keeps a second copy of keys and rows (8 bytes a row) and a count for each of 256 digits and each
 * of its tiles, which hold more than 256 rows. */
extern "C" size_t cuda_embed_backward_bytes(int64_t rows, int64_t dim)
{
    return scratch_layout(rows, dim, (size_t)aligned(rows * 16) + SORT_SLACK).bytes;
}

static __global__ void __launch_bounds__(GATHER_THREADS)
    number_rows(const int32_t *tokens, int64_t n, int64_t vocab, int32_t *rows)
{
    const int64_t i = (int64_t)blockIdx.x * GATHER_THREADS + threadIdx.x;
    if (i >= n)
        return;
    if (tokens[i] < 0 || tokens[i] >= vocab)
        __trap();
    rows[i] = (int32_t)i;
}

/* Starts to bring a row of the table into the second-level cache: additions to it wait for each other. */
static __device__ __forceinline__ void fetch_early(const float *p)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

/* A block adds N columns a thread over the sorted positions of one piece, some rows in flight at a time. The first run
 * goes to partial[piece][0] when it began in an earlier piece, the last to partial[piece][1] when it began here and
 * goes on in the next. */
template <class T, int N>
static __global__ void __launch_bounds__(SEGMENT_THREADS)
    add_segments(const embed_args a, const uint32_t *keys, const int32_t *rows, int64_t piece_length, int64_t stride,
                 float *partial)
{
    enum { AHEAD = N == 1 ? 8 : 16 / sizeof(T) };
    const int64_t c = ((int64_t)blockIdx.y * blockDim.x + threadIdx.x) * N;
    if (c >= a.dim)
        return;
    const int64_t piece = blockIdx.x, begin = piece * piece_length;
    const int64_t end = begin + piece_length < a.rows ? begin + piece_length : a.rows;
    const T *d_out = (const T *)a.d_out + c;
    float *d_table = (float *)a.d_table + c;
    bool from_before = begin > 0 && keys[begin - 1] == keys[begin];
    float sum[N];
#pragma unroll
    for (int i = 0; i < N; i++)
        sum[i] = 0;
    for (int64_t at = begin; at < end; at += AHEAD) {
        packed<T, N> ahead[AHEAD];
        uint32_t token[AHEAD + 1];
        token[0] = keys[at];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            if (at + k >= end)
                break;
            packed_load<T, N>(&ahead[k], d_out + (int64_t)rows[at + k] * a.dim);
            /* No key is all ones. */
            token[k + 1] = at + k + 1 < a.rows ? keys[at + k + 1] : UINT32_MAX;
            if (token[k + 1] != token[k])
                fetch_early(d_table + (int64_t)token[k] * a.dim);
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            if (at + k >= end)
                break;
            float x[N];
            unpack<T, N>(ahead[k], x);
#pragma unroll
            for (int i = 0; i < N; i++)
                sum[i] += x[i];
            const bool goes_on = token[k + 1] == token[k];
            if (goes_on && at + k + 1 < end)
                continue;
            if (from_before || goes_on) {
                elements_store<float, N>(partial + (2 * piece + (from_before ? 0 : 1)) * stride + c, sum);
            } else {
                float *to = d_table + (int64_t)token[k] * a.dim, t[N];
                elements_load<float, N>(to, t);
#pragma unroll
                for (int i = 0; i < N; i++)
                    t[i] += sum[i];
                elements_store<float, N>(to, t);
            }
            from_before = false;
#pragma unroll
            for (int i = 0; i < N; i++)
                sum[i] = 0;
        }
    }
}

/* Where a run begins in this piece and goes on in the next: its parts, from here to the last piece that it reaches,
 * each JOIN_WARPS-th by one warp, then the warps' sums in order. */
static __global__ void __launch_bounds__(WARP *JOIN_WARPS)
    join_segments(const embed_args a, const uint32_t *keys, int64_t piece_length, int64_t pieces, int64_t stride,
                  const float *partial)
{
    __shared__ float slots[JOIN_WARPS][JOIN_COLUMNS][WARP];
    const int64_t piece = blockIdx.x, begin = piece * piece_length, next = begin + piece_length;
    if (next >= a.rows)
        return;
    const uint32_t token = keys[next];
    if (keys[next - 1] != token)
        return;
    if (begin > 0 && keys[begin - 1] == token) /* began before: keys are sorted, so the whole piece is this token */
        return;
    int64_t low = piece + 1, high = pieces - 1; /* the last piece that begins with the token lies within */
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (keys[middle * piece_length] == token)
            low = middle;
        else
            high = middle - 1;
    }
    const int64_t c = (int64_t)blockIdx.y * (WARP * JOIN_COLUMNS) + threadIdx.x;
    float sum[JOIN_COLUMNS];
#pragma unroll
    for (int k = 0; k < JOIN_COLUMNS; k++)
        sum[k] = 0;
#pragma unroll 4
    for (int64_t p = piece + threadIdx.y; p <= low; p += JOIN_WARPS) {
        const float *part = partial + (2 * p + (p == piece ? 1 : 0)) * stride;
#pragma unroll
        for (int k = 0; k < JOIN_COLUMNS; k++)
            if (c + k * WARP < a.dim)
                sum[k] += part[c + k * WARP];
    }
#pragma unroll
    for (int k = 0; k < JOIN_COLUMNS; k++)
        slots[threadIdx.y][k][threadIdx.x] = sum[k];
    __syncthreads();
    if (threadIdx.y >= JOIN_COLUMNS || c + threadIdx.y * WARP >= a.dim)
        return;
    float total = 0;
    for (int w = 0; w < JOIN_WARPS; w++)
        total += slots[w][threadIdx.y][threadIdx.x];
    ((float *)a.d_table)[(int64_t)token * a.dim + c + threadIdx.y * WARP] += total;
}

template <class T, int N>
static void segments_launch(cudaStream_t stream, const struct embed_args *a, const struct scratch *s,
                            const uint32_t *keys, const int32_t *rows, float *partial)
{
    const int64_t columns = pieces_of(a->dim, N), warps = pieces_of(columns, WARP);
    const unsigned threads = warps * WARP < SEGMENT_THREADS ? (unsigned)(warps * WARP) : (unsigned)SEGMENT_THREADS;
    const dim3 grid((unsigned)s->pieces, (unsigned)pieces_of(columns, threads));
    add_segments<T, N><<<grid, threads, 0, stream>>>(*a, keys, rows, s->piece, s->stride, partial);
}

template <class T>
static void segments(cudaStream_t stream, const struct embed_args *a, const struct scratch *s, const uint32_t *keys,
                     const int32_t *rows, float *partial)
{
    if (vectors_fit(a->dim, {a->d_out, a->d_table}))
        segments_launch<T, VECTOR>(stream, a, s, keys, rows, partial);
    else
        segments_launch<T, 1>(stream, a, s, keys, rows, partial);
}

/* Tokens are not negative, so they sort as unsigned numbers by the bits that the vocabulary has. */
static cudaError_t sort_rows(void *scratch, size_t *bytes, const struct embed_args *a, uint32_t *keys,
                             const int32_t *rows_in, int32_t *rows, cudaStream_t stream)
{
    int bits = 1;
    while (bits < 31 && (int64_t)1 << bits < a->vocab)
        bits++;
    return cub::DeviceRadixSort::SortPairs(scratch, *bytes, reinterpret_cast<const uint32_t *>(a->tokens), keys,
                                           rows_in, rows, (int)a->rows, 0, bits, stream);
}

extern "C" void cuda_embed_backward(struct backend *b, const struct embed_args *a)
{
    if (cuda_failed(b) || a->rows == 0)
        return;
    if (a->rows > INT32_MAX) {
        cuda_fail(b, ERR_TOO_LARGE, "embed_backward", "more than 2147483647 rows");
        return;
    }
    cudaStream_t stream = cuda_stream(b);
    size_t sort_bytes = 0;
    cudaError_t status = sort_rows(NULL, &sort_bytes, a, NULL, NULL, NULL, stream);
    if (status != cudaSuccess) {
        cuda_fail(b, ERR_INTERNAL, "embed_backward", cudaGetErrorString(status));
        return;
    }
    const struct scratch s = scratch_layout(a->rows, a->dim, sort_bytes);
    char *base = (char *)cuda_workspace(b, s.bytes);
    if (!base)
        return;
    uint32_t *keys = (uint32_t *)(base + s.keys);
    int32_t *rows_in = (int32_t *)(base + s.rows_in), *rows = (int32_t *)(base + s.rows);
    float *partial = (float *)(base + s.partial);
    number_rows<<<(unsigned)pieces_of(a->rows, GATHER_THREADS), GATHER_THREADS, 0, stream>>>(a->tokens, a->rows,
                                                                                             a->vocab, rows_in);
    status = sort_rows(base + s.sort, &sort_bytes, a, keys, rows_in, rows, stream);
    if (status != cudaSuccess) {
        cuda_fail(b, ERR_INTERNAL, "embed_backward", cudaGetErrorString(status));
        return;
    }
    if (cuda_is_bf16(b))
        segments<__nv_bfloat16>(stream, a, &s, keys, rows, partial);
    else
        segments<float>(stream, a, &s, keys, rows, partial);
    if (s.pieces > 1)
        join_segments<<<dim3((unsigned)s.pieces, (unsigned)pieces_of(a->dim, WARP * JOIN_COLUMNS)),
                        dim3(WARP, JOIN_WARPS), 0, stream>>>(*a, keys, s.piece, s.pieces, s.stride, partial);
    cuda_check(b, "embed_backward");
}
