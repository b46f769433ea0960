/* fuzz_job.c: any bytes as a job. What is taken has a canonical text that says the same again; what is refused must say
 * why on one line.
 *
 * fuzz-sources: base/err.c base/json.c base/spare.c base/json_check.c base/path.c base/sha256.c
 * fuzz-sources: schema/job.c schema/plan_optimizer.c schema/spec_*.c
 * fuzz-libs: -lcjson -lcrypto -lm
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "schema/job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct job job = {0}, again = {0};
    struct err err = {0};
    int rc = job_parse((const char *)data, size, &job, &err);
    if (rc < 0) {
        require(err.code == (enum err_code) - rc && err.message[0] && !strchr(err.message, '\n'));
        return 0;
    }
    char *once = job_print(&job);
    require(job_parse(once, strlen(once), &again, &err) == 0);
    char *twice = job_print(&again);
    require(strcmp(once, twice) == 0);
    free(once);
    free(twice);
    job_finish(&job);
    job_finish(&again);
    return 0;
}
