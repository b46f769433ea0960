#include "cli/run_view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/reference.h"

const char *run_text(const cJSON *run, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(run, key));
    return text ? text : "";
}

double run_number(const cJSON *run, const char *key)
{
    double value = NAN;
    json_read_double(cJSON_GetObjectItemCaseSensitive(run, key), &value);
    return value;
}

static const struct {
    const char *word;
    bool ended;
} states[] = {{"queued", false},  {"blocked", false}, {"starting", false}, {"running", false}, {"paused", false},
              {"finished", true}, {"stopped", true},  {"failed", true},    {"diverged", true}, {"cancelled", true}};

bool run_state_is_known(const char *state)
{
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (strcmp(state, states[i].word) == 0)
            return true;
    return false;
}

bool run_state_is_ended(const char *state)
{
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (strcmp(state, states[i].word) == 0)
            return states[i].ended;
    return false;
}

static const char *dash(char out[RUN_VIEW_SIZE])
{
    snprintf(out, RUN_VIEW_SIZE, "-");
    return out;
}

const char *run_format_loss(double loss, char out[RUN_VIEW_SIZE])
{
    if (isnan(loss))
        return dash(out);
    snprintf(out, RUN_VIEW_SIZE, fabs(loss) < 1e4 ? "%.4f" : "%.4g", loss);
    return out;
}

const char *run_format_count(double n, char out[RUN_VIEW_SIZE])
{
    if (isnan(n))
        return dash(out);
    output_format_count(n, out);
    return out;
}

const char *run_format_epoch(double epoch, char out[RUN_VIEW_SIZE])
{
    if (isnan(epoch))
        return dash(out);
    if (fabs(epoch - round(epoch)) < 0.005 && epoch < 1e9 && epoch >= 0.995)
        snprintf(out, RUN_VIEW_SIZE, "%.0f", epoch);
    else
        snprintf(out, RUN_VIEW_SIZE, epoch < 1e6 ? "%.2f" : "%.3g", epoch);
    return out;
}

const char *run_format_seconds(double seconds, char out[RUN_VIEW_SIZE])
{
    if (!isfinite(seconds))
        return dash(out);
    clock_format_duration(seconds, out);
    return out;
}

const char *run_format_bytes(double bytes, char out[RUN_VIEW_SIZE])
{
    if (isnan(bytes))
        return dash(out);
    output_format_bytes(bytes, out);
    return out;
}

const char *run_format_percent(double share, char out[RUN_VIEW_SIZE])
{
    if (isnan(share))
        return dash(out);
    snprintf(out, RUN_VIEW_SIZE, "%.3g%%", 100 * share);
    return out;
}

/* What a bill is in, from a hundredth of it on. */
const char *run_format_energy(double joules, char out[RUN_VIEW_SIZE])
{
    const double kwh = 3.6e6;
    if (isnan(joules))
        return dash(out);
    if (joules < kwh / 100)
        snprintf(out, RUN_VIEW_SIZE, "%.0f J", joules);
    else
        snprintf(out, RUN_VIEW_SIZE, joules < 100 * kwh ? "%.3g kWh" : "%.0f kWh", joules / kwh);
    return out;
}

double run_share(const cJSON *run)
{
    double step = run_number(run, "step"), total = run_number(run, "total_steps");
    if (!(total > 0))
        return NAN;
    return isnan(step) ? 0 : fmin(step / total, 1);
}

const char *run_format_share(const cJSON *run, char out[RUN_VIEW_SIZE])
{
    double share = run_share(run);
    if (isnan(share))
        return dash(out);
    snprintf(out, RUN_VIEW_SIZE, "%.0f%%", floor(100 * share));
    return out;
}

void run_warn_missing(const cJSON *run)
{
    double missing = run_number(run, "missing_steps");
    if (missing > 0)
        fprintf(stderr,
                "bakactl: warning: %s %s: %.0f step%s missing, a journal was damaged; bakactl show %s tells where\n",
                run_text(run, "id"), run_text(run, "name"), missing, missing == 1 ? " is" : "s are",
                run_text(run, "id"));
}

int run_fetch(struct client *client, const char *ref, cJSON **out, struct err *err)
{
    struct client_url url;
    client_url_start(&url, "/v1/runs");
    client_url_segment(&url, ref);
    int rc = client_get(client, client_url_text(&url), out, err);
    client_url_finish(&url);
    if (rc)
        reference_explain(client, ref, err);
    return rc;
}

static bool has_id(const cJSON *runs, const char *id)
{
    const cJSON *run;
    cJSON_ArrayForEach(run, runs)
        if (strcmp(run_text(run, "id"), id) == 0)
            return true;
    return false;
}

/* One page of what `ref` stands for. *next is "" at the end; *found counts runs, also those known already. */
static int fetch_page(struct client *client, const char *ref, char next[64], cJSON *runs, int *found, struct err *err)
{
    struct client_url url;
    client_url_start(&url, "/v1/runs");
    client_url_param(&url, "ref", "%s", ref);
    client_url_param(&url, "limit", "%d", 200);
    if (*next)
        client_url_param(&url, "cursor", "%s", next);
    cJSON *page = NULL;
    int rc = client_get(client, client_url_text(&url), &page, err);
    client_url_finish(&url);
    if (rc)
        return rc;
    cJSON *list = cJSON_GetObjectItemCaseSensitive(page, "runs");
    for (cJSON *run; (run = cJSON_DetachItemFromArray(list, 0));) {
        ++*found;
        if (has_id(runs, run_text(run, "id")))
            cJSON_Delete(run);
        else
            cJSON_AddItemToArray(runs, run);
    }
    snprintf(next, 64, "%s", run_text(page, "next"));
    cJSON_Delete(page);
    return 0;
}

int run_fetch_all(struct client *client, const char *const *refs, int count, cJSON *runs, struct err *err)
{
    char unknown[512] = "";
    size_t used = 0;
    for (int i = 0; i < count; i++) {
        char next[64] = "";
        int found = 0;
        do {
            int rc = fetch_page(client, refs[i], next, runs, &found, err);
            if (rc)
                return rc;
        } while (*next);
        if (found == 0 && used < sizeof unknown)
            used += (size_t)snprintf(unknown + used, sizeof unknown - used, "%s%s", used ? ", " : "", refs[i]);
    }
    return used ? err_set(err, ERR_NOT_FOUND, "no run and no tag is called %s", unknown) : 0;
}
