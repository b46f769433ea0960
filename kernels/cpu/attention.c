/* attention.c: rotary embedding and causal softmax attention, forward and backward, in tiles of 64 queries x 64 keys.
 *
 * One head of one sequence is one piece of work, so nothing is summed across threads. Scores are held transposed
 * [key][query]: the softmax then runs down the rows, all queries of a tile at once in vector lanes, and both products
 * with the scores take them as they lie. Forward keeps running maxima and sums (Dao et al. 2022, algorithm 1), backward
 * recomputes the probabilities from lse. Tiles above the diagonal or wholly before `first` are skipped, in a diagonal
 * tile also the part above it; what is masked inside a computed part has probability 0. The first tile of keys is short
 * where a memory's length is no multiple of a tile, so that the diagonal lies in tiles. Scratch a thread is about
 * 10 tiles of 64 x head_dim, whatever the length.
 */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>
#include "kernels/cpu/rotary.h"
#include "kernels/cpu/tile.h"
#include "kernels/cpu/vmath.h"

enum { TILE = 64 };

/* A thread's tiles. Those named _t are [head_dim][TILE], scores [TILE keys][TILE queries], the others
 * [TILE][padded head_dim]. Queries come multiplied by the softmax scale. */
struct tiles {
    real *q, *q_t, *k, *v, *d_out, *d_out_t, *result, *d_query, *p, *dp;
    real row_max[TILE], row_sum[TILE], factor[TILE], lse[TILE], delta[TILE];
    int32_t first[TILE];
};

struct head {
    const struct attention_args *a;
    const real *angles;
    int64_t dim, padded;
    int64_t stride, kv_stride; /* elements between positions of qkv; of keys and of values */
    int64_t sequence, index;   /* which sequence, which head */
    real *q, *k, *v;           /* of the row's first query, and of key 0 */
};

static size_t tiles_bytes(int64_t padded)
{
    return (size_t)round_up((int64_t)sizeof(struct tiles), 256) +
           (size_t)(8 * TILE * padded + 2 * TILE * TILE) * sizeof(real);
}

static struct tiles *tiles_at(unsigned char *memory, int64_t padded)
{
    struct tiles *t = (struct tiles *)(void *)memory;
    real *next = (real *)(void *)(memory + round_up((int64_t)sizeof *t, 256));
    real **const tile[] = {&t->q, &t->q_t, &t->k, &t->v, &t->d_out, &t->d_out_t, &t->result, &t->d_query};
    for (size_t i = 0; i < sizeof tile / sizeof *tile; i++, next += TILE * padded)
        *tile[i] = next;
    t->p = next;
    t->dp = next + TILE * TILE;
    return t;
}

/* The tail of a tile and the padding of each row are zero, so that products need no bounds. */
static void pack(real *to, const struct head *h, const real *from, int64_t stride, int64_t rows, real factor)
{
    for (int64_t i = 0; i < rows; i++) {
#pragma omp simd
        for (int64_t j = 0; j < h->dim; j++)
            to[i * h->padded + j] = from[i * stride + j] * factor;
        for (int64_t j = h->dim; j < h->padded; j++)
            to[i * h->padded + j] = 0;
    }
    if (rows < TILE)
        memset(to + rows * h->padded, 0, (size_t)((TILE - rows) * h->padded) * sizeof(real));
}

static void transpose(real *to, const real *from, int64_t padded)
{
    for (int64_t i0 = 0; i0 < TILE; i0 += 16)
        for (int64_t j = 0; j < padded; j++)
            for (int64_t i = i0; i < i0 + 16; i++)
                to[j * TILE + i] = from[i * padded + j];
}

/* First column that row block `block` of a tile of scores needs. */
static int64_t first_column(int64_t block, bool diagonal)
{
    return diagonal ? block / VECTOR * VECTOR : 0;
}

/* scores[key][query] = rows x columns_t. */
static void score_tile(real *scores, const real *rows, const real *columns_t, int64_t padded, bool diagonal)
{
    for (int64_t i = 0; i < TILE; i += TILE_ROWS) {
        int64_t j = first_column(i, diagonal);
        tile_rows(TILE - j, padded, rows + i * padded, padded, 1, columns_t + j, TILE, scores + i * TILE + j, TILE,
                  false);
    }
}

/* Loads the queries' first visible keys; returns the least of them, *greatest the greatest. */
static int64_t load_first(struct tiles *t, const struct head *h, int64_t q0, int64_t rows, int64_t *greatest)
{
    const int32_t *first = h->a->first ? h->a->first + h->sequence * h->a->seq + q0 : NULL;
    int64_t low = first ? INT64_MAX : 0;
    *greatest = 0;
    for (int64_t i = 0; i < TILE; i++) {
        t->first[i] = first && i < rows ? first[i] : 0;
        if (first && i < rows) {
            low = least(low, first[i]);
            *greatest = first[i] > *greatest ? first[i] : *greatest;
        }
    }
    return low;
}

/* A tile of keys [k0, k0 + keys), and how the queries of a tile see it. */
struct key_tile {
    int64_t k0, keys;
    bool diagonal, masked; /* masked: some key is invisible to some query */
};

/* Tiles of keys begin where those of the row do, the short one before them at 0. */
static int64_t tile_start(const struct attention_args *a, int64_t key)
{
    int64_t head = a->memory % TILE;
    return key < head ? 0 : head + (key - head) / TILE * TILE;
}

static struct key_tile key_tile_at(const struct attention_args *a, int64_t k0, int64_t q0, int64_t greatest_first)
{
    int64_t head = a->memory % TILE, next = k0 < head ? head : k0 + TILE;
    struct key_tile tile = {.k0 = k0, .keys = least(next, a->memory + a->seq) - k0, .diagonal = k0 == a->memory + q0};
    tile.masked = tile.diagonal || greatest_first > k0 || tile.keys < TILE;
    return tile;
}

/* q0: the position of the tile's first query. */
static void mask_tile(const struct tiles *t, int64_t q0, const struct key_tile *tile)
{
    for (int64_t i = 0; i < TILE; i++) {
        int32_t key = i < tile->keys ? (int32_t)(tile->k0 + i) : INT32_MAX, query0 = (int32_t)q0;
        bool diagonal = tile->diagonal;
        int64_t j0 = first_column(i / TILE_ROWS * TILE_ROWS, diagonal);
        real *row = t->p + i * TILE;
#pragma omp simd
        for (int32_t j = (int32_t)j0; j < TILE; j++)
            row[j] = ((query0 + j < key) | (t->first[j] > key)) ? -(real)INFINITY : row[j];
    }
}

/* Scores become probabilities relative to the new running maxima; `fresh`: no tile came before. */
static void softmax_tile(struct tiles *t, bool diagonal, bool fresh)
{
    real top[TILE], sum[TILE];
    for (int j = 0; j < TILE; j++) {
        top[j] = fresh ? (real)-1e30 : t->row_max[j];
        sum[j] = 0;
    }
    for (int64_t i = 0; i < TILE; i++) {
        const real *row = t->p + i * TILE;
#pragma omp simd
        for (int64_t j = first_column(i / TILE_ROWS * TILE_ROWS, diagonal); j < TILE; j++)
            top[j] = row[j] > top[j] ? row[j] : top[j];
    }
    for (int64_t i = 0; i < TILE; i++) {
        real *row = t->p + i * TILE;
#pragma omp simd
        for (int64_t j = first_column(i / TILE_ROWS * TILE_ROWS, diagonal); j < TILE; j++) {
            row[j] = exp_real(row[j] - top[j]);
            sum[j] += row[j];
        }
    }
#pragma omp simd
    for (int j = 0; j < TILE; j++) {
        real keep = fresh ? 0 : exp_real(t->row_max[j] - top[j]);
        t->factor[j] = keep;
        t->row_sum[j] = fresh ? sum[j] : t->row_sum[j] * keep + sum[j];
        t->row_max[j] = top[j];
    }
}

/* Rows of queries against all keys of the tile they can see: to (= or +=) scores^T x rows. */
static void weighted_rows(real *to, const real *scores, const real *rows, int64_t padded, bool diagonal, bool add)
{
    for (int64_t i = 0; i < TILE; i += TILE_ROWS)
        tile_rows(padded, diagonal ? i + TILE_ROWS : TILE, scores + i, 1, TILE, rows, padded, to + i * padded, padded,
                  add);
}

static void forward_queries(struct tiles *t, const struct head *h, int64_t q0)
{
    const struct attention_args *a = h->a;
    int64_t rows = least(TILE, a->seq - q0), greatest, low = load_first(t, h, q0, rows, &greatest);
    pack(t->q, h, h->q + q0 * h->stride, h->stride, rows, (real)a->scale);
    transpose(t->q_t, t->q, h->padded);
    bool fresh = true;
    for (int64_t k0 = tile_start(a, low), keys; k0 <= a->memory + q0; k0 += keys) {
        struct key_tile tile = key_tile_at(a, k0, q0, greatest);
        bool diagonal = tile.diagonal;
        keys = tile.keys;
        pack(t->k, h, h->k + k0 * h->kv_stride, h->kv_stride, keys, 1);
        pack(t->v, h, h->v + k0 * h->kv_stride, h->kv_stride, keys, 1);
        score_tile(t->p, t->k, t->q_t, h->padded, diagonal);
        if (tile.masked)
            mask_tile(t, a->memory + q0, &tile);
        softmax_tile(t, diagonal, fresh);
        if (!fresh)
            for (int64_t i = 0; i < TILE; i++)
#pragma omp simd
                for (int64_t j = 0; j < h->padded; j++)
                    t->result[i * h->padded + j] *= t->factor[i];
        weighted_rows(t->result, t->p, t->v, h->padded, diagonal, !fresh);
        fresh = false;
    }
    real *out = (real *)a->out + (h->sequence * a->seq + q0) * a->heads * h->dim + h->index * h->dim;
    real *lse = (real *)a->lse + (h->sequence * a->heads + h->index) * a->seq + q0;
    for (int64_t i = 0; i < rows; i++) {
        real inverse = 1 / t->row_sum[i];
#pragma omp simd
        for (int64_t j = 0; j < h->dim; j++)
            out[i * a->heads * h->dim + j] = t->result[i * h->padded + j] * inverse;
        lse[i] = t->row_max[i] + (real)log((double)t->row_sum[i]);
    }
}

/* p = exp(score - lse), dp becomes the scores' gradient p (dp - delta). */
static void gradient_tile(struct tiles *t, bool diagonal)
{
    for (int64_t i = 0; i < TILE; i++) {
        real *p = t->p + i * TILE, *dp = t->dp + i * TILE;
#pragma omp simd
        for (int64_t j = first_column(i / TILE_ROWS * TILE_ROWS, diagonal); j < TILE; j++) {
            p[j] = exp_real(p[j] - t->lse[j]);
            dp[j] = p[j] * (dp[j] - t->delta[j]);
        }
    }
}

/* Rows of keys: to (= or +=) scores x rows, each from the first query that sees it. The sum goes through t->result
 * because rows of d_qkv are not padded. */
static void add_key_gradient(struct tiles *t, const struct head *h, real *to, int64_t keys, const real *scores,
                             const real *rows, bool diagonal)
{
    for (int64_t i = 0; i < TILE; i += TILE_ROWS) {
        int64_t from = diagonal ? i : 0;
        tile_rows(h->padded, TILE - from, scores + i * TILE + from, TILE, 1, rows + from * h->padded, h->padded,
                  t->result + i * h->padded, h->padded, false);
    }
    for (int64_t i = 0; i < keys; i++) {
        real *row = to + i * h->stride;
        const real *sum = t->result + i * h->padded;
        if (diagonal) {
            memcpy(row, sum, (size_t)h->dim * sizeof(real));
            continue;
        }
#pragma omp simd
        for (int64_t j = 0; j < h->dim; j++)
            row[j] += sum[j];
    }
}

/* A key's gradient is written by its diagonal tile, the first one that sees it, and added to by later queries. */
static void backward_queries(struct tiles *t, const struct head *h, int64_t q0, real *dq, real *dk, real *dv)
{
    const struct attention_args *a = h->a;
    int64_t rows = least(TILE, a->seq - q0), greatest, low = load_first(t, h, q0, rows, &greatest);
    int64_t width = a->heads * h->dim, at = (h->sequence * a->seq + q0) * width + h->index * h->dim;
    const real *out = (const real *)a->out + at, *d_out = (const real *)a->d_out + at;
    const real *lse = (const real *)a->lse + (h->sequence * a->heads + h->index) * a->seq + q0;
    pack(t->q, h, h->q + q0 * h->stride, h->stride, rows, (real)a->scale);
    pack(t->d_out, h, d_out, width, rows, 1);
    transpose(t->q_t, t->q, h->padded);
    transpose(t->d_out_t, t->d_out, h->padded);
    for (int64_t i = 0; i < TILE; i++) {
        t->delta[i] = i < rows ? row_dot(out + i * width, d_out + i * width, h->dim) : 0;
        t->lse[i] = i < rows ? lse[i] : 0;
    }
    bool fresh = true;
    for (int64_t k0 = tile_start(a, low), keys; k0 <= a->memory + q0; k0 += keys) {
        struct key_tile tile = key_tile_at(a, k0, q0, greatest);
        bool diagonal = tile.diagonal;
        keys = tile.keys;
        pack(t->k, h, h->k + k0 * h->kv_stride, h->kv_stride, keys, 1);
        pack(t->v, h, h->v + k0 * h->kv_stride, h->kv_stride, keys, 1);
        score_tile(t->p, t->k, t->q_t, h->padded, diagonal);
        if (tile.masked)
            mask_tile(t, a->memory + q0, &tile);
        score_tile(t->dp, t->v, t->d_out_t, h->padded, diagonal);
        gradient_tile(t, diagonal);
        weighted_rows(t->d_query, t->dp, t->k, h->padded, diagonal, !fresh);
        if (k0 >= a->memory) {
            add_key_gradient(t, h, dv + (k0 - a->memory) * h->stride, keys, t->p, t->d_out, diagonal);
            add_key_gradient(t, h, dk + (k0 - a->memory) * h->stride, keys, t->dp, t->q, diagonal);
        }
        fresh = false;
    }
    for (int64_t i = 0; i < rows; i++)
#pragma omp simd
        for (int64_t j = 0; j < h->dim; j++)
            dq[(q0 + i) * h->stride + j] = t->d_query[i * h->padded + j] * (real)a->scale;
}

static struct head head_at(const struct attention_args *a, const real *angles, int64_t piece)
{
    struct head h = {.a = a, .angles = angles, .dim = a->head_dim, .padded = round_up(a->head_dim, VECTOR)};
    int64_t width = a->heads * a->head_dim;
    h.stride = 3 * width;
    h.sequence = piece / a->heads;
    h.index = piece % a->heads;
    h.q = (real *)a->qkv + h.sequence * a->seq * h.stride + h.index * h.dim;
    h.kv_stride = a->memory ? 2 * width : h.stride;
    h.k = a->memory ? (real *)a->kv + h.sequence * (a->memory + a->seq) * h.kv_stride + h.index * h.dim : h.q + width;
    h.v = h.k + width;
    return h;
}

/* Queries and keys of a row, from its first position on. */
static void turn(const struct head *h, real *q, real *k, int64_t k_stride, real sign)
{
    int64_t dims = h->a->rotary_dims;
    for (int64_t i = 0; dims && i < h->a->seq; i++) {
        const real *angles = h->angles + (h->a->memory + i) * dims;
        rotary_turn(q + i * h->stride, dims / 2, angles, sign);
        rotary_turn(k + i * k_stride, dims / 2, angles, sign);
    }
}

/* Keys and values of the memory, rotated, and the row's, not yet. */
static void gather_keys(const struct head *h)
{
    const struct attention_args *a = h->a;
    int64_t width = a->heads * h->dim;
    size_t bytes = (size_t)h->dim * sizeof(real);
    const real *past = (const real *)a->past + h->sequence * a->memory * h->kv_stride + h->index * h->dim;
    for (int64_t j = 0; j < a->memory + a->seq; j++) {
        const real *k = j < a->memory ? past + j * h->kv_stride : h->q + (j - a->memory) * h->stride + width;
        real *to = h->k + j * h->kv_stride;
        memcpy(to, k, bytes);
        memcpy(to + width, k + width, bytes);
        if (j < a->memory && a->rotary_dims)
            rotary_turn(to, a->rotary_dims / 2, h->angles + j * a->rotary_dims, 1);
    }
}

/* Checks the shape and finds angles and scratch; NULL after a sticky error. */
static unsigned char *prepare(struct cpu_backend *c, const struct attention_args *a, const real **angles, int *team)
{
    if (a->head_dim > ATTENTION_MAX_HEAD_DIM) {
        cpu_fail(c, ERR_TOO_LARGE, "head_dim %lld is over %d", (long long)a->head_dim, ATTENTION_MAX_HEAD_DIM);
        return NULL;
    }
    *angles = a->rotary_dims ? SYM(rotary_table)(c, a->memory + a->seq, a->rotary_dims, a->rotary_base) : NULL;
    return cpu_scratch_slots(c, (size_t)round_up((int64_t)tiles_bytes(round_up(a->head_dim, VECTOR)), 256), team);
}

void SYM(attention_forward)(struct backend *b, const struct attention_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "attention_forward");
    const real *angles;
    int team;
    unsigned char *memory = c ? prepare(c, a, &angles, &team) : NULL;
    if (!memory || c->failed)
        return;
    int64_t padded = round_up(a->head_dim, VECTOR), slot = round_up((int64_t)tiles_bytes(padded), 256);
#pragma omp parallel for num_threads(team) schedule(dynamic, 1)
    for (int64_t piece = 0; piece < a->batch * a->heads; piece++) {
        struct tiles *t = tiles_at(memory + slot * omp_get_thread_num(), padded);
        struct head h = head_at(a, angles, piece);
        if (a->memory)
            gather_keys(&h);
        turn(&h, h.q, h.k + a->memory * h.kv_stride, h.kv_stride, 1);
        for (int64_t q0 = 0; q0 < a->seq; q0 += TILE)
            forward_queries(t, &h, q0);
    }
}

void SYM(attention_backward)(struct backend *b, const struct attention_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "attention_backward");
    const real *angles;
    int team;
    unsigned char *memory = c ? prepare(c, a, &angles, &team) : NULL;
    if (!memory || c->failed)
        return;
    int64_t padded = round_up(a->head_dim, VECTOR), slot = round_up((int64_t)tiles_bytes(padded), 256);
#pragma omp parallel for num_threads(team) schedule(dynamic, 1)
    for (int64_t piece = 0; piece < a->batch * a->heads; piece++) {
        struct tiles *t = tiles_at(memory + slot * omp_get_thread_num(), padded);
        struct head h = head_at(a, angles, piece);
        int64_t width = a->heads * h.dim;
        real *dq = (real *)a->d_qkv + (h.q - (real *)a->qkv), *dk = dq + width, *dv = dk + width;
        for (int64_t q0 = 0; q0 < a->seq; q0 += TILE)
            backward_queries(t, &h, q0, dq, dk, dv);
        turn(&h, dq, dk, h.stride, -1);
    }
    if (a->d_bias)
        SYM(column_sums)(c, a->batch * a->seq, 3 * a->heads * a->head_dim, a->d_qkv, a->d_bias);
}
