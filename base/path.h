/* path.h: names and places. */
#ifndef BAKA_BASE_PATH_H
#define BAKA_BASE_PATH_H

#include <stdbool.h>
#include <stddef.h>

struct err;

enum { PATH_SIZE = 4096, NAME_SIZE = 65 };

/* printf into a PATH_SIZE buffer; ERR_TOO_LARGE instead of truncation. */
int path_format(char out[PATH_SIZE], struct err *err, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* [A-Za-z0-9][A-Za-z0-9._-]{0,63}: the only form of a name or id that a client may send. */
bool name_is_valid(const char *name);
/* State directory, absolute: `flag` unless NULL (--home), else $BAKA_HOME, else $XDG_STATE_HOME/baka, else
 * ~/.local/state/baka. A variable that is empty is not set; an empty flag is ERR_INVALID. Does not create it. */
int path_home(const char *flag, char out[PATH_SIZE], struct err *err);
/* Absolute, by the current directory; trailing slashes go. Does not touch the file system, follows no link. */
int path_absolute(const char *path, char out[PATH_SIZE], struct err *err);
/* Directory of the running executable (from /proc/self/exe), for finding sibling programs. */
int path_self_dir(char out[PATH_SIZE], struct err *err);
/* Full path of a sibling program (`name` = "baka-worker"): $BAKA_<NAME> style overrides are the caller's business;
 * looks in the executable's own directory, then, in a build tree, in ../daemon, ../worker, ../cli. */
int path_sibling_program(const char *name, char out[PATH_SIZE], struct err *err);

#endif
