/* main.c: baka-worker. */
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "schema/spec.h"
#include "worker/arguments.h"
#include "worker/eval_run.h"
#include "worker/export_hf.h"
#include "worker/import_hf.h"
#include "worker/job_run.h"
#include "worker/keeper.h"
#include "worker/plan_print.h"
#include "worker/sample_run.h"
#include "worker/trainer.h"
#include "worker/tune.h"
#include "worker/version.h"

static int fail(const struct err *err, int status)
{
    if (err->path[0] && !strstr(err->message, err->path))
        fprintf(stderr, "baka-worker: %s: %s\n", err->path, err->message);
    else
        fprintf(stderr, "baka-worker: %s\n", err->message);
    return status;
}

/* Output that did not reach its place is a failure. */
static int flush_output(void)
{
    struct err err = {0};
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    err_set(&err, ERR_IO, "cannot write to standard output");
    return fail(&err, 1);
}

int main(int argc, char **argv)
{
    struct arguments a;
    struct err err = {0};
    if (arguments_parse(argc, argv, &a, &err) != 0) {
        fail(&err, 2);
        fputs("Try 'baka-worker --help'.\n", stderr);
        return 2;
    }
    switch (a.mode) {
    case MODE_HELP:
        arguments_print_help(stdout);
        break;
    case MODE_VERSION:
        printf("baka-worker %s\n", BAKA_VERSION);
        break;
    case MODE_DESCRIBE_SCHEMA:
        spec_print_json_schema(stdout);
        break;
    case MODE_DESCRIBE_MARKDOWN:
        spec_print_markdown(stdout);
        break;
    case MODE_PLAN:
        if (plan_print(a.spec, a.home, stdout, &err) != 0)
            return fail(&err, 1);
        break;
    case MODE_TUNE:
        if (tune_run(a.spec, a.home, a.table[0] ? a.table : NULL, stdout, &err) != 0)
            return fail(&err, 1);
        break;
    case MODE_IMPORT_HF:
        if (import_hf(a.home, a.hf_dir, a.name, stdout, &err) != 0)
            return fail(&err, 1);
        break;
    case MODE_EXPORT_HF:
        if (export_hf(a.home, a.run_dir, a.hf_dir, stdout, &err) != 0)
            return fail(&err, 1);
        break;
    case MODE_EVAL:
        if (eval_run(&a, stdout, &err) != 0)
            return fail(&err, 1);
        break;
    case MODE_SAMPLE:
        if (sample_run(&a, stdin, stdout, &err) != 0)
            return fail(&err, 1);
        break;
    case MODE_TRAIN:
        return keeper_run(&a, trainer_run);
    case MODE_JOB:
        return keeper_run(&a, job_run);
    }
    return flush_output();
}
