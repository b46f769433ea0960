/* order_eval_stream.c: evaluation for models with a memory. The windows are those of an evaluation without, so that the
 * two can be compared; a stream is a run of neighbouring windows, the longer ones come first. */
#include <assert.h>
#include "text/order_kinds.h"

/* Tokens of the document that holds token `at` which stand before it, within the split. */
static int64_t inside_document(const struct token_file *f, uint64_t split_start, uint64_t at)
{
    uint64_t d = order_document_after(f, at);
    uint64_t begin = d > 0 ? f->documents[d - 1] : 0;
    return (int64_t)(at - (begin > split_start ? begin : split_start));
}

void order_eval_stream_fill(const struct token_file *f, const struct order_windows *w, enum spec_reset reset,
                            int64_t memory, int64_t step, struct order_batch *out)
{
    uint64_t begin;
    int64_t predictions = order_split_range(f, w->split, &begin) - 1, windows = order_count_windows(w, predictions);
    int64_t shorter = windows / w->batch,
            longer = windows % w->batch; /* the length of a shorter stream, how many are longer */
    assert(w->stride == w->seq_len && step >= 0 && step < order_eval_steps(f, w));
    order_clear(out, w->seq_len, w->batch);
    for (int64_t row = 0; row < w->batch && step < shorter + (row < longer); row++) {
        int64_t at = (row * shorter + (row < longer ? row : longer) + step) * w->seq_len;
        int64_t n = predictions - at < w->seq_len ? predictions - at : w->seq_len, seen = step * w->seq_len;
        uint64_t start = begin + (uint64_t)at;
        order_fill_window(f, reset, start, n, row, w->seq_len, out);
        if (reset == RESET_DOCUMENT && inside_document(f, begin, start) < seen)
            seen = inside_document(f, begin, start);
        order_place_memory(out->first + row * w->seq_len, w->seq_len, memory, seen < memory ? seen : memory);
        out->rows = row + 1;
    }
}
