#include "cli/spec_file.h"

#include <stdlib.h>
#include "base/err.h"
#include "base/json.h"
#include "cli/input.h"
#include "schema/spec.h"

int spec_file_read(const char *path, cJSON **out, struct err *err)
{
    const struct json_limits limits = {SPEC_MAX_BYTES, SPEC_MAX_DEPTH};
    char *text;
    size_t size;
    int rc = input_read(path, SPEC_MAX_BYTES, &text, &size, err);
    if (rc)
        return rc;
    rc = json_parse(text, size, &limits, input_name(path), out, err);
    free(text);
    if (rc == 0 && !cJSON_IsObject(*out)) {
        cJSON_Delete(*out);
        rc = err_set(err, ERR_INVALID, "%s: a spec is a JSON object, as {\"data\":{\"name\":\"kjv\"}}",
                     input_name(path));
    }
    return rc;
}
