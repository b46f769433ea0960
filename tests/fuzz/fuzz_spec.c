/* fuzz_spec.c: any bytes as a spec. What is taken must survive its own two forms: the whole JSON gives the same struct,
 * the canonical text the same hash; what is refused must say why on one line.
 *
 * fuzz-sources: base/err.c base/json.c base/spare.c base/json_check.c base/path.c base/sha256.c
 * fuzz-sources: schema/plan_optimizer.c schema/spec_*.c
 * fuzz-libs: -lcjson -lcrypto -lm
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "schema/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_set(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    require(text != NULL);
    memcpy(text, data, size);
    text[size] = 0;
    char *value = strchr(text, '=');
    if (value) {
        *value++ = 0;
        cJSON *object = cJSON_CreateObject();
        struct err err = {0};
        int rc = spec_set_text(object, text, value, &err);
        require(rc == 0 || (err.message[0] && !strchr(err.message, '\n')));
        require((rc == 0) == (object->child != NULL));
        cJSON_Delete(object);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spec s, again;
    struct err err = {0};
    check_set(data, size);
    int rc = spec_parse((const char *)data, size, &s, &err);
    if (rc < 0) {
        require(err.code == (enum err_code) - rc && err.message[0] && !strchr(err.message, '\n'));
        return 0;
    }
    cJSON *json = spec_to_json(&s);
    char *text = json_print(json, true), first[SHA256_HEX_SIZE], second[SHA256_HEX_SIZE];
    require(spec_parse(text, strlen(text), &again, &err) == 0);
    require(memcmp(&s, &again, sizeof s) == 0);
    spec_hash(&s, first);
    spec_hash(&again, second);
    require(strcmp(first, second) == 0);
    free(text);
    cJSON_Delete(json);
    return 0;
}
