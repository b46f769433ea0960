/* sample_text.c: see sample_text.h. */
#include "cli/sample_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cjson/cJSON.h>
#include "base/err.h"
#include "cli/output.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

struct sample_text {
    struct token_texts texts;
    uint64_t vocab;
    int32_t end_of_text;
    int64_t id;          /* of the line that is being read; -1: none yet */
    int64_t taken, line; /* ids so far; of them, in the lines since they began anew */
    bool json;
    FILE *text; /* json: all of it */
    char *bytes;
    size_t size;
    cJSON *ids;
};

struct sample_text *sample_text_create(const struct tokenizer *t, bool json)
{
    const struct tokenizer_about *about = tokenizer_about(t);
    struct sample_text *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->texts = tokenizer_texts(t);
    s->vocab = about->vocab;
    s->end_of_text = about->end_of_text;
    s->id = -1;
    s->json = json;
    s->text = open_memstream(&s->bytes, &s->size);
    s->ids = cJSON_CreateArray();
    if (!s->text)
        abort();
    return s;
}

void sample_text_destroy(struct sample_text *s)
{
    if (!s)
        return;
    fclose(s->text);
    free(s->bytes);
    cJSON_Delete(s->ids);
    free(s);
}

static int take_id(struct sample_text *s, struct err *err)
{
    if (s->id < 0 || (uint64_t)s->id >= s->vocab)
        return err_set(err, ERR_INTERNAL, "baka-worker gave an id outside the vocabulary of %" PRIu64, s->vocab);
    int64_t id = s->id;
    s->id = -1;
    if (s->line++ < s->taken)
        return 0;
    s->taken++;
    size_t size = 0;
    const unsigned char *text = s->texts.text(s->texts.state, (int32_t)id, &size);
    if (id == s->end_of_text)
        size = 0;
    if (s->json)
        cJSON_AddItemToArray(s->ids, cJSON_CreateNumber((double)id));
    if (s->json)
        fwrite(text, 1, size, s->text);
    else if (output_is_terminal(stdout)) /* which a text must not drive */
        output_text(stdout, (const char *)text, size);
    else
        fwrite(text, 1, size, stdout);
    return 0;
}

int sample_text_add(void *arg, const char *bytes, size_t size, struct err *err)
{
    struct sample_text *s = arg;
    int rc = 0;
    for (size_t i = 0; i < size && rc == 0; i++) {
        if (bytes[i] == '\n')
            rc = take_id(s, err);
        else if (bytes[i] < '0' || bytes[i] > '9' || s->id > INT32_MAX)
            rc = err_set(err, ERR_INTERNAL, "baka-worker gave something else than ids");
        else
            s->id = (s->id < 0 ? 0 : 10 * s->id) + (bytes[i] - '0');
    }
    fflush(stdout);
    return rc;
}

void sample_text_again(struct sample_text *s)
{
    s->id = -1;
    s->line = 0;
}

/* Bytes of the character at the beginning of a text; 0 where there is none that JSON could carry. */
static size_t character_size(const char *text, size_t size)
{
    for (size_t n = 1; n <= 4 && n <= size && text[0]; n++) {
        struct utf8_check check = {0};
        if (utf8_check_feed(&check, (const unsigned char *)text, n) && utf8_check_end(&check))
            return n;
    }
    return 0;
}

/* A model may write what is no UTF-8: U+FFFD in JSON, for each byte. */
static char *json_text(const char *text, size_t size)
{
    char *out = NULL;
    size_t out_size;
    FILE *f = open_memstream(&out, &out_size);
    if (!f)
        abort();
    for (size_t i = 0; i < size;) {
        size_t n = character_size(text + i, size - i);
        if (n)
            fwrite(text + i, 1, n, f);
        else
            fputs("\xef\xbf\xbd", f);
        i += n ? n : 1;
    }
    fclose(f);
    return out;
}

bool sample_text_is_shown(const struct sample_text *s)
{
    return !s->json && s->taken > 0;
}

void sample_text_end(struct sample_text *s, const char *prompt)
{
    if (!s->json) {
        putchar('\n');
        return;
    }
    fflush(s->text);
    char *valid = json_text(s->bytes, s->size);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "prompt", prompt);
    cJSON_AddStringToObject(o, "text", valid);
    cJSON_AddItemToObject(o, "ids", s->ids);
    s->ids = NULL;
    output_json(stdout, o);
    cJSON_Delete(o);
    free(valid);
}
