/* order_shuffle.c: windows of seq_len predictions, whole ones permuted by (seed, epoch); what does not fill a window is
 * the last row of each epoch, so that the number of predictions before a step is the same in every epoch. */
#include "text/order_kinds.h"

#include <stdlib.h>

static int64_t windows(const struct order *o)
{
    return (o->predictions + o->seq_len - 1) / o->seq_len;
}

static int shuffle_create(struct order *o, struct err *err)
{
    (void)err;
    o->items = (uint64_t)(o->predictions / o->seq_len);
    o->permutation = calloc(o->items + 1, sizeof *o->permutation);
    if (!o->permutation)
        abort();
    return 0;
}

static int64_t shuffle_steps(const struct order *o)
{
    return (windows(o) + o->batch - 1) / o->batch;
}

static int64_t shuffle_predictions_before(const struct order *o, int64_t step)
{
    int64_t before = step * o->batch * o->seq_len;
    return before < o->predictions ? before : o->predictions;
}

static void shuffle_begin_epoch(struct order *o, int64_t epoch)
{
    order_permute(o->permutation, o->items, o->seed, epoch);
    o->permutation[o->items] = o->items; /* the short window */
}

static void shuffle_fill(struct order *o, int64_t step, struct order_batch *out)
{
    for (int64_t row = 0; row < o->batch; row++) {
        int64_t place = step * o->batch + row;
        if (place >= windows(o))
            break;
        int64_t at = (int64_t)o->permutation[place] * o->seq_len;
        int64_t n = o->predictions - at < o->seq_len ? o->predictions - at : o->seq_len;
        order_fill_window(o->file, o->reset, (uint64_t)at, n, row, o->seq_len, out);
        out->rows = row + 1;
    }
}

const struct order_kind order_shuffle = {
    .create = shuffle_create,
    .steps = shuffle_steps,
    .predictions_before = shuffle_predictions_before,
    .begin_epoch = shuffle_begin_epoch,
    .fill = shuffle_fill,
};
