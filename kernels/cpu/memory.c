/* memory.c: what attention keeps of a row for the next one.
 *
 * In place: position j takes that of j + tokens, and what is behind the end comes from the row. Positions that are
 * equal modulo tokens form a chain that is walked upwards, so nothing is read after it was overwritten.
 */
#include "kernels/cpu/cpu.h"

#include <string.h>

void SYM(remember)(struct backend *b, const struct remember_args *a)
{
    struct cpu_backend *c = cpu_begin(b, "remember");
    if (!c)
        return;
    int64_t chains = least(a->tokens, a->memory), kv = 2 * a->width;
    size_t bytes = (size_t)kv * sizeof(real);
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (int64_t piece = 0; piece < a->batch * chains; piece++) {
        int64_t sequence = piece / chains;
        real *past = (real *)a->past + sequence * a->memory * kv;
        const real *row = (const real *)a->qkv + sequence * a->seq * 3 * a->width + a->width;
        for (int64_t j = piece % chains; j < a->memory; j += a->tokens) {
            int64_t from = j + a->tokens, token = from - a->memory;
            if (token >= 0 && a->places)
                token = a->places[sequence * a->tokens + token];
            memcpy(past + j * kv, from < a->memory ? past + from * kv : row + token * 3 * a->width, bytes);
        }
    }
}
