/* tokenizer_fixture.c: see tokenizer_fixture.h. */
#include "tokenizer_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"

const char *const small_tokenizers[] = {"small_gpt2",  "small_nfc", "small_prefix", "small_gpt4", "small_llama3",
                                        "small_qwen2", NULL};

void fixture_path(char *out, size_t size, const char *name)
{
    snprintf(out, size, "%s/%s", FIXTURES, name);
}

bool shared_path(char *out, size_t size, const char *name)
{
    const char *shared = getenv("BAKA_SHARED");
    snprintf(out, size, "%s/data/%s", shared && *shared ? shared : SOURCE_ROOT "/../shared", name);
    return access(out, R_OK) == 0;
}

int32_t *fixture_ids(const cJSON *array, size_t *count)
{
    *count = (size_t)cJSON_GetArraySize(array);
    int32_t *ids = calloc(*count + 1, sizeof *ids);
    assert_non_null(ids);
    size_t n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, array)
        ids[n++] = item->valueint;
    return ids;
}

void fixture_load(const char *path, struct fixture *f)
{
    const struct json_limits limits = {.max_bytes = 1 << 24, .max_depth = 8};
    char *text;
    size_t size;
    assert_int_equal(file_read_all(path, 1 << 24, &text, &size, NULL), 0);
    assert_int_equal(json_parse(text, size, &limits, path, &f->json, NULL), 0);
    free(text);
    const cJSON *cases = cJSON_GetObjectItem(f->json, "cases"), *item;
    f->cases = calloc((size_t)cJSON_GetArraySize(cases) + 1, sizeof *f->cases);
    assert_non_null(f->cases);
    f->case_count = 0;
    cJSON_ArrayForEach(item, cases) {
        struct fixture_case *c = &f->cases[f->case_count++];
        const char *given = cJSON_GetObjectItem(item, "text")->valuestring;
        c->text = (const unsigned char *)given;
        c->size = strlen(given);
        c->ids = fixture_ids(cJSON_GetObjectItem(item, "ids"), &c->count);
    }
    assert_true(f->case_count > 100);
}

void fixture_finish(struct fixture *f)
{
    for (size_t i = 0; i < f->case_count; i++)
        free(f->cases[i].ids);
    free(f->cases);
    cJSON_Delete(f->json);
}
