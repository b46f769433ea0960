/* fuzz_tokenizer.c: any bytes as a tokenizer.json, and any text behind them. What is refused must say why on one line;
 * what is taken must give back the text it was given, normalized, whole and cut at every safe place.
 *
 * An input is the file, a byte 0, and the text; without a byte 0 there is no text. The seeds lack most of the bytes a
 * vocabulary needs, so they are filled in: else no mutation would keep all 243.
 *
 * fuzz-sources: base/err.c base/file.c base/json.c base/spare.c base/json_check.c base/path.c base/sha256.c
 * fuzz-sources: text/added_tokens.c text/bpe*.c text/byte_alphabet.c text/nfc.c text/split_pattern.c text/text_cut.c
 * fuzz-sources: text/utf8.c text/vocabulary.c
 * fuzz-libs: -lcjson -lcrypto -lpcre2-8 -lutf8proc -lm
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "text/bpe_encoder.h"
#include "text/bpe_model.h"
#include "text/byte_alphabet.h"
#include "text/text_cut.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

/* The file with the byte tokens that its vocabulary lacks, ids from 1000 on. NULL: it is no such file. */
static char *complete(const char *json, size_t size)
{
    const struct json_limits limits = {.max_bytes = 1 << 16, .max_depth = 32};
    cJSON *root;
    if (json_parse(json, size, &limits, "t", &root, NULL))
        return NULL;
    cJSON *vocab = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, "model"), "vocab");
    for (int b = 0; b < 256 && cJSON_IsObject(vocab); b++) {
        unsigned char byte = (unsigned char)b;
        char key[3] = {0};
        byte_alphabet_encode(&byte, 1, key);
        if (!cJSON_GetObjectItemCaseSensitive(vocab, key))
            cJSON_AddNumberToObject(vocab, key, 1000 + b);
    }
    char *text = json_print(root, false);
    cJSON_Delete(root);
    return text;
}

static void check_text(const struct bpe_model *m, const unsigned char *text, size_t size)
{
    struct utf8_check check = {0};
    if (!utf8_check_feed(&check, text, size) || !utf8_check_end(&check))
        return;
    struct bpe_encoder *e;
    struct bpe_ids whole = {0}, cut = {0};
    uint64_t bytes = 0, ignored = 0;
    require(bpe_encoder_create(m, &e, NULL) == 0);
    require(bpe_encoder_encode(e, text, size, &whole, &bytes, NULL) == 0);
    unsigned char *decoded = malloc(bytes + 1);
    require(decoded && bpe_decode(m, whole.ids, whole.count, decoded, bytes) == bytes);
    for (size_t at = 1; at < size; at++) {
        if (!text_cut_is_safe(text, at, bpe_model_cuts_at_newline(m)))
            continue;
        cut.count = 0;
        require(bpe_encoder_encode(e, text, at, &cut, &ignored, NULL) == 0);
        require(bpe_encoder_encode(e, text + at, size - at, &cut, &ignored, NULL) == 0);
        require(cut.count == whole.count && memcmp(cut.ids, whole.ids, cut.count * sizeof *cut.ids) == 0);
    }
    if (!m->add_prefix_space && !m->nfc)
        require(bytes == size && memcmp(decoded, text, size) == 0);
    free(decoded);
    free(whole.ids);
    free(cut.ids);
    bpe_encoder_destroy(e);
}

static void check_file(const char *json, size_t size, const unsigned char *text, size_t text_size)
{
    struct bpe_model *m = NULL;
    struct err err = {0};
    int rc = bpe_model_read("t", json, size, &m, &err);
    require(rc == 0 || (err.code == (enum err_code) - rc && err.message[0] && !strchr(err.message, '\n') && !m));
    if (rc)
        return;
    check_text(m, text, text_size);
    bpe_model_destroy(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t file = end ? (size_t)(end - data) : size, text = end ? size - file - 1 : 0;
    const uint8_t *begin = end ? end + 1 : data;
    check_file((const char *)data, file, begin, text);
    char *completed = complete((const char *)data, file);
    if (completed)
        check_file(completed, strlen(completed), begin, text);
    free(completed);
    return 0;
}
