/* attention_next.c: one query against the keys and values of a sequence so far. A head is one piece of work. */
#include <math.h>
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/reduce.h"
#include "kernels/cpu/rotary.h"
#include "kernels/cpu/vmath.h"

/* Scores of all keys, then their exponentials relative to the greatest; returns their sum. */
static real weigh_keys(const real *q, const real *k, int64_t stride, int64_t seq, int64_t dim, real scale, real *p,
                       real *top)
{
    for (int64_t t = 0; t < seq; t++)
        p[t] = row_dot(q, k + t * stride, dim) * scale;
    *top = row_max(p, seq);
#pragma omp simd
    for (int64_t t = 0; t < seq; t++)
        p[t] = exp_real(p[t] - *top);
    return row_sum(p, seq);
}

static void mix_values(const real *p, const real *v, int64_t stride, int64_t seq, int64_t dim, real sum, real *out)
{
    for (int64_t i = 0; i < dim; i++)
        out[i] = 0;
    for (int64_t t = 0; t < seq; t++)
#pragma omp simd
        for (int64_t i = 0; i < dim; i++)
            out[i] += p[t] * v[t * stride + i];
#pragma omp simd
    for (int64_t i = 0; i < dim; i++)
        out[i] /= sum;
}

void SYM(attention_next)(struct backend *b, const struct attention_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "attention_next");
    size_t slot = (size_t)round_up(a->seq * (int64_t)sizeof(real), 256);
    int team;
    if (c && a->rotary_dims > ATTENTION_MAX_HEAD_DIM)
        cpu_fail(c, ERR_TOO_LARGE, "%lld rotated dims are over %d", (long long)a->rotary_dims, ATTENTION_MAX_HEAD_DIM);
    unsigned char *memory = c && !c->failed ? cpu_scratch_slots(c, slot, &team) : NULL;
    if (!memory)
        return;
    int64_t width = a->heads * a->head_dim, stride = 3 * width;
    real *keys = (real *)a->qkv + width, *last = (real *)a->qkv + (a->seq - 1) * stride;
    real angles[ATTENTION_MAX_HEAD_DIM];
    SYM(rotary_row)(a->seq - 1, a->rotary_dims, a->rotary_base, angles);
#pragma omp parallel for num_threads(team) schedule(dynamic, 1)
    for (int64_t h = 0; h < a->heads; h++) {
        real *p = (real *)(void *)(memory + slot * (size_t)omp_get_thread_num()), *q = last + h * a->head_dim, top;
        rotary_turn(q, a->rotary_dims / 2, angles, 1);
        rotary_turn(q + width, a->rotary_dims / 2, angles, 1);
        const real *k = keys + h * a->head_dim;
        real sum = weigh_keys(q, k, stride, a->seq, a->head_dim, (real)a->scale, p, &top);
        mix_values(p, k + width, stride, a->seq, a->head_dim, sum, (real *)a->out + h * a->head_dim);
        ((real *)a->lse)[h] = top + (real)log((double)sum);
    }
}
