/* bpe_model.c: what a model is made of, and the bytes of its tokens; the file is read in bpe_model_read.c. */
#include "text/bpe_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/bpe_model_parts.h"
#include "text/byte_alphabet.h"
#include "text/split_pattern.h"
#include "text/vocabulary.h"

int bpe_model_load(const char *path, struct bpe_model **out, struct err *err)
{
    char *json;
    size_t size;
    int rc = file_read_all(path, BPE_FILE_LIMIT, &json, &size, err);
    if (rc)
        return rc;
    rc = bpe_model_read(path, json, size, out, err);
    free(json);
    return rc;
}

void bpe_model_destroy(struct bpe_model *m)
{
    if (!m)
        return;
    free(m->json);
    vocabulary_destroy(m->vocabulary);
    free(m->added);
    bpe_destroy(m->merges);
    added_tokens_destroy(m->exact);
    added_tokens_destroy(m->normalized);
    free(m->texts);
    free(m->text_starts);
    free(m);
}

/* A text that is not of the byte alphabet as a whole stands for itself, as Hugging Face's decoder takes it. */
void bpe_model_set_texts(struct bpe_model *m)
{
    size_t total = 0, size;
    int32_t end = vocabulary_end(m->vocabulary);
    for (int32_t id = 0; id < end; id++)
        if (vocabulary_text(m->vocabulary, id, &size))
            total += size;
    m->texts = malloc(total + 1);
    m->text_starts = calloc((size_t)end + 1, sizeof *m->text_starts);
    if (!m->texts || !m->text_starts)
        abort();
    size_t used = 0;
    for (int32_t id = 0; id < end; id++) {
        const char *text = vocabulary_text(m->vocabulary, id, &size);
        m->text_starts[id] = used;
        if (!text)
            continue;
        if (m->added[id] || !byte_alphabet_decode(text, size, m->texts + used, &size))
            memcpy(m->texts + used, text, size);
        used += size;
    }
    m->text_starts[end] = used;
}

bool bpe_model_cuts_at_newline(const struct bpe_model *m)
{
    return m->pattern->newline_ends_word && !m->add_prefix_space;
}

const unsigned char *bpe_model_text(const struct bpe_model *m, int32_t id, size_t *size)
{
    *size = m->text_starts[id + 1] - m->text_starts[id];
    return m->texts + m->text_starts[id];
}
