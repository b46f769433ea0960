/* test_token_file.c: what the writer writes the reader reads; what is damaged is refused, whichever byte it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "text/token_file.h"

static char home[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(home, sizeof home, "/tmp/baka-text-XXXXXX");
    return mkdtemp(home) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(home, NULL);
}

static int in_home(const char *name)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/data/%s", home, name);
    return access(path, F_OK) == 0;
}

static struct share share(const char *text)
{
    struct share out;
    assert_int_equal(share_parse(text, &out, NULL), 0);
    return out;
}

/* Documents of 5, 0 and 7 tokens, ids spread over the vocabulary. */
static void write_text(const char *name, uint64_t vocab, const char *val, struct token_file_header *out)
{
    struct token_writer *w = NULL;
    struct err err = {0};
    assert_int_equal(token_writer_create(home, name, "test", vocab, 0, &w, &err), 0);
    int32_t ids[12];
    for (int i = 0; i < 12; i++)
        ids[i] = (int32_t)(((uint64_t)i * 7919u) % vocab);
    ids[11] = (int32_t)(vocab - 1);
    assert_int_equal(token_writer_begin_document(w, &err), 0);
    assert_int_equal(token_writer_add(w, ids, 2, 4, &err), 0);
    assert_int_equal(token_writer_add(w, ids + 2, 3, 6, &err), 0);
    assert_int_equal(token_writer_begin_document(w, &err), 0);
    assert_int_equal(token_writer_add(w, ids, 0, 0, &err), 0);
    assert_int_equal(token_writer_begin_document(w, &err), 0);
    assert_false(in_home(name));
    assert_int_equal(token_writer_add(w, ids + 5, 7, 14, &err), 0);
    assert_int_equal(token_writer_finish(w, share(val), out, &err), 0);
    token_writer_destroy(w);
    assert_true(in_home(name));
}

static void test_round_trip(void **state)
{
    (void)state;
    static const uint64_t vocabularies[] = {3, 256, 257, 65536, 65537, 2000000000};
    for (size_t v = 0; v < sizeof vocabularies / sizeof *vocabularies; v++) {
        char name[16];
        struct token_file_header made;
        struct token_file f;
        struct err err = {0};
        snprintf(name, sizeof name, "t%zu", v);
        write_text(name, vocabularies[v], "0.25", &made);
        assert_int_equal(token_file_open(home, name, &f, &err), 0);
        assert_memory_equal(&made, &f.header, sizeof made);
        assert_int_equal(f.header.id_bytes, vocabularies[v] <= 256 ? 1 : vocabularies[v] <= 65536 ? 2 : 4);
        assert_int_equal(f.header.count, 12);
        assert_int_equal(f.header.train_count, 9);
        assert_int_equal(f.header.text_bytes, 24);
        assert_int_equal(f.header.document_count, 2);
        assert_int_equal(f.documents[0], 0);
        assert_int_equal(f.documents[1], 5);
        assert_string_equal(f.header.tokenizer, "test");
        int32_t ids[12];
        token_file_read(&f, 0, 12, ids);
        for (int i = 0; i < 11; i++)
            assert_int_equal(ids[i], ((uint64_t)i * 7919u) % vocabularies[v]);
        assert_int_equal(ids[11], vocabularies[v] - 1);
        int32_t part[3];
        token_file_read(&f, 7, 3, part);
        assert_memory_equal(part, ids + 7, sizeof part);
        assert_int_equal(token_file_verify(&f, &err), 0);
        token_file_close(&f);
        assert_null(f.map);
    }
}

/* A wrong byte anywhere is seen by open or by verify; a file that is cut anywhere, or longer, by open. */
static void test_every_byte_matters(void **state)
{
    (void)state;
    struct token_file_header made;
    write_text("w", 1000, "0.25", &made);
    char path[PATH_SIZE], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/data/w/tokens", home);
    assert_int_equal(file_read_all(path, 1 << 20, &text, &size, NULL), 0);
    assert_int_equal(size, 4096 + 24 + 16);
    size_t words = offsetof(struct token_file_header, words), header_end = words + 24;
    for (size_t i = 0; i < size; i++) {
        if ((i >= offsetof(struct token_file_header, hash) + 64 && i < words) || (i >= header_end && i < 4096))
            continue; /* padding: says nothing */
        struct token_file f;
        struct err err = {0};
        text[i] ^= 1;
        assert_int_equal(file_write_atomic(path, text, size, 0600, NULL), 0);
        text[i] ^= 1;
        int rc = token_file_open(home, "w", &f, &err);
        if (rc == 0) {
            rc = token_file_verify(&f, &err);
            token_file_close(&f);
        }
        assert_int_equal(rc, -ERR_DAMAGED);
        assert_true(*err.message && !strchr(err.message, '\n'));
    }
    char *longer = calloc(size + 1, 1);
    memcpy(longer, text, size);
    for (size_t n = 0; n <= size + 1; n += n < 4090 ? 409 : 1) {
        struct token_file f;
        struct err err = {0};
        if (n == size)
            continue;
        assert_int_equal(file_write_atomic(path, longer, n, 0600, NULL), 0);
        assert_int_equal(token_file_open(home, "w", &f, &err), -ERR_DAMAGED);
    }
    free(longer);
    free(text);
}

/* Headers whose numbers would overflow when multiplied. */
static void test_huge_counts(void **state)
{
    (void)state;
    struct token_file_header made;
    write_text("huge", 1000, "0", &made);
    char path[PATH_SIZE], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/data/huge/tokens", home);
    assert_int_equal(file_read_all(path, 1 << 20, &text, &size, NULL), 0);
    static const uint64_t counts[] = {0, UINT64_MAX, UINT64_MAX / 2 + 1, (uint64_t)1 << 63, ((uint64_t)1 << 63) + 12};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        for (int which = 0; which < 3; which++) {
            struct token_file_header h = made;
            struct token_file f;
            *(which == 0 ? &h.count : which == 1 ? &h.document_count : &h.vocab) = counts[i];
            memcpy(text, &h, sizeof h);
            assert_int_equal(file_write_atomic(path, text, size, 0600, NULL), 0);
            assert_int_equal(token_file_open(home, "huge", &f, NULL), -ERR_DAMAGED);
        }
    }
    free(text);
}

static void test_split(void **state)
{
    (void)state;
    struct token_writer *w = NULL;
    struct token_file_header h;
    struct err err = {0};
    int32_t ids[100] = {0};
    assert_int_equal(token_writer_create(home, "files", "test", 256, 0, &w, &err), 0);
    assert_int_equal(token_writer_add(w, ids, 60, 70, &err), 0);
    assert_int_equal(token_writer_begin_validation(w, &err), 0);
    assert_int_equal(token_writer_add(w, ids, 40, 41, &err), 0);
    assert_int_equal(token_writer_finish(w, share("0.5"), &h, &err), -ERR_INVALID);
    assert_int_equal(token_writer_finish(w, (struct share){0}, &h, &err), 0);
    token_writer_destroy(w);
    assert_int_equal(h.train_count, 60);
    assert_int_equal(h.train_text_bytes, 70);
    assert_int_equal(h.text_bytes, 111);
    assert_int_equal(h.document_count, 2);

    assert_int_equal(token_writer_create(home, "share", "test", 256, 0, &w, &err), 0);
    assert_int_equal(token_writer_add(w, ids, 99, 99, &err), 0);
    assert_int_equal(token_writer_finish(w, share("0.05"), &h, &err), 0);
    token_writer_destroy(w);
    assert_int_equal(h.count - h.train_count, 4);
    assert_int_equal(h.train_text_bytes, 0); /* not known */

    assert_int_equal(token_writer_create(home, "none", "test", 256, 0, &w, &err), 0);
    assert_int_equal(token_writer_finish(w, (struct share){0}, &h, &err), -ERR_INVALID);
    token_writer_destroy(w);
    assert_false(in_home("none"));
    assert_false(in_home(".none.new"));
    assert_false(in_home(".none.lock"));
}

static const unsigned char *text_of(const void *state, int32_t id, size_t *size)
{
    static const char *const texts[] = {"a", " b", "c d", " ", "", "\n", "<end>"};
    (void)state;
    *size = strlen(texts[id]);
    return (const unsigned char *)texts[id];
}

/* Data set "measured", of six words: they are read back; a wrong byte in them is seen; without them, as in a file that
 * was made before they were counted, it is the same data set. */
static void check_words(uint64_t train_words)
{
    struct token_file f;
    struct err err = {0};
    char path[PATH_SIZE], hash[SHA256_HEX_SIZE], *text;
    size_t size, words = offsetof(struct token_file_header, words);
    assert_int_equal(token_file_open(home, "measured", &f, &err), 0);
    assert_int_equal(f.header.words, 6);
    assert_int_equal(f.header.train_words, train_words);
    memcpy(hash, f.header.hash, sizeof hash);
    token_file_close(&f);
    snprintf(path, sizeof path, "%s/data/measured/tokens", home);
    assert_int_equal(file_read_all(path, 1 << 20, &text, &size, NULL), 0);
    for (size_t i = words; i < words + 24; i++) {
        text[i] ^= 1;
        assert_int_equal(file_write_atomic(path, text, size, 0600, NULL), 0);
        assert_int_equal(token_file_open(home, "measured", &f, &err), -ERR_DAMAGED);
        text[i] ^= 1;
    }
    memset(text + words, 0, 24);
    assert_int_equal(file_write_atomic(path, text, size, 0600, NULL), 0);
    assert_int_equal(token_file_open(home, "measured", &f, &err), 0);
    assert_int_equal(f.header.words, 0);
    assert_string_equal(f.header.hash, hash);
    assert_int_equal(token_file_verify(&f, &err), 0);
    token_file_close(&f);
    free(text);
}

/* Ids whose texts are known: bytes and words of both parts, wherever the split falls; the mark counts for nothing. */
static void test_measures_text(void **state)
{
    (void)state;
    static const struct {
        int32_t ids[8];
        size_t n;
        uint64_t bytes;
    } documents[] = {{{0, 0, 1, 2, 4, 3}, 6, 8}, {{2, 0, 5, 0, 6}, 5, 11}, {{0}, 0, 0}};
    /* "aa bc d " END, "c da\na<end>" END: words aa bc d c da a<end>, 3 and 3 */
    static const struct {
        const char *val;
        uint64_t val_tokens, val_bytes, train_words;
        const char *words;
    } splits[] = {
        {"0", 0, 0, 6, "\"train_words\":6,"},   {"0.47", 6, 11, 3, "\"train_words\":3,"}, /* at the second document */
        {"0.4", 5, 8, 5, "\"train_words\":5,"}, /* behind "c d": "da" belongs to training */
        {"0.2", 2, 5, 6, "\"val_words\":0,"},   /* before "<end>" END */
        {"0.08", 1, 0, 6, "\"val_words\":0,"},  /* END alone */
    };
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) {
        struct token_writer *w = NULL;
        struct token_file_header h;
        struct err err = {0};
        char path[PATH_SIZE], *meta;
        size_t size;
        assert_int_equal(token_writer_create(home, "measured", "test", 7, 1, &w, &err), 0);
        token_writer_set_texts(w, (struct token_texts){.text = text_of});
        assert_int_equal(token_writer_keep_tokenizer(w, "some/where.json", "{}", 2, "abc", &err), 0);
        for (size_t d = 0; d < 3; d++) {
            assert_int_equal(token_writer_begin_document(w, &err), 0);
            assert_int_equal(token_writer_add(w, documents[d].ids, documents[d].n, documents[d].bytes, &err), 0);
            assert_int_equal(token_writer_end_document(w, 6, &err), 0);
        }
        assert_int_equal(token_writer_finish(w, share(splits[i].val), &h, &err), 0);
        token_writer_destroy(w);
        assert_int_equal(h.count, 13);
        assert_int_equal(h.document_count, 2);
        assert_int_equal(h.text_bytes, 19);
        assert_int_equal(h.count - h.train_count, splits[i].val_tokens);
        assert_int_equal(h.text_bytes - h.train_text_bytes, splits[i].val_bytes);
        assert_int_equal(h.words, 6);
        assert_int_equal(h.train_words, splits[i].train_words);
        check_words(splits[i].train_words);
        snprintf(path, sizeof path, "%s/data/measured/meta.json", home);
        assert_int_equal(file_read_all(path, 4096, &meta, &size, NULL), 0);
        assert_non_null(strstr(meta, splits[i].words));
        assert_non_null(strstr(meta, "\"tokenizer_file\":\"where.json\",\"tokenizer_sha256\":\"abc\""));
        free(meta);
        assert_true(in_home("measured/tokenizer.json"));
    }
    struct token_writer *w = NULL;
    struct token_file_header h;
    struct err err = {0};
    assert_int_equal(token_writer_create(home, "wrong", "test", 7, 0, &w, &err), 0);
    token_writer_set_texts(w, (struct token_texts){.text = text_of});
    assert_int_equal(token_writer_add(w, documents[0].ids, 6, 9, &err), 0);
    assert_int_equal(token_writer_finish(w, (struct share){0}, &h, &err), -ERR_INTERNAL);
    token_writer_destroy(w);
    assert_false(in_home("wrong"));
}

/* Equal ids under another split, other documents or another vocabulary are another data set. */
static void test_hash_covers_all(void **state)
{
    (void)state;
    static const struct {
        uint64_t vocab;
        const char *val;
        size_t document_at;
    } cases[] = {{256, "0.1", 3}, {256, "0.2", 3}, {255, "0.1", 3}, {256, "0.1", 4}, {300, "0.1", 3}};
    char hashes[5][SHA256_HEX_SIZE];
    for (int i = 0; i < 5; i++) {
        struct token_writer *w = NULL;
        struct token_file_header h;
        struct err err = {0};
        int32_t ids[20] = {1, 2, 3, 4, 5, 6, 7};
        char name[16];
        snprintf(name, sizeof name, "h%d", i);
        assert_int_equal(token_writer_create(home, name, "test", cases[i].vocab, 0, &w, &err), 0);
        assert_int_equal(token_writer_add(w, ids, cases[i].document_at, 0, &err), 0);
        assert_int_equal(token_writer_begin_document(w, &err), 0);
        assert_int_equal(token_writer_add(w, ids + cases[i].document_at, 20 - cases[i].document_at, 0, &err), 0);
        assert_int_equal(token_writer_finish(w, share(cases[i].val), &h, &err), 0);
        token_writer_destroy(w);
        memcpy(hashes[i], h.hash, sizeof hashes[i]);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(hashes[i], hashes[k]);
    }
}

static void test_names_and_conflicts(void **state)
{
    (void)state;
    struct token_writer *w = NULL, *second = NULL;
    struct token_file_header h;
    struct token_file f;
    struct err err = {0};
    int32_t ids[4] = {1, 2, 3, 300};
    assert_int_equal(token_writer_create(home, "../x", "test", 256, 0, &w, &err), -ERR_INVALID);
    assert_int_equal(token_file_open(home, "../x", &f, &err), -ERR_INVALID);
    assert_int_equal(token_file_open(home, "nothing", &f, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "data prepare"));

    assert_int_equal(token_writer_create(home, "one", "test", 256, 0, &w, &err), 0);
    assert_int_equal(token_writer_create(home, "one", "test", 256, 1, &second, &err), -ERR_BUSY);
    assert_int_equal(token_writer_add(w, ids, 4, 4, &err), -ERR_INVALID); /* 300 is not in the vocabulary */
    assert_int_equal(token_writer_add(w, ids, 3, 3, &err), 0);
    assert_int_equal(token_writer_finish(w, (struct share){0}, &h, &err), 0);
    token_writer_destroy(w);

    assert_int_equal(token_writer_create(home, "one", "test", 256, 0, &w, &err), -ERR_CONFLICT);
    assert_int_equal(token_file_open(home, "one", &f, &err), 0);
    assert_int_equal(token_writer_create(home, "one", "test", 256, 1, &w, &err), 0);
    assert_int_equal(token_writer_add(w, ids, 2, 2, &err), 0);
    assert_int_equal(token_writer_finish(w, (struct share){0}, &h, &err), 0);
    token_writer_destroy(w);
    assert_int_equal(token_file_verify(&f, &err), 0); /* who had it open keeps the old one */
    assert_int_equal(f.header.count, 3);
    token_file_close(&f);
    assert_int_equal(token_file_open(home, "one", &f, &err), 0);
    assert_int_equal(f.header.count, 2);
    token_file_close(&f);
    assert_false(in_home(".one.new"));
    assert_false(in_home(".one.lock"));
}

/* What a crash between two renames left is put right by the next writer of any name. */
static void test_cleans_leftovers(void **state)
{
    (void)state;
    struct token_file_header h;
    char from[PATH_SIZE], to[PATH_SIZE], path[PATH_SIZE];
    write_text("kept", 256, "0", &h);
    snprintf(from, sizeof from, "%s/data/kept", home);
    snprintf(to, sizeof to, "%s/data/.kept.old", home);
    assert_int_equal(rename(from, to), 0);
    snprintf(path, sizeof path, "%s/data/.dead.new", home);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/data/.dead.new/tokens", home);
    assert_int_equal(file_write_atomic(path, "half", 4, 0600, NULL), 0);
    write_text("another", 256, "0", &h);
    assert_true(in_home("kept"));
    assert_false(in_home(".kept.old"));
    assert_false(in_home(".dead.new"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_every_byte_matters),
        cmocka_unit_test(test_huge_counts),      cmocka_unit_test(test_split),
        cmocka_unit_test(test_hash_covers_all),  cmocka_unit_test(test_names_and_conflicts),
        cmocka_unit_test(test_cleans_leftovers), cmocka_unit_test(test_measures_text),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
