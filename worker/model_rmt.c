#include "worker/model_rmt.h"

#include "worker/model_parts.h"

static unsigned char *row_at(const struct model *m, const void *rows, int64_t row)
{
    return (unsigned char *)(uintptr_t)rows + (size_t)(row * m->spec->model.dim) * dtype_size(m->backend->storage);
}

/* The last positions of each sequence. */
static unsigned char *last_rows(const struct model *m, const void *rows)
{
    return row_at(m, rows, m->plan->run - m->plan->rmt_tokens);
}

/* One row of a table a memory position. */
static struct rows_args rows_of(const struct model *m, void *x, int64_t seq, int64_t offset)
{
    return (struct rows_args){
        .batch = m->batch,
        .seq = seq,
        .dim = m->spec->model.dim,
        .count = m->plan->rmt_tokens,
        .offset = offset,
        .x = x,
        .table_rows = m->plan->rmt_tokens,
    };
}

static unsigned char *state_of(const struct model *m)
{
    return row_at(m, m->evaluating ? m->rmt_eval_state : m->rmt_state, m->from * m->plan->rmt_tokens);
}

void model_rmt_read(struct model *m, int64_t segment, void *x)
{
    int64_t behind = m->plan->run - m->plan->rmt_tokens;
    for (int end = 0; end < 2; end++) {
        struct rows_args a = rows_of(m, x, m->plan->run, end ? behind : 0);
        if (segment > 0) {
            a.table = last_rows(m, m->segments[segment - 1].stream_rows);
            a.table_stride = m->plan->run;
        } else if (m->key.fresh) {
            a.table = m->rmt.value;
        } else {
            a.table = state_of(m);
            a.table_stride = m->plan->rmt_tokens;
        }
        m->ops->put_rows(m->backend, &a);
    }
}

void model_rmt_write(struct model *m)
{
    struct rows_args a = rows_of(m, state_of(m), m->plan->rmt_tokens, 0);
    a.table = last_rows(m, m->segments[m->plan->segments - 1].stream_rows);
    a.table_stride = m->plan->run;
    m->ops->put_rows(m->backend, &a);
}

void model_rmt_take_gradient(struct model *m, int64_t segment, void *dx)
{
    size_t bytes = (size_t)(m->batch * m->plan->rmt_tokens * m->spec->model.dim) * dtype_size(m->backend->storage);
    if (segment > 0)
        m->ops->zero(m->backend, m->d_memory, bytes);
    for (int end = 0; end < 2; end++) {
        struct rows_args a = rows_of(m, dx, m->plan->run, end ? m->plan->run - m->plan->rmt_tokens : 0);
        if (segment > 0) {
            a.d_table = m->d_memory;
            a.table_stride = m->plan->rmt_tokens;
        } else if (m->key.fresh) {
            a.d_table = m->rmt.grad;
            a.wide = true;
        }
        m->ops->take_rows(m->backend, &a);
    }
    model_gradient_done(m, &m->rmt);
}

void model_rmt_add_gradient(struct model *m, void *d_out)
{
    struct rows_args a = rows_of(m, m->d_memory, m->plan->rmt_tokens, 0);
    a.d_table = last_rows(m, d_out);
    a.table_stride = m->plan->run;
    m->ops->take_rows(m->backend, &a);
}
