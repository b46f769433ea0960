/* tokenizer.c: the registry; see tokenizer.h. */
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

const struct tokenizer_type *const tokenizers[] = {
    &tokenizer_bytes,
    &tokenizer_bpe,
    NULL,
};

struct tokenizer {
    const struct tokenizer_type *type;
    void *state;
    struct tokenizer_about about;
};

static int find_type(const char *argument, const struct tokenizer_type **out, struct err *err)
{
    char allowed[256] = "";
    for (int i = 0; tokenizers[i]; i++) {
        if (tokenizers[i]->accepts(argument)) {
            *out = tokenizers[i];
            return 0;
        }
        size_t used = strlen(allowed);
        snprintf(allowed + used, sizeof allowed - used, "%s%s", i ? ", " : "", tokenizers[i]->argument);
    }
    return err_set(err, ERR_INVALID, "unknown tokenizer \"%.80s\"; allowed: %s", argument, allowed);
}

int tokenizer_check(const char *argument, struct err *err)
{
    const struct tokenizer_type *type;
    return find_type(argument, &type, err);
}

int tokenizer_open(const char *argument, int threads, struct tokenizer **out, struct err *err)
{
    const struct tokenizer_type *type;
    int rc = find_type(argument, &type, err);
    if (rc)
        return rc;
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->type = type;
    t->about.end_of_text = -1;
    rc = type->open(argument, threads, &t->state, &t->about, err);
    if (rc) {
        free(t);
        return rc;
    }
    *out = t;
    return 0;
}

const struct tokenizer_about *tokenizer_about(const struct tokenizer *t)
{
    return &t->about;
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

int tokenizer_flush(struct tokenizer *t, tokenizer_sink *sink, void *arg, struct err *err)
{
    return t->type->flush(t->state, sink, arg, err);
}

struct token_texts tokenizer_texts(const struct tokenizer *t)
{
    return (struct token_texts){.state = t->state, .text = t->type->text};
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    t->type->close(t->state);
    free(t);
}
