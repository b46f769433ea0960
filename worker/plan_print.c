/* plan_print.c: see plan_print.h. */
#include "worker/plan_print.h"

#include <stdint.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "schema/plan.h"
#include "schema/spec.h"
#include "text/token_file.h"
#include "worker/device.h"

/* The data set's vocabulary, also where the spec has its own, which must not be smaller. Without the data set a spec
 * with a vocabulary can still be planned. */
static int find_vocab(const struct spec *spec, const char *home, int64_t *vocab, struct err *err)
{
    struct token_file data;
    struct err inner;
    int rc = token_file_open(home, spec->data.name, &data, &inner);
    if (rc == -ERR_NOT_FOUND && spec->model.vocab != 0) {
        *vocab = spec->model.vocab;
        return 0;
    }
    if (rc != 0 && spec->model.vocab != 0)
        return err_set_at(err, inner.code, "data.name", "%.500s", inner.message);
    if (rc != 0)
        return err_set_at(err, inner.code, "model.vocab", "not given, and the data set cannot tell it: %.500s",
                          inner.message);
    *vocab = (int64_t)data.header.vocab;
    token_file_close(&data);
    return 0;
}

static int read_spec(const char *path, struct spec *out, struct err *err)
{
    static const struct json_limits limits = {.max_bytes = SPEC_MAX_BYTES, .max_depth = SPEC_MAX_DEPTH};
    char *text = NULL;
    size_t size;
    cJSON *object;
    int rc = file_read_all(path, SPEC_MAX_BYTES, &text, &size, err);
    if (rc == 0)
        rc = json_parse(text, size, &limits, path, &object, err);
    free(text);
    if (rc != 0)
        return rc;
    if (cJSON_IsObject(object))
        rc = spec_from_json(object, out, err);
    else
        rc = err_set(err, ERR_INVALID, "%s: a spec is a JSON object, as {\"data\":{\"name\":\"kjv\"}}", path);
    cJSON_Delete(object);
    return rc;
}

int plan_print(const char *spec_path, const char *home, FILE *out, struct err *err)
{
    struct spec spec;
    struct plan plan;
    struct device device;
    int64_t vocab = 0;
    int rc = read_spec(spec_path, &spec, err);
    if (rc == 0)
        rc = find_vocab(&spec, home, &vocab, err);
    if (rc != 0)
        return rc;
    device_imagine(&spec, &device);
    rc = plan_make(&spec, vocab, &device.plan, &plan, err);
    if (rc != 0)
        return rc;
    cJSON *json = plan_to_json(&plan);
    char *printed = json ? cJSON_Print(json) : NULL;
    cJSON_Delete(json);
    plan_finish(&plan);
    if (!printed)
        return err_set(err, ERR_NO_MEMORY, "no memory to print the plan");
    fprintf(out, "%s\n", printed);
    free(printed);
    return 0;
}
