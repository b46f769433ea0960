/* plan_print.c: see plan_print.h. */
#include "worker/plan_print.h"

#include <stdint.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/file.h"
#include "schema/plan.h"
#include "schema/spec.h"
#include "text/token_file.h"
#include "worker/device.h"

static int find_vocab(const struct spec *spec, const char *home, int64_t *vocab, struct err *err)
{
    struct token_file data;
    struct err inner;
    if (spec->model.vocab != 0) {
        *vocab = spec->model.vocab;
        return 0;
    }
    int rc = token_file_open(home, spec->data.name, &data, &inner);
    if (rc != 0)
        return err_set_at(err, inner.code, "model.vocab", "not given, and the data set cannot tell it: %.500s",
                          inner.message);
    *vocab = (int64_t)data.header.vocab;
    token_file_close(&data);
    return 0;
}

int plan_print(const char *spec_path, const char *home, FILE *out, struct err *err)
{
    struct spec spec;
    struct plan plan;
    struct device device;
    char *text = NULL;
    size_t size;
    int64_t vocab = 0;
    int rc = file_read_all(spec_path, SPEC_MAX_BYTES, &text, &size, err);
    if (rc == 0)
        rc = spec_parse(text, size, &spec, err);
    free(text);
    if (rc == 0)
        rc = find_vocab(&spec, home, &vocab, err);
    if (rc != 0)
        return rc;
    device_choose(&spec, false, &device);
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
