/* init.c: initial values. Each parameter draws from its own stream, keyed by the seed and its name, so that parameters
 * which two models share start equal whatever else the models have. Numbers are drawn in double and rounded once;
 * number i comes from block i of the stream, so threads share the work and change nothing. */
#include <inttypes.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/philox.h"
#include "worker/model_parts.h"

static void set_value(void *values, enum dtype dtype, int64_t i, double value)
{
    if (dtype == DTYPE_F64)
        ((double *)values)[i] = value;
    else
        ((float *)values)[i] = (float)value;
}

/* Number i of its tensor. */
static double first_value(const struct plan_parameter *p, int64_t i, struct philox *stream)
{
    int64_t steps = p->rows * p->cols - 1;
    switch (p->init) {
    case INIT_ZERO:
        return 0;
    case INIT_ONE:
        return 1;
    case INIT_NORMAL:
        return p->init_scale * philox_normal(stream);
    case INIT_CONSTANT:
        return p->init_scale;
    case INIT_SPREAD:
        return steps > 0 ? p->init_scale * (2 * (double)i / (double)steps - 1) : 0;
    }
    return 0;
}

static void fill_piece(const struct plan_parameter *p, int64_t seed, enum dtype dtype, int64_t from, int64_t to,
                       void *values)
{
    struct philox stream;
    philox_init(&stream, (uint64_t)seed, "init", p->name);
    philox_seek(&stream, (uint64_t)from);
    for (int64_t i = from; i < to; i++) {
        set_value(values, dtype, i, first_value(p, i, &stream));
    }
}

static void fill_values(const struct plan_parameter *p, int64_t seed, enum dtype dtype, int threads, void *values)
{
    enum { PIECE = 1 << 16 };
    int64_t count = p->rows * p->cols, pieces = (count + PIECE - 1) / PIECE;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (pieces > 1 && threads > 1)
    for (int64_t i = 0; i < pieces; i++)
        fill_piece(p, seed, dtype, i * PIECE, i + 1 < pieces ? (i + 1) * PIECE : count, values);
}

int model_init_parameters(struct model *m, int64_t seed, int threads, struct err *err)
{
    const struct plan *plan = m->plan;
    enum dtype dtype = m->backend->storage == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    int64_t largest = 0;
    for (int i = 0; i < plan->parameter_count; i++)
        if (plan->parameters[i].rows * plan->parameters[i].cols > largest)
            largest = plan->parameters[i].rows * plan->parameters[i].cols;
    void *values = malloc((size_t)largest * dtype_size(dtype));
    if (!values)
        return err_set(err, ERR_NO_MEMORY, "no memory for the %" PRId64 " initial values of a tensor", largest);

    int rc = 0;
    for (int i = 0; i < plan->parameter_count && rc == 0; i++) {
        fill_values(&plan->parameters[i], seed, dtype, threads, values);
        rc = model_write_state(m, i, values, err); /* parameters come first; it waits, so `values` is free again */
    }
    free(values);
    return rc;
}
