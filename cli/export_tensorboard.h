/* export_tensorboard.h: runs as folders of TensorBoard event files. Thread: the main one. */
#ifndef BAKA_CLI_EXPORT_TENSORBOARD_H
#define BAKA_CLI_EXPORT_TENSORBOARD_H

#include <cjson/cJSON.h>

struct client;
struct err;

/* One folder a run in DIR, named as the run (with its id where two are called the same), with one file in it that is
 * whole or absent. A folder that holds event files is refused (ERR_CONFLICT): TensorBoard would show both. Appends
 * {"run","path","steps","evaluations"} to `written` for each. */
int export_tensorboard(struct client *client, const cJSON *runs, const char *dir, cJSON *written, struct err *err);

#endif
