/* token_measure.c: each token's text is looked at once; then a token costs one look into a table. */
#include "text/token_measure.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { PIECE = 1 << 12, FORGET_TOKENS = 1 << 22 };

struct weight {
    uint32_t bytes;
    uint32_t inner_words : 30; /* words that begin behind the first byte */
    uint32_t begins_word : 1;  /* the first byte is no white space */
    uint32_t ends_in_space : 1;
};

static bool is_space(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct weight weigh(const unsigned char *text, size_t size)
{
    struct weight w = {.bytes = (uint32_t)size};
    if (size == 0)
        return w;
    w.begins_word = !is_space(text[0]);
    w.ends_in_space = is_space(text[size - 1]);
    for (size_t i = 1; i < size; i++)
        w.inner_words += is_space(text[i - 1]) && !is_space(text[i]);
    return w;
}

static struct weight *weigh_all(uint64_t vocab, const struct token_texts *texts)
{
    struct weight *all = calloc(vocab, sizeof *all);
    if (!all)
        abort();
    for (uint64_t id = 0; id < vocab; id++) {
        size_t size;
        const unsigned char *text = texts->text(texts->state, (int32_t)id, &size);
        all[id] = weigh(text, size);
    }
    return all;
}

/* The pages behind us: a file larger than memory passes through, and the process stays small. Ids begin at a page. */
static void forget(const struct token_file *f, uint64_t end)
{
    char *begin = (char *)(uintptr_t)f->ids + (end - FORGET_TOKENS) * f->header.id_bytes;
    (void)madvise(begin, (size_t)FORGET_TOKENS * f->header.id_bytes, MADV_DONTNEED);
}

void token_measure(const struct token_file *f, const struct token_texts *texts, bool marked,
                   struct token_measure out[2])
{
    const struct token_file_header *h = &f->header;
    struct weight *weights = weigh_all(h->vocab, texts);
    struct token_measure sums[2] = {{0}};
    uint64_t document = 0, document_end = 0; /* of those that have begun */
    bool in_word = false;
    int32_t ids[PIECE];
    for (uint64_t start = 0; start < h->count; start += PIECE) {
        size_t n = h->count - start < PIECE ? (size_t)(h->count - start) : PIECE;
        if (start && start % FORGET_TOKENS == 0)
            forget(f, start);
        token_file_read(f, start, n, ids);
        for (size_t i = 0; i < n; i++) {
            uint64_t at = start + i;
            if (at == document_end) {
                document_end = ++document < h->document_count ? f->documents[document] : h->count;
                in_word = false;
            }
            const struct weight *w = &weights[ids[i]];
            if (w->bytes == 0 || (marked && at + 1 == document_end))
                continue;
            struct token_measure *sum = &sums[at >= h->train_count];
            sum->bytes += w->bytes;
            sum->words += w->inner_words + (w->begins_word && !in_word);
            in_word = !w->ends_in_space;
        }
    }
    free(weights);
    out[SPLIT_TRAIN] = sums[0];
    out[SPLIT_VAL] = sums[1];
}
