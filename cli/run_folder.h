/* run_folder.h: where a run lies. */
#ifndef BAKA_CLI_RUN_FOLDER_H
#define BAKA_CLI_RUN_FOLDER_H

#include "base/path.h"

struct cli;
struct err;

struct run_folder {
    char id[NAME_SIZE], path[PATH_SIZE];
    char data[NAME_SIZE]; /* its data set */
};

/* Asks the daemon which run RUN is. An imported curve has no folder: ERR_INVALID. */
int run_folder_find(struct cli *cli, const char *ref, struct run_folder *out, struct err *err);
#endif
