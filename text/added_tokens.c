/* added_tokens.c: a trie over bytes; node 0 is its root. */
#include "text/added_tokens.h"

#include <stdlib.h>
#include <string.h>

struct node {
    int32_t id;        /* of the token that ends here; -1: none */
    int32_t next[256]; /* 0: none */
};

struct added_tokens {
    struct node *nodes;
    int32_t count, capacity;
};

static int32_t add_node(struct added_tokens *a)
{
    if (a->count == a->capacity) {
        a->capacity = a->capacity ? a->capacity * 2 : 32;
        a->nodes = reallocarray(a->nodes, (size_t)a->capacity, sizeof *a->nodes);
        if (!a->nodes)
            abort();
    }
    a->nodes[a->count] = (struct node){.id = -1};
    return a->count++;
}

struct added_tokens *added_tokens_create(void)
{
    struct added_tokens *a = calloc(1, sizeof *a);
    if (!a)
        abort();
    add_node(a);
    return a;
}

void added_tokens_destroy(struct added_tokens *a)
{
    if (!a)
        return;
    free(a->nodes);
    free(a);
}

void added_tokens_add(struct added_tokens *a, const unsigned char *text, size_t size, int32_t id)
{
    int32_t at = 0;
    for (size_t i = 0; i < size; i++) {
        int32_t next = a->nodes[at].next[text[i]];
        if (!next) {
            next = add_node(a);
            a->nodes[at].next[text[i]] = next;
        }
        at = next;
    }
    if (a->nodes[at].id < 0)
        a->nodes[at].id = id;
}

bool added_tokens_next(const struct added_tokens *a, const unsigned char *text, size_t size, size_t start,
                       size_t *begin, size_t *end, int32_t *id)
{
    for (size_t i = a->count > 1 ? start : size; i < size; i++) {
        size_t longest = 0;
        const struct node *node = a->nodes;
        for (size_t k = i; k < size && node->next[text[k]];) {
            node = &a->nodes[node->next[text[k++]]];
            if (node->id >= 0) {
                longest = k;
                *id = node->id;
            }
        }
        if (longest) {
            *begin = i;
            *end = longest;
            return true;
        }
    }
    *begin = *end = size;
    return false;
}
