/* input.h: a text that a verb is given by name, where "-" is standard input. */
#ifndef BAKA_CLI_INPUT_H
#define BAKA_CLI_INPUT_H

#include <stddef.h>

struct err;

/* What errors call it: the path, or "standard input". */
const char *input_name(const char *path);
/* As file_read_all (base/file.h). Caller frees *out. */
int input_read(const char *path, size_t max_size, char **out, size_t *size, struct err *err);

#endif
