/* order_stream.c: the training documents, permuted by (seed, epoch), make one text of N tokens with N-1 predictions
 * (the last token of a document predicts the first of the next). It is cut in `batch` streams whose lengths differ by
 * one at most, the longer ones first; step s takes predictions [s*seq_len, (s+1)*seq_len) of each. */
#include "text/order_kinds.h"

#include <stdlib.h>

/* Documents that start in the training part; the last of them may go on into validation and is cut there. */
static int stream_create(struct order *o, struct err *err)
{
    (void)err;
    o->items = order_document_after(o->file, o->file->header.train_count - 1);
    o->permutation = calloc(o->items, sizeof *o->permutation);
    o->starts = calloc(o->items + 1, sizeof *o->starts);
    if (!o->permutation || !o->starts)
        abort();
    return 0;
}

static int64_t stream_start(const struct order *o, int64_t row)
{
    int64_t longer = o->predictions % o->batch;
    return row * (o->predictions / o->batch) + (row < longer ? row : longer);
}

static int64_t longest(const struct order *o)
{
    return (o->predictions + o->batch - 1) / o->batch;
}

static int64_t stream_steps(const struct order *o)
{
    return (longest(o) + o->seq_len - 1) / o->seq_len;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t stream_predictions_before(const struct order *o, int64_t step)
{
    int64_t longer = o->predictions % o->batch, shorter_length = o->predictions / o->batch;
    int64_t done = step * o->seq_len;
    return longer * least(done, shorter_length + 1) + (o->batch - longer) * least(done, shorter_length);
}

static uint64_t document_end(const struct order *o, uint64_t document)
{
    const struct token_file *f = o->file;
    uint64_t next = document + 1 < f->header.document_count ? f->documents[document + 1] : f->header.count;
    return next < f->header.train_count ? next : f->header.train_count;
}

static void stream_begin_epoch(struct order *o, int64_t epoch)
{
    order_permute(o->permutation, o->items, o->seed, epoch);
    for (uint64_t i = 0; i < o->items; i++) {
        uint64_t d = o->permutation[i];
        o->starts[i + 1] = o->starts[i] + document_end(o, d) - o->file->documents[d];
    }
}

/* Index in the permutation of the document that holds a token of the permuted text. */
static uint64_t find_piece(const struct order *o, uint64_t at)
{
    uint64_t low = 0, high = o->items;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (o->starts[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Tokens [at, at+n) of the permuted text; marks document starts in `first` unless it is NULL. */
static void read_permuted(const struct order *o, uint64_t at, int64_t n, int32_t *ids, int32_t *first)
{
    int64_t done = 0;
    for (uint64_t i = find_piece(o, at); done < n; i++) {
        uint64_t from = at + (uint64_t)done, inside = from - o->starts[i];
        int64_t k = least((int64_t)(o->starts[i + 1] - from), n - done);
        token_file_read(o->file, o->file->documents[o->permutation[i]] + inside, (size_t)k, ids + done);
        for (int64_t p = done; first && p < done + k; p++)
            first[p] = inside == 0 ? (int32_t)done : p > 0 ? first[p - 1] : 0;
        done += k;
    }
}

/* Of a memory, what a row that begins at `start` in this step may see. */
static int64_t seen_memory(const struct order *o, int64_t step, uint64_t start)
{
    int64_t seen = least(o->memory, step * o->seq_len);
    return o->reset == RESET_DOCUMENT ? least(seen, (int64_t)(start - o->starts[find_piece(o, start)])) : seen;
}

static void stream_fill(struct order *o, int64_t step, struct order_batch *out)
{
    for (int64_t row = 0; row < o->batch; row++) {
        int64_t start = stream_start(o, row) + step * o->seq_len, end = stream_start(o, row + 1);
        if (start >= end)
            break; /* and the rows after it are no longer */
        int64_t n = least(o->seq_len, end - start), base = row * o->seq_len;
        read_permuted(o, (uint64_t)start, n, out->inputs + base, o->reset == RESET_DOCUMENT ? out->first + base : NULL);
        read_permuted(o, (uint64_t)start + 1, n, out->targets + base, NULL);
        if (o->memory > 0)
            order_place_memory(out->first + base, o->seq_len, o->memory, seen_memory(o, step, (uint64_t)start));
        out->predictions += n;
        out->rows = row + 1;
    }
}

const struct order_kind order_stream = {
    .create = stream_create,
    .steps = stream_steps,
    .predictions_before = stream_predictions_before,
    .begin_epoch = stream_begin_epoch,
    .fill = stream_fill,
};
