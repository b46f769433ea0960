/* bpe_model_vocabulary.c: model.vocab, model.merges and added_tokens of a tokenizer.json. */
#include "text/bpe_model_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/byte_alphabet.h"
#include "text/nfc.h"
#include "text/text_cut.h"
#include "text/vocabulary.h"

static bool read_id(const cJSON *item, int32_t *id)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble < BPE_ID_LIMIT) ||
        item->valuedouble != floor(item->valuedouble))
        return false;
    *id = (int32_t)item->valuedouble;
    return true;
}

static int read_model_settings(const struct bpe_reader *r, const cJSON *model)
{
    static const char *const keys[] = {"type",
                                       "dropout",
                                       "unk_token",
                                       "continuing_subword_prefix",
                                       "end_of_word_suffix",
                                       "fuse_unk",
                                       "byte_fallback",
                                       "ignore_merges",
                                       "vocab",
                                       "merges",
                                       NULL};
    if (!cJSON_IsObject(model))
        return bpe_refuse(r, "model", "an object is needed");
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(model, "type");
    if (type && (!cJSON_IsString(type) || strcmp(type->valuestring, "BPE") != 0))
        return bpe_refuse(r, "model.type", "%.60s is not supported; BPE is",
                          cJSON_IsString(type) ? type->valuestring : "no string");
    int rc = bpe_check_keys(r, model, "model", keys);
    const cJSON *dropout = cJSON_GetObjectItemCaseSensitive(model, "dropout");
    if (!rc && dropout && !cJSON_IsNull(dropout) && !(cJSON_IsNumber(dropout) && dropout->valuedouble == 0))
        rc = bpe_refuse(r, "model.dropout", "null or 0 is needed: a text has the same tokens each time");
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; !rc && i < 2; i++) {
        const cJSON *affix = cJSON_GetObjectItemCaseSensitive(model, affixes[i]);
        char path[64];
        snprintf(path, sizeof path, "model.%s", affixes[i]);
        if (affix && !cJSON_IsNull(affix) && !(cJSON_IsString(affix) && !*affix->valuestring))
            rc = bpe_refuse(r, path, "null or \"\" is needed: byte-level tokenizers have none");
    }
    return rc ? rc : bpe_read_bool(r, model, "model", "ignore_merges", &r->model->ignore_merges);
}

static int read_vocab(const struct bpe_reader *r, const cJSON *vocab)
{
    const cJSON *item;
    if (!cJSON_IsObject(vocab))
        return bpe_refuse(r, "model.vocab", "an object of tokens and their ids is needed");
    cJSON_ArrayForEach(item, vocab) {
        int32_t id;
        if (!read_id(item, &id))
            return bpe_refuse(r, "model.vocab", "the token \"%.80s\" needs an id from 0 to %d", item->string,
                              BPE_ID_LIMIT - 1);
        if (!vocabulary_add(r->model->vocabulary, item->string, strlen(item->string), id))
            return bpe_refuse(r, "model.vocab", "the token \"%.80s\" has the id %d, which another one has",
                              item->string, id);
    }
    return 0;
}

/* These bytes stand in no UTF-8; vocabularies that were trained on text lack some of them. */
static bool is_in_utf8(unsigned byte)
{
    return byte != 0xc0 && byte != 0xc1 && byte < 0xf5;
}

static int read_bytes(const struct bpe_reader *r, int32_t ids[256])
{
    for (unsigned b = 0; b < 256; b++) {
        unsigned char byte = (unsigned char)b;
        char text[2];
        size_t size = byte_alphabet_encode(&byte, 1, text);
        ids[b] = vocabulary_find(r->model->vocabulary, text, size);
        if (ids[b] < 0 && is_in_utf8(b))
            return bpe_refuse(r, "model.vocab", "no token for the byte 0x%02x (\"%.*s\"): text with it has no tokens",
                              b, (int)size, text);
    }
    return 0;
}

/* "left right" or ["left","right"]. False: neither. */
static bool merge_parts(const cJSON *item, const char **left, size_t *left_size, const char **right)
{
    if (cJSON_IsString(item)) {
        const char *space = strchr(item->valuestring, ' ');
        if (!space || strchr(space + 1, ' '))
            return false;
        *left = item->valuestring;
        *left_size = (size_t)(space - item->valuestring);
        *right = space + 1;
        return true;
    }
    if (!cJSON_IsArray(item))
        return false;
    *left = cJSON_GetStringValue(cJSON_GetArrayItem(item, 0));
    *right = cJSON_GetStringValue(cJSON_GetArrayItem(item, 1));
    if (!*left || !*right || cJSON_GetArraySize(item) != 2)
        return false;
    *left_size = strlen(*left);
    return true;
}

static int read_merge(const struct bpe_reader *r, const cJSON *item, uint32_t rank)
{
    const struct vocabulary *v = r->model->vocabulary;
    const char *left, *right;
    size_t left_size;
    char path[48];
    snprintf(path, sizeof path, "model.merges[%u]", rank);
    if (!merge_parts(item, &left, &left_size, &right))
        return bpe_refuse(r, path, "two tokens are needed, as \"a b\" or [\"a\",\"b\"]");
    size_t right_size = strlen(right);
    char *whole = malloc(left_size + right_size + 1);
    if (!whole)
        abort();
    memcpy(whole, left, left_size);
    memcpy(whole + left_size, right, right_size);
    int32_t left_id = vocabulary_find(v, left, left_size), right_id = vocabulary_find(v, right, right_size);
    int32_t merged = vocabulary_find(v, whole, left_size + right_size);
    free(whole);
    if (left_id < 0 || right_id < 0 || merged < 0)
        return bpe_refuse(r, path, "\"%.*s\", \"%.80s\" or the two joined is not in model.vocab",
                          (int)(left_size < 80 ? left_size : 80), left, right);
    bpe_add_merge(r->model->merges, left_id, right_id, rank, merged);
    return 0;
}

static int read_merges(const struct bpe_reader *r, const cJSON *merges)
{
    int32_t byte_ids[256];
    if (!cJSON_IsArray(merges))
        return bpe_refuse(r, "model.merges", "an array is needed");
    int rc = read_bytes(r, byte_ids);
    if (rc)
        return rc;
    r->model->merges = bpe_create(byte_ids, (size_t)cJSON_GetArraySize(merges));
    uint32_t rank = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, merges) {
        rc = read_merge(r, item, rank++);
        if (rc)
            return rc;
    }
    return 0;
}

static bool has_safe_cut(const struct bpe_model *m, const char *text, size_t size)
{
    for (size_t at = 1; at < size; at++)
        if (text_cut_is_safe((const unsigned char *)text, at, bpe_model_cuts_at_newline(m)))
            return true;
    return false;
}

static int check_added(const struct bpe_reader *r, const cJSON *item, const char *path, bool *normalized)
{
    static const char *const keys[] = {"id",     "content",    "single_word", "lstrip",
                                       "rstrip", "normalized", "special",     NULL};
    static const struct {
        const char *key;
        bool supported;
    } flags[] = {{"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"special", true}, {"normalized", true}};
    const cJSON *content = cJSON_GetObjectItemCaseSensitive(item, "content");
    if (!cJSON_IsString(content) || !*content->valuestring)
        return bpe_refuse(r, path, "\"content\" is needed, a text that is not empty");
    int rc = bpe_check_keys(r, item, path, keys);
    for (size_t i = 0; !rc && i < sizeof flags / sizeof *flags; i++) {
        char where[64];
        snprintf(where, sizeof where, "%s.%s", path, flags[i].key);
        if (!cJSON_HasObjectItem(item, flags[i].key))
            return bpe_refuse(r, where, "is missing");
        *normalized = false;
        rc = bpe_read_bool(r, item, path, flags[i].key, normalized);
        if (!rc && *normalized && !flags[i].supported)
            rc = bpe_refuse(r, where, "true (of \"%.60s\") is not supported", content->valuestring);
    }
    if (!rc && has_safe_cut(r->model, content->valuestring, strlen(content->valuestring)))
        rc = bpe_refuse(r, path, "\"%.60s\": white space behind another character is not supported in a token",
                        content->valuestring);
    return rc;
}

/* Takes the token into the automaton that looks for it. */
static int look_for(const struct bpe_reader *r, const char *content, size_t size, int32_t id, bool normalized)
{
    struct bpe_model *m = r->model;
    const unsigned char *text = (const unsigned char *)content;
    struct nfc_buffer buffer = {0};
    int rc = normalized && m->nfc ? nfc_normalize(&buffer, text, size, &text, &size, r->err) : 0;
    if (!rc)
        added_tokens_add(normalized ? m->normalized : m->exact, text, size, id);
    nfc_finish(&buffer);
    return rc;
}

/* The field's own library ignores the file's ids: a token of model.vocab has its id from there, another one the next
 * that is free. A file that says otherwise would mean two things. */
static int read_added_token(const struct bpe_reader *r, const cJSON *item, int index, int32_t *next_id)
{
    struct bpe_model *m = r->model;
    char path[48];
    int32_t id;
    bool normalized;
    snprintf(path, sizeof path, "added_tokens[%d]", index);
    int rc = check_added(r, item, path, &normalized);
    if (rc)
        return rc;
    if (!read_id(cJSON_GetObjectItemCaseSensitive(item, "id"), &id))
        return bpe_refuse(r, path, "\"id\" is needed, from 0 to %d", BPE_ID_LIMIT - 1);
    const char *content = cJSON_GetObjectItemCaseSensitive(item, "content")->valuestring;
    size_t size = strlen(content);
    int32_t known = vocabulary_find(m->vocabulary, content, size);
    if (id != (known >= 0 ? known : *next_id))
        return bpe_refuse(r, path, "\"%.60s\" has the id %d, its place gives it %d", content, id,
                          known >= 0 ? known : *next_id);
    if (known < 0 && !vocabulary_add(m->vocabulary, content, size, id))
        return bpe_refuse(r, path, "the id %d is that of another token", id);
    m->added[id] = m->added[id] || known < 0;
    if (id >= *next_id)
        *next_id = id + 1;
    return look_for(r, content, size, id, normalized);
}

static int32_t find_added(const struct bpe_model *m, const char *text)
{
    const struct added_tokens *const both[] = {m->exact, m->normalized};
    size_t size = strlen(text), begin, end;
    for (size_t i = 0; i < 2; i++) {
        int32_t id;
        if (added_tokens_next(both[i], (const unsigned char *)text, size, 0, &begin, &end, &id) && begin == 0 &&
            end == size)
            return id;
    }
    return -1;
}

/* tokenizer.json does not say which token it is. */
static int32_t find_end_of_text(const struct bpe_model *m)
{
    static const char *const names[] = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"};
    int32_t id = -1;
    for (size_t i = 0; id < 0 && i < sizeof names / sizeof *names; i++)
        id = find_added(m, names[i]);
    return id;
}

static int read_added_tokens(const struct bpe_reader *r, const cJSON *list)
{
    struct bpe_model *m = r->model;
    if (list && !cJSON_IsArray(list))
        return bpe_refuse(r, "added_tokens", "an array is needed");
    m->exact = added_tokens_create();
    m->normalized = added_tokens_create();
    /* An added token's id is at most that of model.vocab's last token, or one more for each added token. */
    m->added = calloc((size_t)vocabulary_end(m->vocabulary) + (size_t)cJSON_GetArraySize(list) + 1, sizeof *m->added);
    if (!m->added)
        abort();
    int32_t next_id = vocabulary_count(m->vocabulary);
    int index = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        int rc = read_added_token(r, item, index++, &next_id);
        if (rc)
            return rc;
    }
    m->end_of_text = find_end_of_text(m);
    return 0;
}

int bpe_read_vocabulary(const struct bpe_reader *r, const cJSON *root)
{
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(root, "model");
    r->model->vocabulary = vocabulary_create();
    int rc = read_model_settings(r, model);
    if (!rc)
        rc = read_vocab(r, cJSON_GetObjectItemCaseSensitive(model, "vocab"));
    if (!rc)
        rc = read_merges(r, cJSON_GetObjectItemCaseSensitive(model, "merges"));
    return rc ? rc : read_added_tokens(r, cJSON_GetObjectItemCaseSensitive(root, "added_tokens"));
}
