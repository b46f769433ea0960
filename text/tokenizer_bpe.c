/* tokenizer_bpe.c: a Hugging Face tokenizer.json (text/bpe_model.h) as a tokenizer of streams.
 *
 * The text is collected in pieces of PIECE_BYTES or a little more: whole documents, and parts of long ones cut where
 * that changes nothing (text/text_cut.h). Threads encode pieces; their ids are given to the sink in the order of the
 * text, by the caller's thread, so neither the number of threads nor the sizes in which text is fed can change them.
 *
 * A ring of pieces: [delivered, dispatched) are with the threads or done, `dispatched` is being filled, the rest is
 * free. Its size bounds the memory, except for text without any place to cut, which grows a piece up to PIECE_LIMIT and
 * is an error there. Closing abandons what was not taken yet.
 */
#include "text/tokenizer.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "text/bpe_encoder.h"
#include "text/bpe_model.h"
#include "text/split_pattern.h"
#include "text/text_cut.h"
#include "text/vocabulary.h"

enum { PIECE_BYTES = 1 << 18, PIECE_LIMIT = 16 << 20, SLICE_BYTES = 1 << 16, SEGMENTS_LIMIT = 1 << 12 };

struct segment { /* of one document */
    size_t text_end, ids_end;
    uint64_t text_bytes;
    bool ends; /* the document does, with it */
};

struct piece {
    unsigned char *text;
    size_t size, capacity;
    struct segment *segments;
    size_t segment_count, segment_capacity;
    struct bpe_ids ids;
    bool done; /* guarded by the lock */
    int rc;
    struct err err;
};

struct worker {
    struct bpe_tokenizer *tokenizer;
    struct bpe_encoder *encoder;
    pthread_t thread;
};

struct bpe_tokenizer {
    struct bpe_model *model;
    bool newline_cuts;
    struct piece *ring;
    size_t ring_size;
    size_t open_start; /* of the document that is being fed, in the piece that is being filled */
    size_t searched;   /* in that piece: no place to cut before */
    struct worker *workers;
    int worker_count;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    size_t delivered, taken, dispatched; /* the last two guarded by the lock */
    bool closing;                        /* guarded by the lock */
};

static struct piece *piece_at(const struct bpe_tokenizer *t, size_t number)
{
    return &t->ring[number % t->ring_size];
}

static void encode_piece(struct bpe_encoder *e, struct piece *p)
{
    size_t start = 0;
    for (size_t i = 0; i < p->segment_count && !p->rc; i++) {
        struct segment *s = &p->segments[i];
        p->rc = bpe_encoder_encode(e, p->text + start, s->text_end - start, &p->ids, &s->text_bytes, &p->err);
        s->ids_end = p->ids.count;
        start = s->text_end;
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct bpe_tokenizer *t = w->tokenizer;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (t->taken == t->dispatched && !t->closing)
            pthread_cond_wait(&t->work, &t->lock);
        if (t->closing)
            break;
        struct piece *p = piece_at(t, t->taken++);
        pthread_mutex_unlock(&t->lock);
        encode_piece(w->encoder, p);
        pthread_mutex_lock(&t->lock);
        p->done = true;
        pthread_cond_signal(&t->done);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

/* Waits for the oldest piece and gives its ids away; it is free then. */
static int deliver(struct bpe_tokenizer *t, tokenizer_sink *sink, void *arg, struct err *err)
{
    struct piece *p = piece_at(t, t->delivered);
    pthread_mutex_lock(&t->lock);
    while (!p->done)
        pthread_cond_wait(&t->done, &t->lock);
    pthread_mutex_unlock(&t->lock);
    int rc = p->rc;
    if (rc && err)
        *err = p->err;
    size_t start = 0;
    for (size_t i = 0; i < p->segment_count && !rc; i++) {
        const struct segment *s = &p->segments[i];
        rc = sink(arg, p->ids.ids + start, s->ids_end - start, s->text_bytes, s->ends, err);
        start = s->ids_end;
    }
    p->size = p->segment_count = p->ids.count = 0;
    p->done = false;
    t->delivered++;
    return rc;
}

static void append_text(struct piece *p, const unsigned char *text, size_t size)
{
    if (size == 0)
        return;
    if (size > p->capacity - p->size) {
        p->capacity = p->capacity ? p->capacity : PIECE_BYTES + SLICE_BYTES;
        while (p->capacity < p->size + size)
            p->capacity *= 2;
        p->text = realloc(p->text, p->capacity);
        if (!p->text)
            abort();
    }
    memcpy(p->text + p->size, text, size);
    p->size += size;
}

static void append_segment(struct piece *p, struct segment s)
{
    if (p->segment_count == p->segment_capacity) {
        p->segment_capacity = p->segment_capacity ? p->segment_capacity * 2 : 16;
        p->segments = reallocarray(p->segments, p->segment_capacity, sizeof *p->segments);
        if (!p->segments)
            abort();
    }
    p->segments[p->segment_count++] = s;
}

/* Hands the piece up to `end` to the threads; what is behind it, text of the open document, begins the next one. */
static int dispatch(struct bpe_tokenizer *t, size_t end, tokenizer_sink *sink, void *arg, struct err *err)
{
    struct piece *p = piece_at(t, t->dispatched), *next = piece_at(t, t->dispatched + 1);
    if (t->dispatched + 1 - t->delivered == t->ring_size) {
        int rc = deliver(t, sink, arg, err);
        if (rc)
            return rc;
    }
    if (end > t->open_start)
        append_segment(p, (struct segment){.text_end = end});
    append_text(next, p->text + end, p->size - end);
    p->size = end;
    t->open_start = t->searched = 0;
    pthread_mutex_lock(&t->lock);
    t->dispatched++;
    pthread_cond_signal(&t->work);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

/* The piece is long enough: where can it be cut? */
static int dispatch_full(struct bpe_tokenizer *t, tokenizer_sink *sink, void *arg, struct err *err)
{
    const struct piece *p = piece_at(t, t->dispatched);
    size_t from = t->searched > t->open_start ? t->searched : t->open_start + 1;
    size_t cut = text_cut_last(p->text, from, p->size, t->newline_cuts);
    if (!cut && t->open_start)
        cut = t->open_start;
    if (cut)
        return dispatch(t, cut, sink, arg, err);
    t->searched = p->size;
    if (p->size >= PIECE_LIMIT)
        return err_set(err, ERR_TOO_LARGE, "%d MiB of text without a space%s: no place to cut it at", PIECE_LIMIT >> 20,
                       t->newline_cuts ? " or a newline" : "");
    return 0;
}

static bool bpe_accepts(const char *argument)
{
    size_t n = strlen(argument);
    return n >= 5 && strcmp(argument + n - 5, ".json") == 0;
}

static void bpe_close(void *state)
{
    struct bpe_tokenizer *t = state;
    pthread_mutex_lock(&t->lock);
    t->closing = true;
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < t->worker_count; i++) {
        pthread_join(t->workers[i].thread, NULL);
        bpe_encoder_destroy(t->workers[i].encoder);
    }
    for (size_t i = 0; i < t->ring_size; i++) {
        free(t->ring[i].text);
        free(t->ring[i].segments);
        free(t->ring[i].ids.ids);
    }
    pthread_cond_destroy(&t->work);
    pthread_cond_destroy(&t->done);
    pthread_mutex_destroy(&t->lock);
    bpe_model_destroy(t->model);
    free(t->workers);
    free(t->ring);
    free(t);
}

/* Signals are for the caller's thread. */
static int start_workers(struct bpe_tokenizer *t, int threads, struct err *err)
{
    sigset_t all, before;
    int rc = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (!rc && t->worker_count < threads) {
        struct worker *w = &t->workers[t->worker_count];
        w->tokenizer = t;
        rc = bpe_encoder_create(t->model, &w->encoder, err);
        int errnum = rc ? 0 : pthread_create(&w->thread, NULL, work, w);
        if (errnum) {
            bpe_encoder_destroy(w->encoder);
            rc = err_set_errno(err, errnum, "cannot start a thread");
        }
        t->worker_count += !rc;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static int bpe_open(const char *argument, int threads, void **state, struct tokenizer_about *about, struct err *err)
{
    struct bpe_model *model;
    int rc = bpe_model_load(argument, &model, err);
    if (rc)
        return rc;
    struct bpe_tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->model = model;
    t->newline_cuts = bpe_model_cuts_at_newline(model);
    t->ring_size = (size_t)threads + 2; /* one that is filled, one that waits */
    t->ring = calloc(t->ring_size, sizeof *t->ring);
    t->workers = calloc((size_t)threads, sizeof *t->workers);
    if (!t->ring || !t->workers)
        abort();
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->work, NULL);
    pthread_cond_init(&t->done, NULL);
    rc = start_workers(t, threads, err);
    if (rc) {
        bpe_close(t);
        return rc;
    }
    snprintf(about->name, sizeof about->name, "bpe:%.16s", model->sha256);
    about->vocab = (uint64_t)vocabulary_end(model->vocabulary);
    about->utf8 = true;
    about->end_of_text = model->end_of_text;
    about->file = model->json;
    about->file_size = model->json_size;
    about->file_sha256 = model->sha256;
    *state = t;
    return 0;
}

static int bpe_feed(void *state, const unsigned char *text, size_t size, tokenizer_sink *sink, void *arg,
                    struct err *err)
{
    struct bpe_tokenizer *t = state;
    int rc = 0;
    while (size && !rc) {
        struct piece *p = piece_at(t, t->dispatched);
        size_t n = size < SLICE_BYTES ? size : SLICE_BYTES;
        append_text(p, text, n);
        text += n;
        size -= n;
        if (p->size >= PIECE_BYTES)
            rc = dispatch_full(t, sink, arg, err);
    }
    return rc;
}

static int bpe_end_document(void *state, tokenizer_sink *sink, void *arg, struct err *err)
{
    struct bpe_tokenizer *t = state;
    struct piece *p = piece_at(t, t->dispatched);
    append_segment(p, (struct segment){.text_end = p->size, .ends = true});
    t->open_start = p->size;
    if (p->size >= PIECE_BYTES || p->segment_count >= SEGMENTS_LIMIT)
        return dispatch(t, p->size, sink, arg, err);
    return 0;
}

static int bpe_flush(void *state, tokenizer_sink *sink, void *arg, struct err *err)
{
    struct bpe_tokenizer *t = state;
    const struct piece *p = piece_at(t, t->dispatched);
    int rc = p->segment_count ? dispatch(t, p->size, sink, arg, err) : 0;
    while (!rc && t->delivered < t->dispatched)
        rc = deliver(t, sink, arg, err);
    return rc;
}

static const unsigned char *bpe_text(const void *state, int32_t id, size_t *size)
{
    const struct bpe_tokenizer *t = state;
    return bpe_model_text(t->model, id, size);
}

const struct tokenizer_type tokenizer_bpe = {
    .argument = "FILE.json",
    .accepts = bpe_accepts,
    .open = bpe_open,
    .feed = bpe_feed,
    .end_document = bpe_end_document,
    .flush = bpe_flush,
    .text = bpe_text,
    .close = bpe_close,
};
