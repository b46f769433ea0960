/* spec_source.c: see spec_source.h. */
#include "worker/spec_source.h"

#include <stdlib.h>
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "text/token_file.h"

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

int spec_source_read(const char *path, const char *home, struct spec *out, int64_t *vocab, struct err *err)
{
    int rc = read_spec(path, out, err);
    return rc ? rc : find_vocab(out, home, vocab, err);
}
