/* model_state.c: parameters and moments by name, for checkpoints. Indices: all parameters in the plan's order, then all
 * first moments (".m"), then all second ones (".v"). */
#include "worker/model.h"

#include <stdio.h>
#include "worker/model_parts.h"

struct place {
    const struct plan_parameter *parameter;
    const char *suffix;
    void *at;
    enum dtype dtype;
};

static struct place find_place(const struct model *m, int index)
{
    int kind = index / m->plan->parameter_count;
    const struct plan_parameter *p = &m->plan->parameters[index % m->plan->parameter_count];
    /* All of it is wide: float for storage F32 and BF16. */
    enum dtype wide = m->backend->storage == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    if (kind == 0)
        return (struct place){p, "", m->arena + p->param, wide};
    if (kind == 1)
        return (struct place){p, ".m", m->arena + p->m, wide};
    return (struct place){p, ".v", m->arena + p->v, wide};
}

static size_t place_bytes(const struct place *place)
{
    return (size_t)place->parameter->rows * (size_t)place->parameter->cols * dtype_size(place->dtype);
}

int model_state_count(const struct model *m)
{
    return 3 * m->plan->parameter_count;
}

void model_state_tensor(const struct model *m, int index, struct model_tensor *out)
{
    struct place place = find_place(m, index);
    struct model_tensor t = {
        .rows = place.parameter->rows,
        .cols = place.parameter->cols,
        .bytes = place_bytes(&place),
        .dtype = place.dtype,
    };
    snprintf(t.name, sizeof(t.name), "%s%s", place.parameter->name, place.suffix);
    *out = t;
}

int model_read_state(struct model *m, int index, void *host_dst, struct err *err)
{
    struct place place = find_place(m, index);
    m->ops->download(m->backend, host_dst, place.at, place_bytes(&place));
    return m->ops->sync(m->backend, err);
}

int model_write_state(struct model *m, int index, const void *host_src, struct err *err)
{
    struct place place = find_place(m, index);
    m->ops->upload(m->backend, place.at, host_src, place_bytes(&place));
    if (index < m->plan->parameter_count)
        m->ops->copy_parameters(m->backend, &(struct copy_parameters_args){&m->tensors[index], 1});
    return m->ops->sync(m->backend, err);
}

int model_read_updates(struct model *m, int64_t *updates, struct err *err)
{
    m->ops->download(m->backend, updates, m->updates, sizeof(*updates));
    return m->ops->sync(m->backend, err);
}

int model_write_updates(struct model *m, int64_t updates, struct err *err)
{
    m->ops->upload(m->backend, m->updates, &updates, sizeof(updates));
    return m->ops->sync(m->backend, err);
}
