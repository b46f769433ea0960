/* arguments.h: the command line of baka-worker. */
#ifndef BAKA_WORKER_ARGUMENTS_H
#define BAKA_WORKER_ARGUMENTS_H

#include <stdio.h>
#include <stdint.h>
#include "base/path.h"
#include "schema/job.h"

struct err;

/* Those that need the state directory come first, up to MODE_SAMPLE. */
enum worker_mode {
    MODE_TRAIN,
    MODE_JOB,
    MODE_PLAN,
    MODE_TUNE,
    MODE_IMPORT_HF,
    MODE_EXPORT_HF,
    MODE_EVAL,
    MODE_SAMPLE,
    MODE_DESCRIBE_SCHEMA,
    MODE_DESCRIBE_MARKDOWN,
    MODE_VERSION,
    MODE_HELP
};

struct arguments {
    enum worker_mode mode;
    char home[PATH_SIZE];    /* absolute; set for all that reads or writes there */
    char run_dir[PATH_SIZE]; /* train, job */
    char resume[64];         /* "checkpoints/120-a1", or "" to begin at the beginning */
    int attempt;
    int threads;            /* 0: resources.cpus of the spec */
    int micro_batch_limit;  /* of a micro_batch that is auto and not pinned yet; 0: none */
    int lock_fd;            /* -1: the keeper takes the lock itself */
    char spec[PATH_SIZE];   /* plan, tune */
    char table[PATH_SIZE];  /* tune; "": the backend's own */
    char hf_dir[PATH_SIZE]; /* import: read; export: written */
    char name[NAME_SIZE];   /* import: of the model */
    char source[PATH_SIZE]; /* job: run directory of the run whose checkpoint is `resume` */
    struct job job;         /* eval, sample: what is asked for, without prompt and ids */
};

/* ERR_INVALID with one line to print above a hint at --help. */
int arguments_parse(int argc, char **argv, struct arguments *out, struct err *err);
void arguments_print_help(FILE *out);

#endif
