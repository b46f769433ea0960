/* bpe.c: short words scan their pairs for the lowest rank at each merge, which is fastest when all lie in two cache
 * lines; long ones keep candidates in a heap, so that a word of n bytes costs n log n. Both give the same ids: the next
 * merge is the minimum of (rank, position) over the pairs there are. */
#include "text/bpe.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "text/hash.h"

enum { SHORT_WORD = 24 };

static const uint32_t no_rank = UINT32_MAX;

struct merge {
    int32_t left, right, merged; /* left -1: free */
    uint32_t rank;
};

struct bpe {
    int32_t byte_ids[256];
    struct merge *table;
    size_t mask;
};

struct symbol {
    int32_t id, previous, next; /* indices; -1: none. id -1: it became part of the symbol before */
};

struct candidate {
    uint32_t rank;
    int32_t at, left, right; /* the pair when it was found; stale if the symbols are others by now */
};

struct bpe_scratch {
    struct symbol *symbols;
    size_t symbol_capacity;
    struct candidate *heap;
    size_t heap_size, heap_capacity;
};

static void *take(size_t count, size_t size)
{
    void *p = calloc(count, size);
    if (!p)
        abort();
    return p;
}

static void *resize(void *old, size_t count, size_t size)
{
    void *p = reallocarray(old, count, size);
    if (!p)
        abort();
    return p;
}

struct bpe *bpe_create(const int32_t byte_ids[256], size_t merges)
{
    struct bpe *b = take(1, sizeof *b);
    memcpy(b->byte_ids, byte_ids, sizeof b->byte_ids);
    size_t slots = 16;
    while (slots < 2 * merges)
        slots *= 2;
    b->table = take(slots, sizeof *b->table);
    b->mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        b->table[i].left = -1;
    return b;
}

void bpe_destroy(struct bpe *b)
{
    if (!b)
        return;
    free(b->table);
    free(b);
}

/* The pair's merge, or the free place where it belongs. */
static struct merge *find(const struct bpe *b, int32_t left, int32_t right)
{
    size_t slot = hash_u64((uint64_t)(uint32_t)left << 32 | (uint32_t)right) & b->mask;
    while (b->table[slot].left >= 0 && (b->table[slot].left != left || b->table[slot].right != right))
        slot = (slot + 1) & b->mask;
    return &b->table[slot];
}

void bpe_add_merge(struct bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t merged)
{
    *find(b, left, right) = (struct merge){.left = left, .right = right, .merged = merged, .rank = rank};
}

struct bpe_scratch *bpe_scratch_create(void)
{
    return take(1, sizeof(struct bpe_scratch));
}

void bpe_scratch_destroy(struct bpe_scratch *s)
{
    if (!s)
        return;
    free(s->symbols);
    free(s->heap);
    free(s);
}

static uint32_t rank_of(const struct bpe *b, int32_t left, int32_t right)
{
    const struct merge *m = find(b, left, right);
    return m->left < 0 ? no_rank : m->rank;
}

static size_t encode_short(const struct bpe *b, const unsigned char *word, size_t size, int32_t *out)
{
    uint32_t ranks[SHORT_WORD]; /* of the pair (i, i + 1) */
    for (size_t i = 0; i < size; i++)
        out[i] = b->byte_ids[word[i]];
    for (size_t i = 0; i + 1 < size; i++)
        ranks[i] = rank_of(b, out[i], out[i + 1]);
    while (size > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < size; i++)
            if (ranks[i] < ranks[best])
                best = i;
        if (ranks[best] == no_rank)
            break;
        out[best] = find(b, out[best], out[best + 1])->merged;
        size--;
        for (size_t i = best + 1; i < size; i++)
            out[i] = out[i + 1];
        for (size_t i = best; i + 1 < size; i++)
            ranks[i] = ranks[i + 1];
        if (best + 1 < size)
            ranks[best] = rank_of(b, out[best], out[best + 1]);
        if (best)
            ranks[best - 1] = rank_of(b, out[best - 1], out[best]);
    }
    return size;
}

static bool before(const struct candidate *a, const struct candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void push(struct bpe_scratch *s, struct candidate c)
{
    if (s->heap_size == s->heap_capacity) {
        s->heap_capacity = s->heap_capacity ? s->heap_capacity * 2 : 256;
        s->heap = resize(s->heap, s->heap_capacity, sizeof *s->heap);
    }
    size_t i = s->heap_size++;
    for (; i && before(&c, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = c;
}

static struct candidate pop(struct bpe_scratch *s)
{
    struct candidate top = s->heap[0], last = s->heap[--s->heap_size];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->heap_size; i = child) {
        if (child + 1 < s->heap_size && before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!before(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = last;
    return top;
}

static void push_pair(const struct bpe *b, struct bpe_scratch *s, int32_t at)
{
    if (at < 0 || s->symbols[at].next < 0)
        return;
    int32_t left = s->symbols[at].id, right = s->symbols[s->symbols[at].next].id;
    uint32_t rank = rank_of(b, left, right);
    if (rank != no_rank)
        push(s, (struct candidate){.rank = rank, .at = at, .left = left, .right = right});
}

static size_t encode_long(const struct bpe *b, struct bpe_scratch *s, const unsigned char *word, size_t size,
                          int32_t *out)
{
    if (size > s->symbol_capacity) {
        s->symbol_capacity = size * 2;
        s->symbols = resize(s->symbols, s->symbol_capacity, sizeof *s->symbols);
    }
    struct symbol *y = s->symbols;
    for (size_t i = 0; i < size; i++)
        y[i] = (struct symbol){b->byte_ids[word[i]], (int32_t)i - 1, i + 1 < size ? (int32_t)i + 1 : -1};
    s->heap_size = 0;
    for (size_t i = 0; i < size; i++)
        push_pair(b, s, (int32_t)i);
    while (s->heap_size) {
        struct candidate c = pop(s);
        int32_t next = y[c.at].next;
        if (y[c.at].id != c.left || next < 0 || y[next].id != c.right)
            continue;
        y[c.at].id = find(b, c.left, c.right)->merged;
        y[c.at].next = y[next].next;
        y[next].id = -1;
        if (y[next].next >= 0)
            y[y[next].next].previous = c.at;
        push_pair(b, s, y[c.at].previous);
        push_pair(b, s, c.at);
    }
    size_t n = 0;
    for (int32_t i = 0; i >= 0; i = y[i].next)
        out[n++] = y[i].id;
    return n;
}

size_t bpe_encode(const struct bpe *b, struct bpe_scratch *s, const unsigned char *word, size_t size, int32_t *out)
{
    if (size <= SHORT_WORD)
        return size ? encode_short(b, word, size, out) : 0;
    return encode_long(b, s, word, size, out);
}
