/* init.c: initial values. Each parameter draws from its own stream, keyed by the seed and its name, so that parameters
 * which two models share start equal whatever else the models have. Numbers are drawn in double and rounded once. */
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

static void fill_values(const struct plan_parameter *p, int64_t seed, enum dtype dtype, void *values)
{
    int64_t count = p->rows * p->cols;
    struct philox stream;
    philox_init(&stream, (uint64_t)seed, "init", p->name);
    for (int64_t i = 0; i < count; i++) {
        double value = p->init == INIT_NORMAL ? p->init_std * philox_normal(&stream) : p->init == INIT_ONE ? 1 : 0;
        set_value(values, dtype, i, value);
    }
}

int model_init_parameters(struct model *m, int64_t seed, struct err *err)
{
    const struct plan *plan = m->plan;
    enum dtype dtype = m->backend->storage;
    if (dtype != DTYPE_F32 && dtype != DTYPE_F64)
        return err_set(err, ERR_INTERNAL, "no initial values for parameters stored as bf16");
    int64_t largest = 0;
    for (int i = 0; i < plan->parameter_count; i++)
        if (plan->parameters[i].rows * plan->parameters[i].cols > largest)
            largest = plan->parameters[i].rows * plan->parameters[i].cols;
    void *values = malloc((size_t)largest * dtype_size(dtype));
    if (!values)
        return err_set(err, ERR_NO_MEMORY, "no memory for the %" PRId64 " initial values of a tensor", largest);

    int rc = 0;
    for (int i = 0; i < plan->parameter_count && rc == 0; i++) {
        fill_values(&plan->parameters[i], seed, dtype, values);
        rc = model_write_state(m, i, values, err); /* parameters come first; it waits, so `values` is free again */
    }
    free(values);
    return rc;
}
