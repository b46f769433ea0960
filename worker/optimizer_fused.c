/* optimizer_fused.c: updates within the backward pass (LOMO, Lv et al. 2023, section 3.1). A matrix's gradient is taken
 * as soon as it is whole, before the next matrix's is made in the same place; vectors, less than 1 % of the
 * parameters, wait for the end of the pass, where one call serves them all.
 *
 * Without clipping one pass does it all, and the norm is only told. Clipping by the norm (section 3.3.1) needs it
 * before the first weight changes: a pass that measures comes before the one that updates, with a forward of its own,
 * because a backward consumes what its forward left. */
#include "worker/model_parts.h"
#include "worker/optimizer.h"

static struct optimizer_tensor *vectors_of(const struct model *m)
{
    return m->sorted + m->matrices + m->embeddings;
}

static void add_squares(struct model *m, int index)
{
    m->ops->grad_squares(m->backend, &(struct grad_squares_args){
                                         .tensors = &m->tensors[index], .count = 1, .squares = m->squares + index});
}

/* As optimizer_norm() does it. */
static void find_norm(struct model *m)
{
    for (int i = 0; i < m->plan->parameter_count; i++)
        if (m->plan->parameters[i].kind == PARAMETER_VECTOR)
            add_squares(m, i);
    m->ops->norm_of_squares(
        m->backend,
        &(struct norm_of_squares_args){.squares = m->squares, .count = m->plan->parameter_count, .norm = m->grad_norm});
}

const double *optimizer_fused_norm(const struct model *m)
{
    return m->spec->train.clip > 0 ? m->grad_norm : NULL;
}

void optimizer_fused_take_gradient(struct model *m, int index)
{
    struct optimizer_tensor *t = &m->tensors[index];
    enum dtype wide = m->backend->storage == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    if (m->measuring || m->spec->train.clip == 0)
        add_squares(m, index);
    if (!m->measuring)
        m->optimizer->apply(m, t, 1, false);
    m->ops->zero(m->backend, t->grad, (size_t)t->n * dtype_size(wide));
}

void optimizer_fused_measure(struct model *m)
{
    find_norm(m);
    model_zero_gradients(m);
}

void optimizer_fused_update(struct model *m)
{
    if (m->spec->train.clip == 0)
        find_norm(m);
    m->optimizer->apply(m, vectors_of(m), m->vectors, true);
}
