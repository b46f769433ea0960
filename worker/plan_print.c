/* plan_print.c: see plan_print.h. */
#include "worker/plan_print.h"

#include <stdint.h>
#include <stdlib.h>
#include "base/err.h"
#include "schema/plan.h"
#include "worker/device.h"
#include "worker/spec_source.h"

int plan_print(const char *spec_path, const char *home, FILE *out, struct err *err)
{
    struct spec spec;
    struct plan plan;
    struct device device;
    int64_t vocab = 0;
    int rc = spec_source_read(spec_path, home, &spec, &vocab, err);
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
