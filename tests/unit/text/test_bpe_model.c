/* test_bpe_model.c: a tokenizer.json that says anything else than what is supported is refused in one line that names
 * the place; one that is damaged anywhere never does harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/path.h"
#include "text/bpe_model.h"
#include "text/byte_alphabet.h"
#include "text/vocabulary.h"
#include "tokenizer_fixture.h"

static char *small(const char *name, size_t *size)
{
    char path[PATH_SIZE], *text;
    fixture_path(path, sizeof path, name);
    assert_int_equal(file_read_all(path, 1 << 20, &text, size, NULL), 0);
    return text;
}

/* Puts a value (JSON text) at a path as "model.merges[0]"; NULL takes away what is there. */
static void edit(cJSON *root, const char *path, const char *value)
{
    char copy[128], *step = copy;
    cJSON *at = root, *parsed = value ? cJSON_Parse(value) : NULL;
    snprintf(copy, sizeof copy, "%s", path);
    assert_true(!value || parsed);
    for (;;) {
        char *end = step + strcspn(step + 1, ".[") + 1, mark = *end;
        *end = '\0';
        int index = *step == '[' ? atoi(step + 1) : -1;
        const char *key = *step == '.' ? step + 1 : step;
        if (mark) {
            at = index >= 0 ? cJSON_GetArrayItem(at, index) : cJSON_GetObjectItemCaseSensitive(at, key);
            assert_non_null(at);
            *end = mark;
            step = end;
            continue;
        }
        if (index >= 0)
            cJSON_ReplaceItemInArray(at, index, parsed);
        else
            cJSON_DeleteItemFromObjectCaseSensitive(at, key);
        if (index < 0 && parsed)
            cJSON_AddItemToObject(at, key, parsed);
        return;
    }
}

static int read_edited(const char *path, const char *value, struct bpe_model **m, struct err *err)
{
    size_t size;
    char *text = small("small_gpt2.json", &size);
    cJSON *root = cJSON_Parse(text);
    assert_non_null(root);
    edit(root, path, value);
    free(text);
    text = json_print(root, false);
    cJSON_Delete(root);
    int rc = bpe_model_read("t.json", text, strlen(text), m, err);
    free(text);
    return rc;
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *path, *value, *words;
    } cases[] = {
        {"model", NULL, "t.json: no \"model\""},
        {"version", "\"2.0\"", "t.json: version: \"1.0\" is needed"},
        {"extra", "1", "t.json: extra: is not known"},
        {"ex\ntra", "1", "t.json: ex?tra: is not known"},
        {"truncation", "{\"max_length\":512}", "truncation: null is needed"},
        {"padding", "{}", "padding: null is needed"},
        {"normalizer", "{\"type\":\"NFKC\"}", "normalizer: NFKC is not supported; null and NFC are"},
        {"normalizer", "{\"type\":\"NFC\",\"more\":1}", "normalizer.more: is not known"},
        {"pre_tokenizer", "null", "pre_tokenizer: null is not supported"},
        {"pre_tokenizer", "{\"type\":\"Metaspace\"}", "pre_tokenizer: Metaspace is not supported; ByteLevel"},
        {"pre_tokenizer.use_regex", "false", "pre_tokenizer.use_regex: false"},
        {"pre_tokenizer.add_prefix_space", NULL, "pre_tokenizer: add_prefix_space is missing"},
        {"pre_tokenizer.add_prefix_space", "1", "pre_tokenizer.add_prefix_space: true or false"},
        {"pre_tokenizer", "{\"type\":\"Sequence\",\"pretokenizers\":[]}", "pre_tokenizer.pretokenizers: Split, then"},
        {"pre_tokenizer",
         "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":"
         "\"Isolated\","
         "\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}",
         "pretokenizers[0].pattern.Regex: an expression that this version does not know; it knows those of GPT-2, "
         "GPT-4"},
        {"pre_tokenizer",
         "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":"
         "\"Removed\"},"
         "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}",
         "pretokenizers[0].behavior: Isolated"},
        {"post_processor", "{\"type\":\"BertProcessing\"}", "post_processor: BertProcessing is not supported"},
        {"decoder", "null", "decoder: null is not supported; ByteLevel is"},
        {"model", "[]", "model: an object"},
        {"model.type", "\"Unigram\"", "model.type: Unigram is not supported; BPE is"},
        {"model.type", "3", "model.type: no string"},
        {"model.dropout", "0.1", "model.dropout: null or 0"},
        {"model.end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix: null or \"\""},
        {"model.more", "1", "model.more: is not known"},
        {"model.ignore_merges", "null", "model.ignore_merges: true or false"},
        {"model.vocab", "[]", "model.vocab: an object"},
        {"model.vocab.!", NULL, "model.vocab: no token for the byte 0x21 (\"!\")"},
        {"model.vocab.!", "-1", "model.vocab: the token \"!\" needs an id from 0 to 16777215"},
        {"model.vocab.!", "1.5", "needs an id"},
        {"model.vocab.!", "16777216", "needs an id"},
        {"model.vocab.!", "3", "which another one has"},
        {"model.merges", "{}", "model.merges: an array"},
        {"model.merges[3]", "\"a\"", "model.merges[3]: two tokens are needed"},
        {"model.merges[3]", "\"a b c\"", "model.merges[3]: two tokens"},
        {"model.merges[3]", "[\"a\"]", "model.merges[3]: two tokens"},
        {"model.merges[3]", "[\"a\",1]", "model.merges[3]: two tokens"},
        {"model.merges[3]", "\"~ ~\"", "model.merges[3]: \"~\", \"~\" or the two joined is not in model.vocab"},
        {"added_tokens", "{}", "added_tokens: an array"},
        {"added_tokens[0].content", "\"\"", "added_tokens[0]: \"content\" is needed"},
        {"added_tokens[0].id", "7", "added_tokens[0]: \"<|endoftext|>\" has the id 7, its place gives it"},
        {"added_tokens[0].content", "\"!\"", "added_tokens[0]: \"!\" has the id"},
        {"added_tokens[0].lstrip", "true", "added_tokens[0].lstrip: true (of \"<|endoftext|>\") is not supported"},
        {"added_tokens[0].rstrip", "true", "added_tokens[0].rstrip: true"},
        {"added_tokens[0].single_word", "true", "added_tokens[0].single_word: true"},
        {"added_tokens[0].normalized", NULL, "added_tokens[0].normalized: is missing"},
        {"added_tokens[0].more", "1", "added_tokens[0].more: is not known"},
        {"added_tokens[0].content", "\"<end of text>\"", "white space behind another character"},
        {"added_tokens[0].content", "\"a\\nb\"", "white space behind another character"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bpe_model *m = NULL;
        struct err err = {0};
        int rc = read_edited(cases[i].path, cases[i].value, &m, &err);
        if (rc != -ERR_INVALID || !strstr(err.message, cases[i].words) || strchr(err.message, '\n'))
            fail_msg("%s = %s: %d, %s", cases[i].path, cases[i].value ? cases[i].value : "absent", rc, err.message);
        assert_null(m);
    }
}

static void test_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *path, *value;
    } cases[] = {
        {"version", "\"1.0\""},
        {"model.type", NULL},
        {"model.dropout", "0"},
        {"model.continuing_subword_prefix", "null"},
        {"model.unk_token", "\"<unk>\""}, /* every byte is known, so it is never used */
        {"post_processor", "null"},
        {"post_processor",
         "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},{\"type\":\"TemplateProcessing\"}]}"},
        {"added_tokens", NULL},
        {"added_tokens", "[]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bpe_model *m = NULL;
        struct err err = {0};
        if (read_edited(cases[i].path, cases[i].value, &m, &err))
            fail_msg("%s: %s", cases[i].path, err.message);
        bpe_model_destroy(m);
    }
}

/* Cut at any byte, or with any byte another one: refused in one line or taken, never a fault. */
static void test_damage(void **state)
{
    (void)state;
    size_t size;
    char *text = small("small_nfc.json", &size);
    for (size_t i = 0; i < size - 2; i += 7) { /* the last two are } and the end of the line */
        struct bpe_model *m = NULL;
        struct err err = {0};
        assert_int_equal(bpe_model_read("t.json", text, i, &m, &err), -ERR_INVALID);
        assert_true(strncmp(err.message, "t.json", 6) == 0 && !strchr(err.message, '\n'));
        text[i] ^= 1 << i % 7;
        if (bpe_model_read("t.json", text, size, &m, &err) == 0)
            bpe_model_destroy(m);
        text[i] ^= 1 << i % 7;
    }
    free(text);
}

static void test_byte_alphabet(void **state)
{
    (void)state;
    unsigned char all[256], back[512];
    char text[512];
    size_t size = 0;
    for (int i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    size_t written = byte_alphabet_encode(all, sizeof all, text);
    assert_true(byte_alphabet_decode(text, written, back, &size));
    assert_int_equal(size, 256);
    assert_memory_equal(all, back, 256);
    /* U+0100 is byte 0, a space U+0120, DEL U+0121, U+00AD U+0143 */
    assert_int_equal(byte_alphabet_encode((const unsigned char *)"\0 a\x7f\xad\xff", 6, text), 11);
    assert_memory_equal(text,
                        "\xc4\x80\xc4\xa0"
                        "a\xc4\xa1\xc5\x83\xc3\xbf",
                        11);
    assert_false(byte_alphabet_decode("a b", 3, back, &size));
    assert_false(byte_alphabet_decode("\xc5\x84", 2, back, &size));     /* U+0144 */
    assert_false(byte_alphabet_decode("\xc2\xad", 2, back, &size));     /* U+00AD */
    assert_false(byte_alphabet_decode("\xe4\xbd\xa0", 3, back, &size)); /* longer than any of it */
    assert_int_equal(size, 256);
}

static void test_vocabulary(void **state)
{
    (void)state;
    struct vocabulary *v = vocabulary_create();
    char text[16];
    size_t size;
    for (int32_t i = 0; i < 5000; i++) {
        snprintf(text, sizeof text, "t%d", i);
        assert_true(vocabulary_add(v, text, strlen(text), i * 3));
    }
    assert_false(vocabulary_add(v, "t7", 2, 1));  /* the text is there */
    assert_false(vocabulary_add(v, "new", 3, 6)); /* the id is */
    assert_false(vocabulary_add(v, "new", 3, -1));
    assert_true(vocabulary_add(v, "", 0, 4));
    assert_int_equal(vocabulary_find(v, "", 0), 4);
    assert_int_equal(vocabulary_find(v, "new", 3), -1);
    assert_int_equal(vocabulary_count(v), 5001);
    assert_int_equal(vocabulary_end(v), 4999 * 3 + 1);
    for (int32_t i = 0; i < 5000; i++) {
        snprintf(text, sizeof text, "t%d", i);
        assert_int_equal(vocabulary_find(v, text, strlen(text)), i * 3);
        assert_string_equal(vocabulary_text(v, i * 3, &size), text);
    }
    assert_null(vocabulary_text(v, 1, &size));
    assert_null(vocabulary_text(v, 15000, &size));
    vocabulary_destroy(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_accepted),   cmocka_unit_test(test_damage),
        cmocka_unit_test(test_byte_alphabet), cmocka_unit_test(test_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
