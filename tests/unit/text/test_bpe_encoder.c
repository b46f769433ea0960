/* test_bpe_encoder.c: ids as the field's own library gives them (fixtures by make_tokenizer_fixtures.py), and the same
 * ids however a text is cut, fed, and spread over threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "base/philox.h"
#include "base/sha256.h"
#include "text/bpe.h"
#include "text/bpe_encoder.h"
#include "text/bpe_model.h"
#include "text/nfc.h"
#include "text/split_pattern.h"
#include "text/text_cut.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"
#include "tokenizer_fixture.h"

struct opened {
    struct bpe_model *model;
    struct bpe_encoder *encoder;
    struct bpe_ids ids;
    uint64_t text_bytes;
};

static void open_model(const char *path, struct opened *o)
{
    struct err err = {0};
    *o = (struct opened){0};
    if (bpe_model_load(path, &o->model, &err) || bpe_encoder_create(o->model, &o->encoder, &err))
        fail_msg("%s", err.message);
}

static void close_model(struct opened *o)
{
    free(o->ids.ids);
    bpe_encoder_destroy(o->encoder);
    bpe_model_destroy(o->model);
}

static void encode(struct opened *o, const unsigned char *text, size_t size)
{
    struct err err = {0};
    if (bpe_encoder_encode(o->encoder, text, size, &o->ids, &o->text_bytes, &err))
        fail_msg("%s", err.message);
}

static void encode_anew(struct opened *o, const unsigned char *text, size_t size)
{
    o->ids.count = o->text_bytes = 0;
    encode(o, text, size);
}

static void check_ids(const struct opened *o, const unsigned char *text, const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count && i < o->ids.count; i++)
        if (o->ids.ids[i] != ids[i])
            fail_msg("\"%.80s\": id %zu is %d, %d is right", text, i, o->ids.ids[i], ids[i]);
    if (o->ids.count != count)
        fail_msg("\"%.80s\": %zu ids, %zu are right", text, o->ids.count, count);
}

/* decode(encode(x)) == NFC(x), and the bytes that were counted. Prefix spaces are in the way of it. */
static void check_decoded(struct opened *o, const unsigned char *text, size_t size)
{
    struct nfc_buffer buffer = {0};
    size_t n = bpe_decode(o->model, o->ids.ids, o->ids.count, NULL, 0);
    unsigned char *decoded = malloc(n + 1);
    assert_non_null(decoded);
    assert_int_equal(bpe_decode(o->model, o->ids.ids, o->ids.count, decoded, n), n);
    assert_int_equal(n, o->text_bytes);
    if (!o->model->add_prefix_space) {
        if (o->model->nfc)
            assert_int_equal(nfc_normalize(&buffer, text, size, &text, &size, NULL), 0);
        assert_int_equal(n, size);
        assert_memory_equal(decoded, text, n);
    }
    free(decoded);
    nfc_finish(&buffer);
}

static void check_cases(struct opened *o, const struct fixture *f)
{
    for (int round = 0; round < 2; round++) /* the second from the cache */
        for (size_t i = 0; i < f->case_count; i++) {
            const struct fixture_case *c = &f->cases[i];
            encode_anew(o, c->text, c->size);
            check_ids(o, c->text, c->ids, c->count);
            if (!strstr((const char *)c->text, "e\xcc\x81\xcc\x81")) /* an added token that is not in NFC itself */
                check_decoded(o, c->text, c->size);
        }
}

static void open_small(const char *name, struct opened *o, struct fixture *f)
{
    char file[80], path[PATH_SIZE];
    snprintf(file, sizeof file, "%s.json", name);
    fixture_path(path, sizeof path, file);
    open_model(path, o);
    snprintf(file, sizeof file, "%s.ids.json", name);
    fixture_path(path, sizeof path, file);
    fixture_load(path, f);
}

static void test_small(void **state)
{
    (void)state;
    for (int i = 0; small_tokenizers[i]; i++) {
        struct opened o;
        struct fixture f;
        open_small(small_tokenizers[i], &o, &f);
        check_cases(&o, &f);
        fixture_finish(&f);
        close_model(&o);
    }
}

static void check_file(struct opened *o, const cJSON *entry)
{
    char path[PATH_SIZE], *text, digest[SHA256_HEX_SIZE];
    size_t size, head = (size_t)cJSON_GetObjectItem(entry, "head")->valueint, count;
    assert_true(shared_path(path, sizeof path, cJSON_GetObjectItem(entry, "path")->valuestring));
    assert_int_equal(file_read_all(path, 1 << 28, &text, &size, NULL), 0);
    assert_int_equal(size, cJSON_GetObjectItem(entry, "size")->valueint);
    int32_t *ids = fixture_ids(cJSON_GetObjectItem(entry, "head_ids"), &count);
    encode_anew(o, (unsigned char *)text, head);
    check_ids(o, (unsigned char *)text, ids, count);
    encode_anew(o, (unsigned char *)text, size);
    assert_int_equal(o->ids.count, cJSON_GetObjectItem(entry, "count")->valueint);
    sha256_hex(o->ids.ids, o->ids.count * sizeof *o->ids.ids, digest);
    assert_string_equal(digest, cJSON_GetObjectItem(entry, "sha256")->valuestring);
    check_decoded(o, (unsigned char *)text, size);
    free(ids);
    free(text);
}

static void test_neox(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    if (!shared_path(path, sizeof path, "tokenizers/20B_tokenizer.json"))
        skip();
    struct opened o;
    struct fixture f;
    open_model(path, &o);
    fixture_path(path, sizeof path, "20B_tokenizer.ids.json");
    fixture_load(path, &f);
    assert_string_equal(o.model->sha256, cJSON_GetObjectItem(f.json, "sha256")->valuestring);
    assert_int_equal(vocabulary_end(o.model->vocabulary), 50277);
    assert_int_equal(o.model->end_of_text, 0);
    check_cases(&o, &f);
    const cJSON *entry;
    cJSON_ArrayForEach(entry, cJSON_GetObjectItem(f.json, "files"))
        check_file(&o, entry);
    fixture_finish(&f);
    close_model(&o);
}

/* Odd texts one behind the other, at random, about `size` bytes. */
static unsigned char *mix(const struct fixture *f, struct philox *random, size_t size, size_t *out_size)
{
    unsigned char *text = malloc(size + (1 << 16));
    assert_non_null(text);
    size_t used = 0;
    while (used < size) {
        const struct fixture_case *c = &f->cases[philox_below(random, f->case_count)];
        memcpy(text + used, c->text, c->size);
        used += c->size;
        if (philox_below(random, 2))
            text[used++] = philox_below(random, 2) ? ' ' : '\n';
    }
    *out_size = used;
    return text;
}

/* Every safe cut there is, in texts of all odd ones: the two sides give the whole. */
static void test_cuts(void **state)
{
    (void)state;
    struct philox random;
    philox_init(&random, 2, "test", "text");
    for (int i = 0; small_tokenizers[i]; i++) {
        struct opened o;
        struct fixture f;
        size_t cuts = 0;
        open_small(small_tokenizers[i], &o, &f);
        for (int round = 0; round < 12; round++) {
            size_t size;
            unsigned char *text = mix(&f, &random, 600, &size);
            encode_anew(&o, text, size);
            struct bpe_ids whole = o.ids;
            o.ids = (struct bpe_ids){0};
            for (size_t at = 1; at < size; at++) {
                if (!text_cut_is_safe(text, at, bpe_model_cuts_at_newline(o.model)))
                    continue;
                encode_anew(&o, text, at);
                encode(&o, text + at, size - at);
                check_ids(&o, text + at, whole.ids, whole.count);
                cuts++;
            }
            free(whole.ids);
            free(text);
        }
        assert_true(cuts > 300);
        fixture_finish(&f);
        close_model(&o);
    }
}

struct stream {
    struct bpe_ids ids;
    size_t documents[64], count;
    uint64_t text_bytes;
};

static int collect(void *arg, const int32_t *ids, size_t n, uint64_t text_bytes, bool last, struct err *err)
{
    struct stream *s = arg;
    (void)err;
    if (n > s->ids.capacity - s->ids.count) {
        s->ids.capacity = (s->ids.count + n) * 2;
        s->ids.ids = realloc(s->ids.ids, s->ids.capacity * sizeof *ids);
        assert_non_null(s->ids.ids);
    }
    if (n)
        memcpy(s->ids.ids + s->ids.count, ids, n * sizeof *ids);
    s->ids.count += n;
    s->text_bytes += text_bytes;
    if (last)
        s->documents[s->count++] = s->ids.count;
    return 0;
}

/* Some long documents, many short ones, empty ones: as streams over threads and in one piece. */
static void test_streams(void **state)
{
    (void)state;
    static const size_t sizes[] = {1500000, 10,    0,     0,     700,   400000, 3000, 262144,
                                   0,       50000, 50000, 50000, 50000, 50000,  1};
    struct philox random;
    philox_init(&random, 3, "test", "text");
    for (int i = 0; small_tokenizers[i]; i++) {
        char file[80], path[PATH_SIZE];
        struct opened o;
        struct fixture f;
        struct stream s = {0}, whole = {0};
        struct tokenizer *t;
        struct err err = {0};
        open_small(small_tokenizers[i], &o, &f);
        snprintf(file, sizeof file, "%s.json", small_tokenizers[i]);
        fixture_path(path, sizeof path, file);
        assert_int_equal(tokenizer_open(path, 1 + i % 4, &t, &err), 0);
        for (size_t d = 0; d < sizeof sizes / sizeof *sizes; d++) {
            size_t size;
            unsigned char *text = mix(&f, &random, sizes[d], &size);
            encode_anew(&o, text, size);
            collect(&whole, o.ids.ids, o.ids.count, o.text_bytes, true, NULL);
            for (size_t at = 0, n; at < size; at += n) {
                n = 1 + philox_below(&random, d == 0 ? 300000 : 5000);
                n = n < size - at ? n : size - at;
                assert_int_equal(tokenizer_feed(t, text + at, n, collect, &s, &err), 0);
            }
            assert_int_equal(tokenizer_end_document(t, collect, &s, &err), 0);
            if (d == 6)
                assert_int_equal(tokenizer_flush(t, collect, &s, &err), 0);
            free(text);
        }
        assert_int_equal(tokenizer_flush(t, collect, &s, &err), 0);
        assert_int_equal(s.count, sizeof sizes / sizeof *sizes);
        assert_memory_equal(s.documents, whole.documents, sizeof s.documents);
        assert_memory_equal(s.ids.ids, whole.ids.ids, whole.ids.count * sizeof *s.ids.ids);
        assert_int_equal(s.text_bytes, whole.text_bytes);
        tokenizer_close(t);
        free(s.ids.ids);
        free(whole.ids.ids);
        fixture_finish(&f);
        close_model(&o);
    }
}

/* A text that cannot be cut is an error, not all of the memory; closing with work under way is fine. */
static void test_no_place_to_cut(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    static unsigned char text[1 << 20];
    struct tokenizer *t;
    struct err err = {0};
    struct stream s = {0};
    int rc = 0;
    memset(text, 'x', sizeof text);
    fixture_path(path, sizeof path, "small_gpt2.json");
    assert_int_equal(tokenizer_open(path, 2, &t, &err), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(tokenizer_feed(t, text, sizeof text, collect, &s, &err), 0);
    assert_int_equal(tokenizer_feed(t, (const unsigned char *)" y", 2, collect, &s, &err), 0);
    for (int i = 0; i < 40 && !rc; i++)
        rc = tokenizer_feed(t, text, sizeof text, collect, &s, &err);
    assert_int_equal(rc, -ERR_TOO_LARGE);
    assert_non_null(strstr(err.message, "16 MiB of text without a space or a newline"));
    tokenizer_close(t);
    free(s.ids.ids);
}

/* What PCRE2 would call white space and Unicode does not: U+180E is a word with the mark behind it. */
static void test_white_space(void **state)
{
    (void)state;
    const struct split_pattern *p;
    for (size_t i = 0; (p = split_pattern_at(i)); i++) {
        struct splitter *s;
        size_t end;
        assert_int_equal(splitter_create(p, &s, NULL), 0);
        assert_int_equal(splitter_next(s, (const unsigned char *)"\xe1\xa0\x8e!", 4, 0, &end, NULL), 0);
        assert_int_equal(end, 4);
        assert_int_equal(splitter_next(s, (const unsigned char *)"\xe3\x80\x80!", 4, 0, &end, NULL), 0);
        assert_int_equal(end, 3); /* U+3000 is */
        splitter_destroy(s);
    }
}

/* The definition, told plainly. */
static size_t merge_plainly(const int32_t (*merges)[3], int32_t count, const unsigned char *word, size_t size,
                            int32_t *out)
{
    for (size_t i = 0; i < size; i++)
        out[i] = word[i];
    for (int32_t rank = 0; rank < count;) {
        size_t at = 0;
        while (at + 1 < size && (out[at] != merges[rank][0] || out[at + 1] != merges[rank][1]))
            at++;
        if (at + 1 >= size) {
            rank++;
            continue;
        }
        out[at] = merges[rank][2];
        memmove(out + at + 1, out + at + 2, (--size - at - 1) * sizeof *out);
        rank = 0;
    }
    return size;
}

/* Random merges, also such as training would not give, on words of all lengths. */
static void test_merges(void **state)
{
    (void)state;
    enum { MERGES = 40 };
    struct philox random;
    philox_init(&random, 4, "test", "text");
    struct bpe_scratch *scratch = bpe_scratch_create();
    for (int round = 0; round < 300; round++) {
        int32_t byte_ids[256], merges[MERGES][3], plain[200], ids[200];
        for (int i = 0; i < 256; i++)
            byte_ids[i] = i;
        struct bpe *b = bpe_create(byte_ids, MERGES);
        for (int32_t i = 0; i < MERGES; i++) {
            for (bool again = true; again;) {
                again = false;
                for (int k = 0; k < 2; k++)
                    merges[i][k] = (int32_t)(philox_below(&random, 2) && i ? 256 + philox_below(&random, MERGES)
                                                                           : 'a' + philox_below(&random, 3));
                for (int32_t j = 0; j < i; j++)
                    again = again || memcmp(merges[j], merges[i], 8) == 0;
            }
            merges[i][2] = 256 + i;
            bpe_add_merge(b, merges[i][0], merges[i][1], (uint32_t)i, 256 + i);
        }
        for (int k = 0; k < 40; k++) {
            unsigned char word[200];
            size_t size = philox_below(&random, k < 20 ? 30 : sizeof word);
            for (size_t i = 0; i < size; i++)
                word[i] = (unsigned char)('a' + philox_below(&random, 3));
            size_t n = bpe_encode(b, scratch, word, size, ids);
            assert_int_equal(n, merge_plainly((const int32_t(*)[3])merges, MERGES, word, size, plain));
            assert_memory_equal(ids, plain, n * sizeof *ids);
        }
        bpe_destroy(b);
    }
    bpe_scratch_destroy(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_neox),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_no_place_to_cut),
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_white_space),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
