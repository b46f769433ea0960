/* order.c: what both orders share, and evaluation; see order.h. A prediction is the pair (token p, token p+1) of a
 * sequence; n tokens have n-1. The orders differ in the sequence and in which predictions stand in a row: shuffle
 * (order_shuffle.c) permutes windows, stream (order_stream.c) permutes documents. */
#include "text/order.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/philox.h"
#include "text/order_kinds.h"

int order_create(const struct token_file *f, enum spec_order kind, enum spec_reset reset, int64_t seed, int64_t seq_len,
                 int64_t batch, struct order **out, struct err *err)
{
    if (seq_len < 1 || batch < 1)
        return err_set(err, ERR_INVALID, "a window of %lld tokens and a batch of %lld: both must be at least 1",
                       (long long)seq_len, (long long)batch);
    if (f->header.train_count < 2)
        return err_set(err, ERR_INVALID, "the data set has %llu training tokens: at least 2 are needed",
                       (unsigned long long)f->header.train_count);
    struct order *o = calloc(1, sizeof *o);
    if (!o)
        abort();
    o->file = f;
    o->kind = kind == ORDER_SHUFFLE ? &order_shuffle : &order_stream;
    o->reset = reset;
    o->seed = (uint64_t)seed;
    o->seq_len = seq_len;
    o->batch = batch;
    o->predictions = (int64_t)f->header.train_count - 1;
    o->epoch = -1;
    int rc = o->kind->create(o, err);
    if (rc) {
        order_destroy(o);
        return rc;
    }
    *out = o;
    return 0;
}

void order_destroy(struct order *o)
{
    if (!o)
        return;
    free(o->permutation);
    free(o->starts);
    free(o);
}

int64_t order_steps_per_epoch(const struct order *o)
{
    return o->kind->steps(o);
}

int64_t order_predictions_per_epoch(const struct order *o)
{
    return o->predictions;
}

int64_t order_predictions_before(const struct order *o, int64_t step_in_epoch)
{
    assert(step_in_epoch >= 0 && step_in_epoch <= order_steps_per_epoch(o));
    return o->kind->predictions_before(o, step_in_epoch);
}

void order_clear(struct order_batch *out, int64_t seq_len, int64_t batch)
{
    size_t positions = (size_t)(seq_len * batch);
    memset(out->inputs, 0, positions * sizeof *out->inputs);
    memset(out->targets, 0xff, positions * sizeof *out->targets); /* -1 */
    memset(out->first, 0, positions * sizeof *out->first);
    out->rows = 0;
    out->predictions = 0;
}

uint64_t order_document_after(const struct token_file *f, uint64_t position)
{
    uint64_t low = 0, high = f->header.document_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (f->documents[middle] <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Tokens [start, start+n) are a row: marks the document starts inside, and that positions after one see no further
 * back. */
static void mark_first(const struct token_file *f, uint64_t start, int64_t n, int32_t *first)
{
    uint64_t d = order_document_after(f, start), documents = f->header.document_count;
    for (int64_t i = 1; i < n; i++) {
        bool begins = d < documents && f->documents[d] == start + (uint64_t)i;
        first[i] = begins ? (int32_t)i : first[i - 1];
        d += begins;
    }
}

void order_fill_window(const struct token_file *f, enum spec_reset reset, uint64_t start, int64_t n, int64_t row,
                       int64_t seq_len, struct order_batch *out)
{
    int64_t base = row * seq_len;
    token_file_read(f, start, (size_t)n, out->inputs + base);
    token_file_read(f, start + 1, (size_t)n, out->targets + base);
    if (reset == RESET_DOCUMENT)
        mark_first(f, start, n, out->first + base);
    out->predictions += n;
}

void order_set_memory(struct order *o, int64_t len)
{
    assert(len == 0 || o->kind == &order_stream);
    o->memory = len;
}

void order_place_memory(int32_t *first, int64_t seq_len, int64_t memory, int64_t seen)
{
    for (int64_t i = 0; i < seq_len; i++)
        first[i] = (int32_t)(first[i] > 0 ? memory + first[i] : memory - seen);
}

void order_permute(uint64_t *items, uint64_t n, uint64_t seed, int64_t epoch)
{
    char name[24];
    struct philox random;
    snprintf(name, sizeof name, "%lld", (long long)epoch);
    philox_init(&random, seed, "order", name);
    for (uint64_t i = 0; i < n; i++)
        items[i] = i;
    for (uint64_t i = n; i > 1; i--) { /* Fisher-Yates, as in Durstenfeld 1964 */
        uint64_t k = philox_below(&random, i), kept = items[i - 1];
        items[i - 1] = items[k];
        items[k] = kept;
    }
}

void order_fill(struct order *o, int64_t epoch, int64_t step_in_epoch, struct order_batch *out)
{
    assert(epoch >= 0 && step_in_epoch >= 0 && step_in_epoch < order_steps_per_epoch(o));
    if (o->epoch != epoch) {
        o->kind->begin_epoch(o, epoch);
        o->epoch = epoch;
    }
    order_clear(out, o->seq_len, o->batch);
    o->kind->fill(o, step_in_epoch, out);
}

int64_t order_split_range(const struct token_file *f, enum token_split split, uint64_t *start)
{
    *start = split == SPLIT_TRAIN ? 0 : f->header.train_count;
    return (int64_t)(split == SPLIT_TRAIN ? f->header.train_count : f->header.count - f->header.train_count);
}

int64_t order_count_windows(const struct order_windows *w, int64_t predictions)
{
    if (predictions <= w->seq_len)
        return predictions > 0;
    return 1 + (predictions - w->seq_len + w->stride - 1) / w->stride;
}

int64_t order_eval_steps(const struct token_file *f, const struct order_windows *w)
{
    uint64_t start;
    assert(w->stride >= 1 && w->stride <= w->seq_len);
    int64_t windows = order_count_windows(w, order_split_range(f, w->split, &start) - 1);
    return (windows + w->batch - 1) / w->batch;
}

void order_eval_fill(const struct token_file *f, const struct order_windows *w, enum spec_reset reset, int64_t step,
                     struct order_batch *out)
{
    uint64_t start;
    int64_t predictions = order_split_range(f, w->split, &start) - 1, windows = order_count_windows(w, predictions);
    assert(step >= 0 && step < order_eval_steps(f, w));
    order_clear(out, w->seq_len, w->batch);
    for (int64_t row = 0; row < w->batch && step * w->batch + row < windows; row++) {
        int64_t window = step * w->batch + row, at = window * w->stride;
        int64_t n = predictions - at < w->seq_len ? predictions - at : w->seq_len;
        int64_t seen = window > 0 ? w->seq_len - w->stride : 0; /* counted by windows before */
        order_fill_window(f, reset, start + (uint64_t)at, n, row, w->seq_len, out);
        for (int64_t i = 0; i < seen; i++)
            out->targets[row * w->seq_len + i] = -1;
        out->predictions -= seen;
        out->rows = row + 1;
    }
}
