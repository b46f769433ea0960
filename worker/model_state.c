/* model_state.c: parameters and moments by name, for checkpoints. Indices: all parameters in the plan's order, then all
 * first moments that there are, then all second ones, then the memories of the layers and the recurrent one. */
#include "worker/model.h"

#include <stdio.h>
#include "worker/model_parts.h"

struct place {
    char name[72];
    int64_t rows, cols;
    void *at;
    enum dtype dtype;
};

/* All of parameters and moments is wide: float for storage F32 and BF16. */
static struct place wide_place(const struct model *m, const struct plan_parameter *p, const char *suffix, size_t at,
                               int64_t rows, int64_t cols)
{
    struct place place = {
        .rows = rows,
        .cols = cols,
        .at = m->arena + at,
        .dtype = m->backend->storage == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32,
    };
    snprintf(place.name, sizeof place.name, "%s%s", p->name, suffix);
    return place;
}

/* A moment that is no number for each of the parameter's is one a row, or one a column. */
static struct place moment_place(const struct model *m, const struct plan_parameter *p, bool second)
{
    int64_t count = second ? p->v_count : p->m_count;
    size_t at = second ? p->v : p->m;
    if (count == p->rows * p->cols)
        return wide_place(m, p, second ? ".v" : ".m", at, p->rows, p->cols);
    return wide_place(m, p, second ? ".col" : ".row", at, count, 1);
}

/* What goes from window to window in training, in the type of activations: the keys and values of each layer, then the
 * recurrent memory. */
static struct place memory_place(const struct model *m, int64_t index)
{
    struct place p = {.dtype = m->backend->storage};
    if (m->plan->xl_len > 0 && index < m->spec->model.layers) {
        snprintf(p.name, sizeof p.name, "layers.%lld.past", (long long)index);
        p.rows = m->spec->train.batch * m->plan->xl_len;
        p.cols = 2 * m->spec->model.dim;
        p.at = m->layers[index].past;
    } else {
        snprintf(p.name, sizeof p.name, "rmt.state");
        p.rows = m->spec->train.batch * m->plan->rmt_tokens;
        p.cols = m->spec->model.dim;
        p.at = m->rmt_state;
    }
    return p;
}

static struct place find_place(const struct model *m, int index)
{
    const struct plan *plan = m->plan;
    if (index < plan->parameter_count) {
        const struct plan_parameter *p = &plan->parameters[index];
        return wide_place(m, p, "", p->param, p->rows, p->cols);
    }
    int before = plan->parameter_count;
    for (int second = 0; second < 2; second++)
        for (int i = 0; i < plan->parameter_count; i++) {
            const struct plan_parameter *p = &plan->parameters[i];
            if ((second ? p->v_count : p->m_count) > 0 && before++ == index)
                return moment_place(m, p, second);
        }
    return memory_place(m, index - before);
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
    return count + (m->plan->xl_len > 0 ? (int)m->spec->model.layers : 0) + (m->plan->rmt_tokens > 0);
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
    snprintf(t.name, sizeof(t.name), "%s", place.name);
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
