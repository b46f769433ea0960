/* spec_file.h: a spec that a verb is given, as JSON; the daemon or the worker checks it as a whole. */
#ifndef BAKA_CLI_SPEC_FILE_H
#define BAKA_CLI_SPEC_FILE_H

#include <cjson/cJSON.h>

struct err;

/* path "-": standard input. A JSON object within the bounds of a spec; caller deletes *out. */
int spec_file_read(const char *path, cJSON **out, struct err *err);

#endif
