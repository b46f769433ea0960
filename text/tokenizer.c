/* tokenizer.c: the registry; see tokenizer.h. */
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

const struct tokenizer_type *const tokenizers[] = {
    &tokenizer_bytes,
    NULL,
};

struct tokenizer {
    const struct tokenizer_type *type;
    void *state;
    uint64_t vocab;
};

static int unknown(const char *argument, struct err *err)
{
    char allowed[256] = "";
    for (int i = 0; tokenizers[i]; i++) {
        size_t used = strlen(allowed);
        snprintf(allowed + used, sizeof allowed - used, "%s%s", i ? ", " : "", tokenizers[i]->name);
    }
    size_t n = strlen(argument);
    if (n >= 5 && strcmp(argument + n - 5, ".json") == 0)
        return err_set(err, ERR_INVALID, "%.200s: tokenizer.json files are not supported by this version; allowed: %s",
                       argument, allowed);
    return err_set(err, ERR_INVALID, "unknown tokenizer \"%.80s\"; allowed: %s", argument, allowed);
}

int tokenizer_open(const char *argument, struct tokenizer **out, struct err *err)
{
    for (int i = 0; tokenizers[i]; i++) {
        if (!tokenizers[i]->accepts(argument))
            continue;
        struct tokenizer *t = calloc(1, sizeof *t);
        if (!t)
            abort();
        t->type = tokenizers[i];
        int rc = t->type->open(argument, &t->state, &t->vocab, err);
        if (rc) {
            free(t);
            return rc;
        }
        *out = t;
        return 0;
    }
    return unknown(argument, err);
}

const char *tokenizer_name(const struct tokenizer *t)
{
    return t->type->name;
}

uint64_t tokenizer_vocab(const struct tokenizer *t)
{
    return t->vocab;
}

int tokenizer_feed(struct tokenizer *t, const unsigned char *text, size_t size, tokenizer_sink *sink, void *arg,
                   struct err *err)
{
    return t->type->feed(t->state, text, size, sink, arg, err);
}

int tokenizer_end_document(struct tokenizer *t, tokenizer_sink *sink, void *arg, struct err *err)
{
    return t->type->end_document(t->state, sink, arg, err);
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    t->type->close(t->state);
    free(t);
}
