/* follow.c: see follow.h. The runs are followed in groups through event streams, a group until all its runs have ended:
 * a stream begins with the state of each run, so a new stream after a restart of the daemon misses nothing. */
#include "cli/follow.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/panel.h"
#include "cli/run_view.h"
#include "cli/verb.h"

/* Runs in one stream: an address and the daemon's limit of parameters have to hold them. */
enum { GROUP = 100, RECONNECT_MS = 250 };

/* Without a terminal a line tells how far the runs are: each 10 s at first, then each tenth of the time waited so far,
 * so that neither a minute looks dead nor a night fills a log. */
enum { REPORT_S = 10, REPORT_MAX_S = 600, REPORT_RUNS = 4 };

struct follow {
    struct cli *cli;
    struct client *client;
    cJSON *runs;
    int64_t deadline_us; /* monotonic; 0: none */
    bool announced;      /* that the daemon is gone */
    int64_t start_us, report_us;
    struct panel panel;
};

static bool is_ended(const cJSON *run)
{
    return run_state_is_ended(run_text(run, "state"));
}

static int64_t left_ms(const struct follow *f)
{
    if (f->deadline_us == 0)
        return 0;
    int64_t left = (f->deadline_us - clock_monotonic_us() + 999) / 1000;
    return left > 0 ? left : -1;
}

static void print_end(const struct follow *f, const cJSON *run)
{
    run_warn_missing(run);
    if (f->cli->json)
        return;
    char loss[RUN_VIEW_SIZE], time[RUN_VIEW_SIZE], epoch[RUN_VIEW_SIZE];
    const char *state = run_text(run, "state"), *reason = run_text(run, "reason");
    bool good = strcmp(state, "finished") == 0;
    double val = run_number(run, "val_loss");
    printf("%s %s: %s%s%s", run_text(run, "id"), run_text(run, "name"),
           output_style(stdout, good ? STYLE_GREEN : STYLE_RED), state, output_style(stdout, STYLE_PLAIN));
    if (!good && *reason) {
        fputs(", ", stdout);
        output_text(stdout, reason, strlen(reason));
    }
    if (!isnan(run_number(run, "epoch")))
        printf(", epoch %s", run_format_epoch(run_number(run, "epoch"), epoch));
    if (!isnan(val))
        printf(", validation loss %s", run_format_loss(val, loss));
    if (run_number(run, "skipped_steps") > 0)
        printf(", %.0f step%s skipped", run_number(run, "skipped_steps"),
               run_number(run, "skipped_steps") == 1 ? "" : "s");
    if (!isnan(run_number(run, "seconds")))
        printf(", took %s", run_format_seconds(run_number(run, "seconds"), time));
    putchar('\n');
    fflush(stdout);
}

/* The name's column is as wide as the longest, so that a line with a short name fits 80 columns. */
static int name_width(const struct follow *f)
{
    int width = 8;
    const cJSON *run;
    cJSON_ArrayForEach(run, f->runs) {
        int length = (int)strlen(run_text(run, "name"));
        width = length > width ? length : width;
    }
    return width < 24 ? width : 24;
}

static void add_line(struct follow *f, const cJSON *run)
{
    static const char full[] = "##########", empty[] = "..........";
    char epoch[RUN_VIEW_SIZE], loss[RUN_VIEW_SIZE], rate[RUN_VIEW_SIZE], left[RUN_VIEW_SIZE];
    double share = run_share(run);
    const char *state = run_text(run, "state");
    int width = name_width(f);
    if (strcmp(state, "running") != 0 || isnan(share)) {
        panel_line(&f->panel, "%-*.*s  %s", width, width, run_text(run, "name"), state);
        return;
    }
    int done = (int)(share * 10);
    panel_line(&f->panel, "%-*.*s  %.*s%.*s %3.0f%%  epoch %s  loss %s  %s left  %s tok/s", width, width,
               run_text(run, "name"), done, full, 10 - done, empty, floor(100 * share),
               run_format_epoch(run_number(run, "epoch"), epoch), run_format_loss(run_number(run, "train_loss"), loss),
               run_format_seconds(run_number(run, "eta_s"), left), run_format_count(run_number(run, "tok_s"), rate));
}

/* Those that run first, then those that wait, as far as the lines go. */
static void draw(struct follow *f, bool at_once)
{
    if (!f->panel.active || (!at_once && !panel_is_due(&f->panel)))
        return;
    int ended = 0, waiting = 0, count = cJSON_GetArraySize(f->runs), shown = 0;
    const cJSON *run;
    cJSON_ArrayForEach(run, f->runs) {
        bool running = strcmp(run_text(run, "state"), "running") == 0;
        ended += is_ended(run);
        if (running && shown < PANEL_LINES - 3) {
            add_line(f, run);
            shown++;
        }
        waiting += !running && !is_ended(run);
    }
    cJSON_ArrayForEach(run, f->runs) {
        if (waiting == 0 || shown >= PANEL_LINES - 3)
            break;
        if (strcmp(run_text(run, "state"), "running") != 0 && !is_ended(run)) {
            add_line(f, run);
            shown++;
            waiting--;
        }
    }
    if (waiting > 0)
        panel_line(&f->panel, "and %d more", waiting);
    if (count > 1)
        panel_line(&f->panel, "%d of %d ended", ended, count);
    panel_draw(&f->panel);
}

static void report_run(const cJSON *run)
{
    char share[RUN_VIEW_SIZE], epoch[RUN_VIEW_SIZE], loss[RUN_VIEW_SIZE], left[RUN_VIEW_SIZE];
    fprintf(stderr, "%s %s (epoch %s, loss %s, %s left)", run_text(run, "name"), run_format_share(run, share),
            run_format_epoch(run_number(run, "epoch"), epoch), run_format_loss(run_number(run, "train_loss"), loss),
            run_format_seconds(run_number(run, "eta_s"), left));
}

static void report(struct follow *f)
{
    int64_t now = clock_monotonic_us();
    if (f->panel.active || f->cli->json || now < f->report_us)
        return;
    int64_t pause_s = (now - f->start_us) / 10000000;
    pause_s = pause_s < REPORT_S ? REPORT_S : pause_s > REPORT_MAX_S ? REPORT_MAX_S : pause_s;
    f->report_us = now + pause_s * 1000000;
    int ended = 0, running = 0, count = cJSON_GetArraySize(f->runs);
    const cJSON *run;
    cJSON_ArrayForEach(run, f->runs) {
        ended += is_ended(run);
        running += strcmp(run_text(run, "state"), "running") == 0;
    }
    fprintf(stderr, "%d of %d ended, %d running", ended, count, running);
    int shown = 0;
    cJSON_ArrayForEach(run, f->runs)
        if (strcmp(run_text(run, "state"), "running") == 0 && shown < REPORT_RUNS) {
            fputs(shown++ ? ", " : ": ", stderr);
            report_run(run);
        }
    if (running > shown)
        fprintf(stderr, ", and %d more", running - shown);
    putc('\n', stderr);
}

static cJSON *find_run(struct follow *f, const char *id)
{
    cJSON *run;
    cJSON_ArrayForEach(run, f->runs)
        if (strcmp(run_text(run, "id"), id) == 0)
            return run;
    return NULL;
}

/* Takes the fields of `data` over; "loss" of a step is shown as the newest training loss. */
static void update_run(cJSON *run, const cJSON *data)
{
    const cJSON *field;
    cJSON_ArrayForEach(field, data) {
        const char *key = strcmp(field->string, "loss") == 0 ? "train_loss" : field->string;
        cJSON *copy = cJSON_Duplicate(field, true);
        if (cJSON_GetObjectItemCaseSensitive(run, key))
            cJSON_ReplaceItemInObjectCaseSensitive(run, key, copy);
        else
            cJSON_AddItemToObject(run, key, copy);
    }
}

/* Whether none of the group, the first GROUP runs that had not ended, is left: then the stream has done its work. */
static bool group_is_done(const struct follow *f, char ids[GROUP][64], int count)
{
    for (int i = 0; i < count; i++) {
        const cJSON *run;
        cJSON_ArrayForEach(run, f->runs)
            if (strcmp(run_text(run, "id"), ids[i]) == 0 && !is_ended(run))
                return false;
    }
    return true;
}

struct group {
    struct follow *follow;
    char ids[GROUP][64];
    int count;
};

static int on_event(void *arg, const char *event, const cJSON *data)
{
    struct group *g = arg;
    struct follow *f = g->follow;
    cJSON *run = find_run(f, run_text(data, "id"));
    if (!run)
        return 0;
    f->announced = false;
    if (strcmp(event, "run") == 0) {
        bool before = is_ended(run);
        update_run(run, data);
        if (!before && is_ended(run)) {
            panel_hide(&f->panel);
            print_end(f, run);
        }
        if (group_is_done(f, g->ids, g->count))
            return 1;
    } else if (strcmp(event, "step") == 0) {
        update_run(run, data);
    }
    draw(f, strcmp(event, "run") == 0);
    report(f);
    return 0;
}

/* The stream's own time-out may be late by a second. */
static int on_tick(void *arg)
{
    struct group *g = arg;
    draw(g->follow, false);
    report(g->follow);
    return g->follow->deadline_us && left_ms(g->follow) < 0;
}

/* Fills g with runs that have not ended; 0 when there are none. */
static int gather(struct follow *f, struct group *g)
{
    g->follow = f;
    g->count = 0;
    const cJSON *run;
    cJSON_ArrayForEach(run, f->runs)
        if (!is_ended(run) && g->count < GROUP)
            snprintf(g->ids[g->count++], sizeof *g->ids, "%s", run_text(run, "id"));
    return g->count;
}

static int stream_group(struct follow *f, struct group *g, struct err *err)
{
    struct client_url url;
    client_url_start(&url, "/v1/stream");
    for (int i = 0; i < g->count; i++)
        client_url_param(&url, "ref", "%s", g->ids[i]);
    struct client_stream stream = {
        .on_event = on_event, .on_tick = on_tick, .arg = g, .timeout_ms = f->deadline_us ? left_ms(f) : 0};
    int rc = client_stream(f->client, client_url_text(&url), &stream, err);
    client_url_finish(&url);
    return rc;
}

static void wait_for_daemon(struct follow *f)
{
    panel_hide(&f->panel);
    if (!f->announced)
        fprintf(stderr, "bakactl: the daemon of %s went away; its runs go on, waiting for it to come back\n",
                f->cli->home);
    f->announced = true;
    int64_t pause_ms = RECONNECT_MS, left = left_ms(f);
    if (f->deadline_us && left < pause_ms)
        pause_ms = left > 0 ? left : 0;
    nanosleep(&(struct timespec){pause_ms / 1000, pause_ms % 1000 * 1000000}, NULL);
}

static int finish(struct follow *f, bool timed_out, double timeout_s)
{
    panel_hide(&f->panel);
    int unended = 0, unfinished = 0;
    const cJSON *run;
    cJSON_ArrayForEach(run, f->runs) {
        unended += !is_ended(run);
        unfinished += strcmp(run_text(run, "state"), "finished") != 0;
    }
    if (f->cli->json) {
        cJSON *answer = cJSON_CreateObject();
        cJSON_AddItemReferenceToObject(answer, "runs", f->runs);
        cJSON_AddBoolToObject(answer, "timed_out", timed_out);
        output_json(stdout, answer);
        cJSON_Delete(answer);
    }
    if (timed_out)
        fprintf(stderr, "bakactl: after %g s %d of %d runs have not ended\n", timeout_s, unended,
                cJSON_GetArraySize(f->runs));
    return unfinished ? CLI_FAILED : CLI_DONE;
}

int follow_runs(struct cli *cli, struct client *client, cJSON *runs, double timeout_s)
{
    struct follow f = {.cli = cli, .client = client, .runs = runs};
    struct group group;
    struct err err = {0};
    panel_init(&f.panel);
    f.start_us = clock_monotonic_us();
    f.report_us = f.start_us + REPORT_S * INT64_C(1000000);
    if (timeout_s >= 0)
        f.deadline_us = clock_monotonic_us() + (int64_t)(fmin(timeout_s, 1e9) * 1e6) + 1;
    const cJSON *run;
    cJSON_ArrayForEach(run, runs)
        if (is_ended(run))
            print_end(&f, run);
    while (gather(&f, &group)) {
        if (f.deadline_us && left_ms(&f) < 0)
            return finish(&f, true, timeout_s);
        int rc = stream_group(&f, &group, &err);
        if (rc < 0 && err.code != ERR_UNAVAILABLE && err.code != ERR_BUSY) {
            panel_hide(&f.panel);
            return cli_fail(cli, &err);
        }
        if (rc < 0 || rc == CLIENT_STREAM_ENDED)
            wait_for_daemon(&f);
    }
    return finish(&f, false, timeout_s);
}
