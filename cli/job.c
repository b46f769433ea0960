/* job.c: see job.h. The job is looked at often at first, then four times a second: most evaluations are short. */
#include "cli/job.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/err.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/reference.h"
#include "cli/request_id.h"
#include "cli/run_view.h"
#include "cli/verb.h"

enum { LOOK_MIN_MS = 10, LOOK_MAX_MS = 250, REPORT_S = 10, REPORT_MAX_S = 600 };

int job_submit(struct client *client, const char *run, const char *kind, cJSON *body, cJSON **answer, struct err *err)
{
    cJSON_AddStringToObject(body, "run", run);
    cJSON_AddStringToObject(body, "kind", kind);
    int rc = request_post_once(client, "/v1/jobs", body, answer, err);
    if (rc == -ERR_NOT_FOUND)
        reference_explain(client, run, err);
    return rc;
}

void job_print_queued(const struct cli *cli, const cJSON *answer)
{
    const cJSON *run = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(answer, "runs"), 0);
    if (cli->json)
        output_json(stdout, answer);
    else
        printf("%s %s: %s\n", run_text(run, "id"), run_text(run, "name"), run_text(run, "state"));
}

int job_refuse_options(const struct cli *cli, const char *id, const char *what)
{
    for (int i = 0; i < cli->args.given_count; i++) {
        const char *name = cli->args.given[i].option->name;
        for (const struct args_option *o = cli->verb->options; o->name; o++)
            if (strcmp(o->name, name) == 0)
                return cli_usage(cli, "%s: %s is %s and was asked already", name, id, what);
    }
    return CLI_DONE;
}

struct waiting {
    const struct cli *cli;
    struct client *client;
    const char *id;
    struct progress *progress;
    int64_t start_us, report_us;
    bool announced; /* that the daemon is gone */
};

/* On a terminal a line that is redrawn, elsewhere one after 10 s and then ever more rarely, as `wait` does. */
static void tell(struct waiting *w, const cJSON *run)
{
    int64_t now = clock_monotonic_us();
    char time[RUN_VIEW_SIZE];
    const char *reason = run_text(run, "reason");
    run_format_seconds((double)(now - w->start_us) / 1e6, time);
    progress_update(w->progress, NAN, "%s%s%s, %s", run_text(run, "state"), *reason ? ": " : "", reason, time);
    if (output_is_terminal(stderr) || w->cli->json || now < w->report_us)
        return;
    int64_t pause_s = (now - w->start_us) / 10000000;
    pause_s = pause_s < REPORT_S ? REPORT_S : pause_s > REPORT_MAX_S ? REPORT_MAX_S : pause_s;
    w->report_us = now + pause_s * 1000000;
    fprintf(stderr, "%s %s: %s for %s\n", w->id, run_text(run, "name"), run_text(run, "state"), time);
}

/* *run: NULL where the daemon is away. */
static int look(struct waiting *w, cJSON **run, struct err *err)
{
    cJSON *runs = cJSON_CreateArray();
    int rc = run_fetch_all(w->client, &w->id, 1, runs, err);
    *run = rc == 0 ? cJSON_DetachItemFromArray(runs, 0) : NULL;
    cJSON_Delete(runs);
    if (rc == 0)
        w->announced = false;
    if (err->code != ERR_UNAVAILABLE && err->code != ERR_BUSY)
        return rc;
    if (rc != 0 && !w->announced) {
        progress_hide(w->progress);
        fprintf(stderr, "bakactl: the daemon of %s went away; %s goes on, waiting for it to come back\n", w->cli->home,
                w->id);
        w->announced = true;
    }
    return 0;
}

static int wait_for(struct waiting *w, const struct job_look *own, struct err *err)
{
    bool ended = false;
    for (int64_t ms = LOOK_MIN_MS; !ended; ms = ms * 5 / 4 + 1 < LOOK_MAX_MS ? ms * 5 / 4 + 1 : LOOK_MAX_MS) {
        cJSON *run;
        *err = (struct err){0};
        int rc = look(w, &run, err);
        if (run) {
            ended = run_state_is_ended(run_text(run, "state"));
            if (own->on_look) {
                progress_hide(w->progress); /* what it writes must not stand behind our line */
                rc = own->on_look(own->arg, run, err);
            }
            if (!own->on_look || rc > 0) {
                tell(w, run);
                rc = 0;
            }
        }
        cJSON_Delete(run);
        if (rc != 0)
            return rc;
        if (!ended)
            nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    }
    return 0;
}

int job_wait(const struct cli *cli, struct client *client, const char *id, const struct job_look *own, cJSON **out,
             struct err *err)
{
    struct waiting w = {.cli = cli, .client = client, .id = id, .start_us = clock_monotonic_us()};
    w.report_us = w.start_us + REPORT_S * INT64_C(1000000);
    w.progress = progress_create(id);
    int rc = wait_for(&w, own, err);
    progress_destroy(w.progress);
    cJSON *run = NULL;
    if (rc == 0)
        rc = run_fetch(client, id, &run, err);
    if (rc == 0 && strcmp(run_text(run, "state"), "finished") != 0) {
        const char *reason = run_text(run, "reason");
        rc = err_set(err, ERR_INVALID, "%s %s%s%.500s", id, run_text(run, "state"), *reason ? ": " : "", reason);
    }
    if (rc == 0)
        *out = run;
    else
        cJSON_Delete(run);
    return rc;
}
