/* fuzz_request.c: any bytes as the body of a submission, parsed, expanded and validated. What is taken gives the
 * promised number of runs, each with a valid name and a valid spec; what is refused says why on one line.
 *
 * fuzz-sources: base/err.c base/json.c base/spare.c base/json_check.c base/path.c base/sha256.c
 * fuzz-sources: schema/plan_optimizer.c schema/spec_*.c schema/submission.c daemon/sweep.c
 * fuzz-libs: -lcjson -lcrypto -lm
 * fuzz-max-len: 2048
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "daemon/sweep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EXPANDED_MAX = 64 };

static void require(int condition)
{
    if (!condition)
        abort();
}

static void require_reason(int rc, const struct err *err)
{
    require(err->code == (enum err_code) - rc && err->message[0] && !strchr(err->message, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct json_limits limits = {1 << 20, SPEC_MAX_DEPTH + 2};
    struct sweep_request request;
    struct sweep_run *runs;
    struct err err = {0};
    cJSON *body;
    if (json_parse((const char *)data, size, &limits, "body", &body, &err) != 0)
        return 0;
    int rc = sweep_parse(body, &request, &err);
    if (rc != 0)
        require_reason(rc, &err);
    else {
        require(request.run_count >= 1 && request.run_count <= SUBMISSION_MAX_RUNS);
        rc = request.run_count <= EXPANDED_MAX ? sweep_expand(&request, &runs, &err) : 1;
        if (rc < 0)
            require_reason(rc, &err);
        if (rc == 0) {
            for (size_t i = 0; i < request.run_count; i++) {
                require(name_is_valid(runs[i].name) && !name_looks_like_id(runs[i].name));
                require(strcmp(runs[i].name, runs[i].spec.name) == 0);
                require(spec_validate(&runs[i].spec, &err) == 0);
            }
            free(runs);
        }
    }
    cJSON_Delete(body);
    return 0;
}
