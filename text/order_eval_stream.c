/* order_eval_stream.c: evaluation for models with a memory. The windows are those of an evaluation without, so that the
 * two can be compared; a stream is a run of neighbouring windows, the longer ones come first. */
#include <assert.h>
#include "text/order_kinds.h"

static int64_t count_windows(const struct token_file *f, enum token_split split, int64_t seq_len, uint64_t *start)
{
    int64_t n = order_split_range(f, split, start);
    return n < 2 ? 0 : (n - 1 + seq_len - 1) / seq_len;
}

int64_t order_eval_stream_steps(const struct token_file *f, enum token_split split, int64_t seq_len, int64_t batch)
{
    uint64_t start;
    return (count_windows(f, split, seq_len, &start) + batch - 1) / batch;
}

/* Tokens of the document that holds token `at` which stand before it, within the split. */
static int64_t inside_document(const struct token_file *f, uint64_t split_start, uint64_t at)
{
    uint64_t d = order_document_after(f, at);
    uint64_t begin = d > 0 ? f->documents[d - 1] : 0;
    return (int64_t)(at - (begin > split_start ? begin : split_start));
}

void order_eval_stream_fill(const struct token_file *f, enum token_split split, enum spec_reset reset, int64_t seq_len,
                            int64_t batch, int64_t memory, int64_t step, struct order_batch *out)
{
    assert(step >= 0 && step < order_eval_stream_steps(f, split, seq_len, batch));
    uint64_t begin;
    int64_t windows = count_windows(f, split, seq_len, &begin), longer = windows % batch;
    int64_t predictions = order_split_range(f, split, &begin) - 1;
    order_clear(out, seq_len, batch);
    for (int64_t row = 0; row < batch && step < windows / batch + (row < longer); row++) {
        int64_t window = row * (windows / batch) + (row < longer ? row : longer) + step, at = window * seq_len;
        int64_t n = predictions - at < seq_len ? predictions - at : seq_len, seen = step * seq_len;
        uint64_t start = begin + (uint64_t)at;
        order_fill_window(f, reset, start, n, row, seq_len, out);
        if (reset == RESET_DOCUMENT && inside_document(f, begin, start) < seen)
            seen = inside_document(f, begin, start);
        order_place_memory(out->first + row * seq_len, seq_len, memory, seen < memory ? seen : memory);
        out->rows = row + 1;
    }
}
