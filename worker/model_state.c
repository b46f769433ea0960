/* model_state.c: parameters and moments by name, for checkpoints. Indices: all parameters in the plan's order, then all
 * first moments that there are, then all second ones. */
#include "worker/model.h"

#include <stdio.h>
#include "worker/model_parts.h"

struct place {
    const struct plan_parameter *parameter;
    const char *suffix;
    void *at;
    int64_t rows, cols;
    enum dtype dtype;
};

/* A moment that is no number for each of the parameter's is one a row, or one a column. */
static struct place moment_of(const struct plan_parameter *p, void *at, int64_t count, const char *suffix,
                              const char *summed)
{
    if (count == p->rows * p->cols)
        return (struct place){p, suffix, at, p->rows, p->cols, DTYPE_F32};
    return (struct place){p, summed, at, count, 1, DTYPE_F32};
}

static struct place find_place(const struct model *m, int index)
{
    const struct plan *plan = m->plan;
    struct place place = {0};
    if (index < plan->parameter_count) {
        const struct plan_parameter *p = &plan->parameters[index];
        place = (struct place){p, "", m->arena + p->param, p->rows, p->cols, DTYPE_F32};
    }
    int before = plan->parameter_count;
    for (int kind = 0; kind < 2; kind++)
        for (int i = 0; i < plan->parameter_count && !place.parameter; i++) {
            const struct plan_parameter *p = &plan->parameters[i];
            int64_t count = kind ? p->v_count : p->m_count;
            if (count > 0 && before++ == index)
                place = kind ? moment_of(p, m->arena + p->v, count, ".v", ".col")
                             : moment_of(p, m->arena + p->m, count, ".m", ".row");
        }
    /* All of it is wide: float for storage F32 and BF16. */
    place.dtype = m->backend->storage == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    return place;
}

static size_t place_bytes(const struct place *place)
{
    return (size_t)place->rows * (size_t)place->cols * dtype_size(place->dtype);
}

int model_state_count(const struct model *m)
{
    int count = m->plan->parameter_count;
    for (int i = 0; i < m->plan->parameter_count; i++)
        count += (m->plan->parameters[i].m_count > 0) + (m->plan->parameters[i].v_count > 0);
    return count;
}

void model_state_tensor(const struct model *m, int index, struct model_tensor *out)
{
    struct place place = find_place(m, index);
    struct model_tensor t = {
        .rows = place.rows,
        .cols = place.cols,
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
