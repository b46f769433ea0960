/* worker_program.h: the baka-worker beside bakactl, for what needs a model and no queue. */
#ifndef BAKA_CLI_WORKER_PROGRAM_H
#define BAKA_CLI_WORKER_PROGRAM_H

#include <stddef.h>
#include <cjson/cJSON.h>

struct err;

enum { WORKER_PROGRAM_ARGUMENTS = 32 };

struct worker_program {
    const char *arguments[WORKER_PROGRAM_ARGUMENTS]; /* without the program's name; NULL-ended */
    const void *input;                               /* its standard input */
    size_t input_size;
    /* Takes its standard output as it comes; not 0: the worker is ended, and that is what run returns. May be NULL. */
    int (*on_output)(void *arg, const char *text, size_t size, struct err *err);
    void *arg;
};

/* Runs it to its end. Its own failure is ERR_INVALID with the last line that it wrote to standard error. */
int worker_program_run(const struct worker_program *p, struct err *err);
/* The same for one that prints JSON; its output is taken. Caller deletes *answer. */
int worker_program_ask(struct worker_program *p, cJSON **answer, struct err *err);
/* Adds an argument behind the others; the text is the caller's. */
void worker_program_add(struct worker_program *p, const char *argument);

#endif
