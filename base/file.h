/* file.h: files that are whole or absent. Atomic write = temporary name in the same directory, fsync, rename, directory
 * fsync. All open with O_CLOEXEC. Short writes and EINTR are handled. */
#ifndef BAKA_BASE_FILE_H
#define BAKA_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

int file_write_all(int fd, const void *data, size_t size, const char *path_for_errors, struct err *err);
int file_write_atomic(const char *path, const void *data, size_t size, unsigned mode, struct err *err);
/* Reads a whole file, at most max_size bytes (ERR_TOO_LARGE beyond); a NUL is appended, not counted. Caller frees. */
int file_read_all(const char *path, size_t max_size, char **out, size_t *out_size, struct err *err);
/* The same from an open descriptor, which stays open; `path` is what errors call it. */
int file_read_fd(int fd, const char *path, size_t max_size, char **out, size_t *out_size, struct err *err);
int file_fsync_dir(const char *path, struct err *err);
/* mkdir -p with mode for the components it makes. */
int file_make_dirs(const char *path, unsigned mode, struct err *err);
/* rm -r that never follows links; a path that is absent is fine. */
int file_remove_tree(const char *path, struct err *err);
bool file_exists(const char *path);

#endif
