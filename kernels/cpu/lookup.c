/* lookup.c: softmax attention over learned keys and values, in tiles of 64 rows x 256 keys.
 *
 * A tile's products are pieces of gemm.c; its scores and probabilities live in a thread's scratch alone. Forward keeps
 * running maxima and sums (Dao et al. 2022, algorithm 1), a piece of work is a tile of rows of one head. In backward it
 * is a whole head, because all rows add to the gradients of the same keys, in their order.
 */
#include "kernels/cpu/cpu.h"

#include <math.h>
#include "kernels/cpu/reduce.h"
#include "kernels/cpu/vmath.h"

enum { ROWS = 64, KEYS = 256 };

struct tile {
    real p[ROWS * KEYS], dp[ROWS * KEYS]; /* [rows][KEYS] */
    real top[ROWS], sum[ROWS], delta[ROWS];
    real result[]; /* [ROWS][head_dim] */
};

/* One head's tile: rows [row0, row0 + rows), keys [key0, key0 + keys). */
struct place {
    const struct lookup_args *a;
    int64_t head, row0, rows, key0, keys;
};

static int64_t row_width(const struct lookup_args *a)
{
    return a->heads * a->head_dim;
}

/* The head's part of a matrix of such rows, from row `row` on. */
static real *part(const struct place *at, const void *matrix, int64_t row)
{
    return (real *)(uintptr_t)matrix + row * row_width(at->a) + at->head * at->a->head_dim;
}

static size_t slot_bytes(const struct lookup_args *a)
{
    return (size_t)round_up((int64_t)(sizeof(struct tile) + sizeof(real) * (size_t)(ROWS * a->head_dim)), 256);
}

static bool run(const struct cpu_backend *c, const struct product *p)
{
    return SYM(product_run)(c, p, &(struct product_range){0, p->m, 0, p->n});
}

/* scores[rows][KEYS] = rows of `left` times the tile's rows of `right`, transposed. */
static bool score(const struct cpu_backend *c, const struct place *at, const void *left, const void *right,
                  real *scores)
{
    int64_t width = row_width(at->a);
    return run(c, &(struct product){
                      .tb = true,
                      .m = at->rows,
                      .n = at->keys,
                      .k = at->a->head_dim,
                      .a = part(at, left, at->row0),
                      .lda = width,
                      .b = part(at, right, at->key0),
                      .ldb = width,
                      .c = scores,
                      .ldc = KEYS,
                  });
}

/* to[rows] (= or +=) scores times the tile's rows of `right`. */
static bool gather(const struct cpu_backend *c, const struct place *at, const real *scores, const void *right, real *to,
                   int64_t ldc, bool add)
{
    return run(c, &(struct product){
                      .accumulate = add,
                      .m = at->rows,
                      .n = at->a->head_dim,
                      .k = at->keys,
                      .a = scores,
                      .lda = KEYS,
                      .b = part(at, right, at->key0),
                      .ldb = row_width(at->a),
                      .c = to,
                      .ldc = ldc,
                  });
}

/* The tile's keys of `to` += scores, transposed, times rows of `left`. */
static bool scatter(const struct cpu_backend *c, const struct place *at, const real *scores, const void *left, void *to)
{
    int64_t width = row_width(at->a);
    return run(c, &(struct product){
                      .ta = true,
                      .accumulate = true,
                      .m = at->keys,
                      .n = at->a->head_dim,
                      .k = at->rows,
                      .a = scores,
                      .lda = KEYS,
                      .b = part(at, left, at->row0),
                      .ldb = width,
                      .c = part(at, to, at->key0),
                      .ldc = width,
                  });
}

/* Scores become probabilities relative to the new running maximum; the result so far is scaled to it. */
static void softmax_row(struct tile *t, const struct place *at, int64_t i)
{
    real *row = t->p + i * KEYS, *result = t->result + i * at->a->head_dim, scale = (real)at->a->scale;
    bool fresh = at->key0 == 0;
    real top = row_max(row, at->keys) * scale;
    top = fresh || top > t->top[i] ? top : t->top[i];
#pragma omp simd
    for (int64_t j = 0; j < at->keys; j++)
        row[j] = exp_real(row[j] * scale - top);
    real keep = fresh ? 0 : exp_real(t->top[i] - top), sum = row_sum(row, at->keys);
    t->sum[i] = fresh ? sum : t->sum[i] * keep + sum;
    t->top[i] = top;
    for (int64_t j = 0; !fresh && j < at->a->head_dim; j++)
        result[j] *= keep;
}

static bool forward_piece(const struct cpu_backend *c, struct tile *t, struct place at)
{
    const struct lookup_args *a = at.a;
    bool good = true;
    for (at.key0 = 0; at.key0 < a->keys; at.key0 += KEYS) {
        at.keys = least(KEYS, a->keys - at.key0);
        good = score(c, &at, a->q, a->k, t->p) && good;
        for (int64_t i = 0; i < at.rows; i++)
            softmax_row(t, &at, i);
        good = gather(c, &at, t->p, a->v, t->result, a->head_dim, at.key0 > 0) && good;
    }
    for (int64_t i = 0; i < at.rows; i++) {
        real inverse = 1 / t->sum[i], *out = part(&at, a->out, at.row0 + i);
        for (int64_t j = 0; j < a->head_dim; j++)
            out[j] = t->result[i * a->head_dim + j] * inverse;
        ((real *)a->lse)[at.head * a->rows + at.row0 + i] = t->top[i] + (real)log((double)t->sum[i]);
    }
    return good;
}

/* p = exp(scale score - lse); dp becomes the gradient of the unscaled score, p (dp - delta) scale. */
static void gradient_row(struct tile *t, const struct place *at, int64_t i)
{
    real *p = t->p + i * KEYS, *dp = t->dp + i * KEYS, scale = (real)at->a->scale, delta = t->delta[i];
    real lse = ((const real *)at->a->lse)[at->head * at->a->rows + at->row0 + i];
#pragma omp simd
    for (int64_t j = 0; j < at->keys; j++) {
        p[j] = exp_real(p[j] * scale - lse);
        dp[j] = p[j] * (dp[j] - delta) * scale;
    }
}

static bool backward_rows(const struct cpu_backend *c, struct tile *t, struct place at)
{
    const struct lookup_args *a = at.a;
    bool good = true;
    for (int64_t i = 0; i < at.rows; i++)
        t->delta[i] = row_dot(part(&at, a->out, at.row0 + i), part(&at, a->d_out, at.row0 + i), a->head_dim);
    for (at.key0 = 0; at.key0 < a->keys; at.key0 += KEYS) {
        at.keys = least(KEYS, a->keys - at.key0);
        good = score(c, &at, a->q, a->k, t->p) && score(c, &at, a->d_out, a->v, t->dp) && good;
        for (int64_t i = 0; i < at.rows; i++)
            gradient_row(t, &at, i);
        good = gather(c, &at, t->dp, a->k, part(&at, a->dq, at.row0), row_width(a), at.key0 > 0) && good;
        good = scatter(c, &at, t->p, a->d_out, a->d_v) && scatter(c, &at, t->dp, a->q, a->d_k) && good;
    }
    return good;
}

void SYM(lookup_forward)(struct backend *b, const struct lookup_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "lookup_forward");
    int team = 1;
    unsigned char *memory = c ? cpu_scratch_slots(c, slot_bytes(a), &team) : NULL;
    if (!memory)
        return;
    bool refused = false;
    int64_t tiles = (a->rows + ROWS - 1) / ROWS, slot = (int64_t)slot_bytes(a);
#pragma omp parallel for num_threads(team) schedule(dynamic, 1) reduction(|| : refused)
    for (int64_t piece = 0; piece < a->heads * tiles; piece++) {
        struct place at = {.a = a, .head = piece / tiles, .row0 = piece % tiles * ROWS};
        at.rows = least(ROWS, a->rows - at.row0);
        refused = !forward_piece(c, (struct tile *)(void *)(memory + slot * omp_get_thread_num()), at) || refused;
    }
    SYM(product_check)(c, refused);
}

void SYM(lookup_backward)(struct backend *b, const struct lookup_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "lookup_backward");
    int team = 1;
    unsigned char *memory = c ? cpu_scratch_slots(c, slot_bytes(a), &team) : NULL;
    if (!memory)
        return;
    bool refused = false;
    int64_t slot = (int64_t)slot_bytes(a);
#pragma omp parallel for num_threads(team) schedule(dynamic, 1) reduction(|| : refused)
    for (int64_t head = 0; head < a->heads; head++)
        for (int64_t row0 = 0; row0 < a->rows; row0 += ROWS) {
            struct place at = {.a = a, .head = head, .row0 = row0, .rows = least(ROWS, a->rows - row0)};
            refused = !backward_rows(c, (struct tile *)(void *)(memory + slot * omp_get_thread_num()), at) || refused;
        }
    SYM(product_check)(c, refused);
}
