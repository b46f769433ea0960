/* checkpoint_format.c: state.json and manifest.json, see checkpoint_format.h. */
#include "worker/checkpoint_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"

const char *const checkpoint_file_names[CHECKPOINT_FILES] = {"model.safetensors", "state.json"};

static const struct json_limits limits = {.max_bytes = CHECKPOINT_TEXT_MAX, .max_depth = 4};

size_t checkpoint_print_state(const struct checkpoint_state *s, char out[CHECKPOINT_TEXT_MAX])
{
    int n = snprintf(out, CHECKPOINT_TEXT_MAX,
                     "{\"format\":1,\"step\":%" PRId64 ",\"epoch\":%" PRId64 ",\"step_in_epoch\":%" PRId64
                     ",\"tokens\":%" PRId64 ",\"updates\":%" PRId64 ",\"seed\":\"%" PRId64 "\",\"micro_batch\":%" PRId64
                     ",\"spec_hash\":\"%s\",\"data_hash\":\"%s\",\"numerics_id\":\"%s\"}\n",
                     s->step, s->epoch, s->step_in_epoch, s->tokens, s->updates, s->seed, s->micro_batch, s->spec_hash,
                     s->data_hash, s->numerics_id);
    return (size_t)n;
}

size_t checkpoint_print_manifest(const struct checkpoint_file files[CHECKPOINT_FILES], char out[CHECKPOINT_TEXT_MAX])
{
    size_t n = (size_t)snprintf(out, CHECKPOINT_TEXT_MAX, "{\"format\":1,\"files\":[");
    for (int i = 0; i < CHECKPOINT_FILES; i++)
        n += (size_t)snprintf(out + n, CHECKPOINT_TEXT_MAX - n,
                              "%s\n{\"name\":\"%s\",\"bytes\":%" PRId64 ",\"sha256\":\"%s\"}", i ? "," : "",
                              checkpoint_file_names[i], files[i].bytes, files[i].sha256);
    n += (size_t)snprintf(out + n, CHECKPOINT_TEXT_MAX - n, "\n]}\n");
    return n;
}

static int parse_object(const char *text, size_t size, const char *what, cJSON **out, struct err *err)
{
    if (size == 0 || text[size - 1] != '\n')
        return err_set(err, ERR_DAMAGED, "%s is cut short", what);
    if (json_parse(text, size, &limits, what, out, err) != 0) {
        if (err)
            err->code = ERR_DAMAGED;
        return -ERR_DAMAGED;
    }
    return 0;
}

/* Missing keys leave zeros or empty strings behind: the comparison with the printed form finds them. */
static void read_int(const cJSON *json, const char *key, int64_t *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    if (!item || !json_read_int64(item, out))
        *out = 0;
}

static void read_hash(const cJSON *json, const char *key, char out[SHA256_HEX_SIZE])
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    if (cJSON_IsString(item))
        snprintf(out, SHA256_HEX_SIZE, "%s", item->valuestring);
}

int checkpoint_parse_state(const char *text, size_t size, struct checkpoint_state *out, struct err *err)
{
    cJSON *json = NULL;
    int rc = parse_object(text, size, "state.json", &json, err);
    if (rc != 0)
        return rc;
    struct checkpoint_state s = {0};
    read_int(json, "step", &s.step);
    read_int(json, "epoch", &s.epoch);
    read_int(json, "step_in_epoch", &s.step_in_epoch);
    read_int(json, "tokens", &s.tokens);
    read_int(json, "updates", &s.updates);
    read_int(json, "seed", &s.seed);
    read_int(json, "micro_batch", &s.micro_batch);
    read_hash(json, "spec_hash", s.spec_hash);
    read_hash(json, "data_hash", s.data_hash);
    read_hash(json, "numerics_id", s.numerics_id);
    cJSON_Delete(json);
    char again[CHECKPOINT_TEXT_MAX];
    if (checkpoint_print_state(&s, again) != size || memcmp(again, text, size) != 0)
        return err_set(err, ERR_DAMAGED, "state.json is not what this version writes");
    if (s.step < 0 || s.epoch < 0 || s.step_in_epoch < 0 || s.tokens < s.step || s.updates < 0 || s.updates > s.step ||
        s.micro_batch < 1)
        return err_set(err, ERR_DAMAGED, "state.json holds impossible numbers");
    *out = s;
    return 0;
}

int checkpoint_parse_manifest(const char *text, size_t size, struct checkpoint_file out[CHECKPOINT_FILES],
                              struct err *err)
{
    cJSON *json = NULL;
    int rc = parse_object(text, size, "manifest.json", &json, err);
    if (rc != 0)
        return rc;
    struct checkpoint_file files[CHECKPOINT_FILES] = {0};
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "files");
    for (int i = 0; i < CHECKPOINT_FILES; i++) {
        const cJSON *item = cJSON_IsArray(list) ? cJSON_GetArrayItem(list, i) : NULL;
        files[i].name = checkpoint_file_names[i];
        read_int(item, "bytes", &files[i].bytes);
        read_hash(item, "sha256", files[i].sha256);
    }
    cJSON_Delete(json);
    char again[CHECKPOINT_TEXT_MAX];
    if (checkpoint_print_manifest(files, again) != size || memcmp(again, text, size) != 0)
        return err_set(err, ERR_DAMAGED, "manifest.json is not what this version writes");
    memcpy(out, files, sizeof files);
    return 0;
}
