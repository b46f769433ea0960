/* config.h: bakad's settings, from one table: a flag wins over the environment, that over the configuration file, that
 * over the default. Read once at start, before any thread; a plain value afterwards. */
#ifndef BAKA_DAEMON_CONFIG_H
#define BAKA_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stdio.h>
#include "base/log.h"
#include "base/path.h"

struct err;

enum config_action { CONFIG_RUN, CONFIG_HELP, CONFIG_VERSION };

struct config {
    enum config_action action;
    char home[PATH_SIZE];   /* absolute; not created here */
    char file[PATH_SIZE];   /* the configuration file, read if it is there */
    char worker[PATH_SIZE]; /* "": the baka-worker beside bakad */
    int cpu_slots;
    enum log_level log_level;
    int cancel_grace_s;        /* from SIGTERM to SIGKILL */
    int keep_checkpoints;      /* good generations of a run that pruning leaves */
    int keep_best, keep_every; /* and beside them: by validation loss, and one of each so many steps */
    int disk_low_mib, disk_high_mib;
    int worker_log_mib;
    int hung_start_s, hung_floor_s, hung_ceiling_s; /* daemon/watchdog.h */
};

enum { CONFIG_MAX_FILE_BYTES = 64 << 10 };

/* getenv's type, so that tests bring their own environment. ERR_INVALID with err->path the flag, variable or
 * "FILE: key"; ERR_NOT_FOUND for a --config file that is not there; ERR_IO. With CONFIG_HELP and CONFIG_VERSION nothing
 * else is read. */
int config_load(int argc, char *const *argv, char *(*environment)(const char *), struct config *out, struct err *err);
/* True when a setting is wrong, as a flag, a variable or in the file: exit code 2. False when one could not be read. */
bool config_is_usage_error(const struct err *err);
void config_print_help(FILE *out);

#endif
