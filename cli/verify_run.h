/* verify_run.h: a run directory of verify-resume's own, whose attempts are started and killed here, as bakad and a
 * machine's troubles do it. Uses cli/interrupt.h: a caught signal ends the attempt. */
#ifndef BAKA_CLI_VERIFY_RUN_H
#define BAKA_CLI_VERIFY_RUN_H

#include <stdbool.h>
#include <stdint.h>
#include "base/path.h"
#include "base/sha256.h"

struct err;
struct verify_curve;

struct verify_run {
    const char *home;
    char dir[PATH_SIZE];
    int attempts; /* so far */
};

/* Makes the directory with its spec.json. */
int verify_run_create(struct verify_run *r, const char *home, const char *dir, const char *spec, struct err *err);
/* One attempt from `checkpoint` ("": the beginning). Once it has recorded step `kill_at` (0: never) keeper and trainer
 * get SIGKILL together; *killed says whether it came to that. ERR_UNAVAILABLE after an interrupt. */
int verify_run_attempt(struct verify_run *r, const char *checkpoint, int64_t kill_at, bool *killed, struct err *err);
/* SHA-256 of the model's file in the curve's newest checkpoint: weights and the optimizer's state. */
int verify_run_weights(const struct verify_run *r, const struct verify_curve *c, char hex[SHA256_HEX_SIZE],
                       struct err *err);

#endif
