#include "worker/optimizer.h"

#include "worker/model_parts.h"

static const struct optimizer *const optimizers[] = {
    &optimizer_adamw, &optimizer_sgd, &optimizer_lion, &optimizer_muon, &optimizer_lomo, &optimizer_adalomo,
};

const struct optimizer *optimizer_find(enum spec_optimizer type)
{
    for (size_t i = 0; i < sizeof(optimizers) / sizeof(optimizers[0]); i++)
        if (optimizers[i]->type == type)
            return optimizers[i];
    return NULL;
}

static void sum_squares(struct model *m, int first, int count)
{
    m->ops->grad_squares(m->backend, &(struct grad_squares_args){
                                         .tensors = m->tensors + first, .count = count, .squares = m->squares + first});
    for (int i = first; i < first + count; i++)
        m->squared[i] = true;
}

void optimizer_gradients_whole(struct model *m, int first, int count)
{
    bool last_pass = m->segment == 0 && m->from + m->batch == m->loaded;
    int64_t numbers = 0;
    for (int i = first; i < first + count; i++)
        numbers += m->tensors[i].n;
    if (m->optimizer->take_gradient || !last_pass || numbers < m->aside_least)
        return;
    m->ops->aside_begin(m->backend);
    sum_squares(m, first, count);
    m->ops->aside_end(m->backend);
}

void optimizer_norm(struct model *m)
{
    int count = m->plan->parameter_count;
    for (int i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && m->squared[end] == m->squared[i];)
            end++;
        if (!m->squared[i])
            sum_squares(m, i, end - i);
    }
    m->ops->aside_join(m->backend);
    m->ops->norm_of_squares(
        m->backend, &(struct norm_of_squares_args){.squares = m->squares, .count = count, .norm = m->grad_norm});
}
