/* verb_logs.c: bakactl logs RUN: what keeper and trainer wrote. Following asks again twice a second, goes over to a
 * newer attempt when there is one, and ends with the run. */
#include "cli/verb.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "base/json.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/run_view.h"

struct tail {
    struct client *client;
    const struct cli *cli;
    const char *id;
    int64_t attempt; /* 0: the newest */
    int64_t offset;
};

/* 1 when it printed something, 0 when there is nothing new, or a negative code. */
static int print_page(struct tail *t, struct err *err)
{
    struct client_url url;
    client_url_start(&url, "/v1/runs");
    client_url_segment(&url, t->id);
    client_url_segment(&url, "log");
    if (t->attempt)
        client_url_param(&url, "attempt", "%" PRId64, t->attempt);
    client_url_param(&url, "offset", "%" PRId64, t->offset);
    cJSON *page = NULL;
    int rc = client_get(t->client, client_url_text(&url), &page, err);
    client_url_finish(&url);
    if (rc)
        return rc;
    int64_t next = t->offset;
    json_read_int64(cJSON_GetObjectItemCaseSensitive(page, "next"), &next);
    json_read_int64(cJSON_GetObjectItemCaseSensitive(page, "attempt"), &t->attempt);
    const char *text = run_text(page, "text");
    if (*text) {
        if (t->cli->json)
            output_json(stdout, page);
        else
            output_text(stdout, text, strlen(text));
        fflush(stdout);
    }
    cJSON_Delete(page);
    bool news = next > t->offset;
    t->offset = next;
    return news;
}

/* All that is there now. */
static int print_rest(struct tail *t, struct err *err)
{
    int rc;
    while ((rc = print_page(t, err)) > 0)
        ;
    return rc;
}

static int follow(struct tail *t, bool one_attempt, struct err *err)
{
    for (;;) {
        cJSON *run = NULL;
        int rc = run_fetch(t->client, t->id, &run, err);
        if (rc)
            return rc;
        double attempts = run_number(run, "attempts");
        bool ended = run_state_is_ended(run_text(run, "state"));
        cJSON_Delete(run);
        bool newer = attempts > (double)t->attempt;
        /* Read after the state: what an ended run wrote last is not missed. Before the first attempt there is no log.
         */
        rc = attempts >= 1 ? print_rest(t, err) : 0;
        if (rc && rc != -ERR_NOT_FOUND)
            return rc;
        if (newer && t->attempt && !one_attempt) {
            t->attempt++;
            t->offset = 0;
            if (!t->cli->json)
                fprintf(stderr, "%s--- attempt %" PRId64 " ---%s\n", output_style(stderr, STYLE_DIM), t->attempt,
                        output_style(stderr, STYLE_PLAIN));
            continue;
        }
        if (ended || (newer && one_attempt))
            return 0;
        nanosleep(&(struct timespec){0, 500000000}, NULL);
    }
}

static int run(struct cli *cli)
{
    struct err err = {0};
    struct tail tail = {.cli = cli};
    if (args_int64(&cli->args, "--attempt", 1, INT32_MAX, &tail.attempt, &err))
        return cli_usage_err(cli, &err);
    bool one_attempt = tail.attempt > 0;
    cJSON *found = NULL;
    if (cli_client(cli, &tail.client, &err) || run_fetch(tail.client, cli->args.positional[0], &found, &err))
        return cli_fail(cli, &err);
    tail.id = run_text(found, "id");
    int rc = args_flag(&cli->args, "--follow") ? follow(&tail, one_attempt, &err) : print_rest(&tail, &err);
    cJSON_Delete(found);
    return rc ? cli_fail(cli, &err) : CLI_DONE;
}

static const struct args_option options[] = {
    {"--follow", 'f', NULL, "go on as the log grows, until the run has ended", false},
    {"--attempt", 0, "N", "the log of this attempt (else of the newest)", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_logs = {
    .name = "logs",
    .path = "logs",
    .arguments = "RUN [-f] [--attempt N] [--json]",
    .summary = "what a run's worker wrote",
    .help = "Prints standard output and standard error of the worker. Each attempt has a\n"
            "log of its own. With --json: an object a page,\n"
            "{\"attempt\",\"offset\",\"next\",\"text\",\"end\"}, one a line.\n"
            "\n"
            "Examples:\n"
            "  bakactl logs elephant\n"
            "  bakactl logs -f b00012\n"
            "  bakactl logs b00012 --attempt 1\n",
    .options = options,
    .min_positional = 1,
    .max_positional = 1,
    .positional_is = "run's id or name",
    .run = run,
};
