/* model_store.c: reading; model_store_write.c makes what is read here. */
#include "worker/model_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/path.h"
#include "schema/plan.h"
#include "worker/mapped_file.h"
#include "worker/model.h"

enum { DESCRIPTION_MAX_BYTES = 1 << 16 };

struct stored_model {
    char name[NAME_SIZE], sha256[SHA256_HEX_SIZE];
    struct spec spec; /* its model fields count */
    struct mapped_file map;
    struct safetensors tensors;
};

static int damaged(const struct stored_model *s, struct err *err, const char *why)
{
    return err_set(err, ERR_DAMAGED, "model '%s': %s; import it again under another name", s->name, why);
}

/* The model fields, through the same door as a user's. */
static int read_fields(struct stored_model *s, const cJSON *fields, struct err *err)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "data"), "name", "any");
    cJSON_AddItemToObject(o, "model", cJSON_Duplicate(fields, true));
    struct err inner;
    int rc = spec_from_json(o, &s->spec, &inner);
    cJSON_Delete(o);
    return rc ? damaged(s, err, "model.json has no fields of a model") : 0;
}

static int read_description(struct stored_model *s, const char *dir, int64_t *bytes, struct err *err)
{
    static const struct json_limits limits = {.max_bytes = DESCRIPTION_MAX_BYTES, .max_depth = SPEC_MAX_DEPTH};
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0;
    cJSON *json = NULL;
    int rc = path_format(path, err, "%s/model.json", dir);
    if (rc == 0)
        rc = file_read_all(path, DESCRIPTION_MAX_BYTES, &text, &size, err);
    if (rc == -ERR_NOT_FOUND)
        return err_set_at(err, ERR_NOT_FOUND, "train.init_from",
                          "there is no model '%s'; `bakactl import --hf` brings one", s->name);
    if (rc == 0 && json_parse(text, size, &limits, "model.json", &json, NULL) != 0)
        rc = damaged(s, err, "model.json is not valid JSON");
    free(text);
    if (rc != 0)
        return rc;
    const char *hash = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "sha256"));
    if (!hash || strlen(hash) != SHA256_HEX_SIZE - 1 ||
        !json_read_int64(cJSON_GetObjectItemCaseSensitive(json, "bytes"), bytes))
        rc = damaged(s, err, "model.json does not tell size and SHA-256");
    else
        memcpy(s->sha256, hash, SHA256_HEX_SIZE);
    if (rc == 0)
        rc = read_fields(s, cJSON_GetObjectItemCaseSensitive(json, "model"), err);
    cJSON_Delete(json);
    return rc;
}

static int read_tensors(struct stored_model *s, const char *dir, int64_t bytes, struct err *err)
{
    char path[PATH_SIZE], hash[SHA256_HEX_SIZE];
    int rc = path_format(path, err, "%s/model.safetensors", dir);
    if (rc == 0)
        rc = mapped_file_open(&s->map, path, path, err);
    if (rc != 0)
        return rc;
    if ((uint64_t)bytes != s->map.size)
        return damaged(s, err, "model.safetensors has another size than model.json says");
    sha256_hex(s->map.bytes, s->map.size, hash);
    if (strcmp(hash, s->sha256) != 0)
        return damaged(s, err, "model.safetensors has another SHA-256 than model.json says");
    return safetensors_parse(s->map.bytes, s->map.size, path, &s->tensors, err);
}

int model_store_open(const char *home, const char *name, struct stored_model **out, struct err *err)
{
    char dir[PATH_SIZE];
    int64_t bytes = 0;
    struct stored_model *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, ERR_NO_MEMORY, "no memory to open a model");
    snprintf(s->name, sizeof s->name, "%s", name);
    int rc = path_format(dir, err, "%s/models/%s", home, name);
    if (rc == 0)
        rc = read_description(s, dir, &bytes, err);
    if (rc == 0)
        rc = read_tensors(s, dir, bytes, err);
    if (rc != 0)
        model_store_close(s);
    else
        *out = s;
    return rc;
}

void model_store_close(struct stored_model *s)
{
    if (!s)
        return;
    safetensors_finish(&s->tensors);
    mapped_file_close(&s->map);
    free(s);
}

const char *model_store_sha256(const struct stored_model *s)
{
    return s->sha256;
}

struct difference {
    const struct stored_model *model;
    struct err *err;
    bool found;
};

static void on_difference(void *arg, const char *path, const char *ours, const char *wanted)
{
    struct difference *d = arg;
    if (d->found || strncmp(path, "model.", 6) != 0 || strcmp(path, "model.preset") == 0)
        return;
    d->found = true;
    err_set_at(d->err, ERR_INVALID, path, "%s is %s: the model '%s' of train.init_from has %s", path, wanted,
               d->model->name, ours);
}

int model_store_check(const struct stored_model *s, const struct spec *spec, struct err *err)
{
    struct spec wanted = *spec;
    struct difference d = {.model = s, .err = err};
    if (wanted.model.d_ff == 0)
        wanted.model.d_ff = 4 * wanted.model.dim;
    spec_diff(&s->spec, &wanted, on_difference, &d);
    return d.found ? -ERR_INVALID : 0;
}

static int check_parameter(const struct stored_model *s, const struct plan_parameter *p,
                           const struct safetensors_tensor **out, struct err *err)
{
    const struct safetensors_tensor *t = safetensors_find(&s->tensors, p->name);
    bool same = t && t->dtype == SAFETENSORS_F32 && t->rank == (p->cols == 1 ? 1 : 2) && t->shape[0] == p->rows &&
                (p->cols == 1 || t->shape[1] == p->cols);
    if (!same)
        return err_set(err, ERR_DAMAGED, "model '%s' has no tensor %s of the run's shape", s->name, p->name);
    *out = t;
    return 0;
}

int model_store_load(const struct stored_model *s, const struct plan *plan, struct model *model, struct err *err)
{
    const struct safetensors_tensor *t = NULL;
    if (s->tensors.count != plan->parameter_count)
        return err_set(err, ERR_DAMAGED, "model '%s' has %d tensors, the run %d", s->name, s->tensors.count,
                       plan->parameter_count);
    for (int i = 0; i < plan->parameter_count; i++) {
        int rc = check_parameter(s, &plan->parameters[i], &t, err);
        if (rc == 0)
            rc = model_write_state(model, i, s->tensors.data + t->offset, err); /* parameters come first */
        if (rc != 0)
            return rc;
    }
    return 0;
}
