/* tokenizer_fixture.h: what make_tokenizer_fixtures.py wrote, and where the tokenizers are. */
#ifndef BAKA_TEST_TOKENIZER_FIXTURE_H
#define BAKA_TEST_TOKENIZER_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cjson/cJSON.h>

struct fixture_case {
    const unsigned char *text;
    size_t size;
    int32_t *ids;
    size_t count;
};

struct fixture {
    cJSON *json;                /* owns the texts */
    struct fixture_case *cases; /* of odd texts */
    size_t case_count;
};

extern const char *const small_tokenizers[]; /* names, NULL-ended */

/* FIXTURES/NAME. */
void fixture_path(char *out, size_t size, const char *name);
/* A file of ../shared/data beside the repository, or of $BAKA_SHARED/data. False: it is not there. */
bool shared_path(char *out, size_t size, const char *name);
/* Fails the test when the file is missing or broken. */
void fixture_load(const char *path, struct fixture *f);
void fixture_finish(struct fixture *f);
/* The numbers of an array; the caller frees them. */
int32_t *fixture_ids(const cJSON *array, size_t *count);

#endif
