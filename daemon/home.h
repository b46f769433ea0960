/* home.h: the state directory as bakad needs it: made, writable, and served by one daemon only. */
#ifndef BAKA_DAEMON_HOME_H
#define BAKA_DAEMON_HOME_H

#include <stdbool.h>
#include <stdint.h>
#include "base/path.h"

struct err;

/* Makes `home` (mode 0700) and home/runs, home/data. ERR_IO when it is no directory or cannot be made or written. */
int home_prepare(const char *home, struct err *err);
/* Takes home/bakad.lock for the life of the process and writes "pid start_time\n" into it. ERR_BUSY names the holder;
 * one that has only just taken it gets HOME_HOLDER_WAIT_MS to write its name. */
enum { HOME_HOLDER_WAIT_MS = 1000 };
int home_lock(const char *home, int *fd, struct err *err);

/* True when home/runs has runs but `database` is missing or has no bytes: it was removed or emptied, for bakad gives a
 * new one its first tables before the first run directory is made. */
bool home_lost_database(const char *home, const char *database);

/* What submit needs to know of a data set. */
struct home_data {
    uint64_t vocab, tokens, train_tokens;
    char tokenizer[65]; /* "bytes", or what begins with its hash */
};
/* Reads the header of home/data/NAME/tokens. ERR_NOT_FOUND, ERR_DAMAGED (no token file, or shorter than its header
 * says). Any thread. */
int home_data_probe(const char *home, const char *name, struct home_data *out, struct err *err);

/* Whether home/models/NAME is there. Any thread. */
bool home_has_model(const char *home, const char *name);

#endif
