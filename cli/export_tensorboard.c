/* export_tensorboard.c: see export_tensorboard.h. Steps stream through page by page into a file beside the final one.
 */
#include "cli/export_tensorboard.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/path.h"
#include "cli/client.h"
#include "cli/event_file.h"
#include "cli/run_view.h"

enum { PAGE = 16384 };

struct target {
    FILE *file;
    double start_s; /* Unix time of the run's beginning */
    double ran_s;   /* by the steps so far */
    long long steps, evaluations;
};

static int fetch(struct client *client, const char *id, const char *what, int64_t after, cJSON **out, struct err *err)
{
    struct client_url url;
    client_url_start(&url, "/v1/runs");
    client_url_segment(&url, id);
    client_url_segment(&url, what);
    if (after >= 0) {
        client_url_param(&url, "after", "%" PRId64, after);
        client_url_param(&url, "limit", "%d", PAGE);
    }
    int rc = client_get(client, client_url_text(&url), out, err);
    client_url_finish(&url);
    return rc;
}

/* A row's cells by name; a cell that is null is no scalar, NaN is one. */
static double cell(const cJSON *columns, const cJSON *row, const char *name, bool *known)
{
    const cJSON *column = columns->child, *value = row->child;
    for (; column && value; column = column->next, value = value->next)
        if (strcmp(column->valuestring, name) == 0) {
            double number = NAN;
            *known = !cJSON_IsNull(value) && json_read_double(value, &number);
            return number;
        }
    *known = false;
    return NAN;
}

static size_t add_scalar(struct event_scalar *scalars, size_t n, const char *tag, double value, bool known)
{
    if (known)
        scalars[n++] = (struct event_scalar){tag, value};
    return n;
}

static void write_step(struct target *t, const cJSON *columns, const cJSON *row)
{
    static const struct {
        const char *column, *tag;
    } fields[] = {{"loss", "train/loss"},   {"lr", "train/lr"},         {"grad_norm", "train/grad_norm"},
                  {"epoch", "train/epoch"}, {"tokens", "train/tokens"}, {"tok_s", "speed/tok_s"},
                  {"ms", "speed/ms"},       {"mfu", "speed/mfu"}};
    struct event_scalar scalars[sizeof fields / sizeof *fields];
    size_t n = 0;
    bool known;
    double ms = cell(columns, row, "ms", &known), step = cell(columns, row, "step", &known);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        double value = cell(columns, row, fields[i].column, &known);
        n = add_scalar(scalars, n, fields[i].tag, value, known);
    }
    if (isfinite(ms))
        t->ran_s += ms / 1000;
    event_file_add(t->file, t->start_s + t->ran_s, (int64_t)step, scalars, n);
    t->steps++;
}

static void write_eval(struct target *t, const cJSON *columns, const cJSON *row)
{
    static const char *const names[] = {"loss", "perplexity", "bits_per_byte", "word_perplexity"};
    const cJSON *column = columns->child, *value = row->child;
    const char *split = "val";
    char tags[4][64];
    struct event_scalar scalars[4];
    size_t n = 0;
    bool known;
    for (; column && value; column = column->next, value = value->next)
        if (strcmp(column->valuestring, "split") == 0 && cJSON_IsString(value))
            split = value->valuestring;
    for (int i = 0; i < 4; i++) {
        double number = cell(columns, row, names[i], &known);
        snprintf(tags[i], sizeof tags[i], "%.30s/%s", split, names[i]);
        n = add_scalar(scalars, n, tags[i], number, known);
    }
    event_file_add(t->file, t->start_s + t->ran_s, (int64_t)cell(columns, row, "step", &known), scalars, n);
    t->evaluations++;
}

static int write_steps(struct client *client, const char *id, struct target *t, struct err *err)
{
    int64_t after = 0;
    for (bool more = true; more;) {
        cJSON *page = NULL;
        const cJSON *row;
        int rc = fetch(client, id, "steps", after, &page, err);
        if (rc)
            return rc;
        const cJSON *columns = cJSON_GetObjectItemCaseSensitive(page, "columns");
        cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(page, "rows"))
            write_step(t, columns, row);
        more = json_read_int64(cJSON_GetObjectItemCaseSensitive(page, "next"), &after);
        cJSON_Delete(page);
    }
    return 0;
}

static int write_evals(struct client *client, const char *id, struct target *t, struct err *err)
{
    cJSON *page = NULL;
    const cJSON *row;
    int rc = fetch(client, id, "evals", -1, &page, err);
    if (rc)
        return rc;
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(page, "rows"))
        write_eval(t, cJSON_GetObjectItemCaseSensitive(page, "columns"), row);
    cJSON_Delete(page);
    return 0;
}

static int make_folder(const char *dir, const cJSON *run, bool shared_name, char out[PATH_SIZE], struct err *err)
{
    char pattern[PATH_SIZE];
    glob_t found = {0};
    const char *name = run_text(run, "name"), *id = run_text(run, "id");
    int rc = shared_name ? path_format(out, err, "%s/%s-%s", dir, name, id) : path_format(out, err, "%s/%s", dir, name);
    if (rc == 0)
        rc = file_make_dirs(out, 0755, err);
    if (rc == 0)
        rc = path_format(pattern, err, "%s/events.out.tfevents.*", out);
    if (rc == 0 && glob(pattern, GLOB_NOSORT, NULL, &found) == 0)
        rc = err_set_at(err, ERR_CONFLICT, out, "%s holds event files already: TensorBoard would show both", out);
    globfree(&found);
    return rc;
}

static int write_run(struct client *client, const cJSON *run, const char *folder, char path[PATH_SIZE],
                     struct target *t, struct err *err)
{
    char temporary[PATH_SIZE];
    const char *id = run_text(run, "id");
    double started = run_number(run, "started_ms");
    t->start_s = (isnan(started) ? run_number(run, "created_ms") : started) / 1000;
    int rc = path_format(path, err, "%s/events.out.tfevents.%.0f.baka.%s", folder, t->start_s, id);
    if (rc == 0)
        rc = path_format(temporary, err, "%s/.%s.new", folder, id);
    if (rc)
        return rc;
    t->file = fopen(temporary, "we");
    if (!t->file)
        return err_set_errno(err, errno, "cannot write %s", temporary);
    event_file_begin(t->file, t->start_s);
    rc = write_steps(client, id, t, err);
    if (rc == 0)
        rc = write_evals(client, id, t, err);
    bool failed = ferror(t->file);
    errno = 0;
    if ((fclose(t->file) != 0 || failed) && rc == 0)
        rc = err_set_errno(err, errno ? errno : EIO, "cannot write %s", temporary);
    if (rc == 0 && rename(temporary, path) != 0)
        rc = err_set_errno(err, errno, "cannot rename %s to %s", temporary, path);
    if (rc)
        unlink(temporary);
    return rc;
}

static bool name_is_shared(const cJSON *runs, const cJSON *run)
{
    const cJSON *other;
    int same = 0;
    cJSON_ArrayForEach(other, runs)
        same += strcmp(run_text(other, "name"), run_text(run, "name")) == 0;
    return same > 1;
}

int export_tensorboard(struct client *client, const cJSON *runs, const char *dir, cJSON *written, struct err *err)
{
    const cJSON *run;
    cJSON_ArrayForEach(run, runs) {
        char folder[PATH_SIZE], path[PATH_SIZE];
        struct target target = {0};
        run_warn_missing(run);
        int rc = make_folder(dir, run, name_is_shared(runs, run), folder, err);
        if (rc == 0)
            rc = write_run(client, run, folder, path, &target, err);
        if (rc)
            return rc;
        cJSON *entry = cJSON_CreateObject();
        if (!entry || !cJSON_AddItemToArray(written, entry) ||
            !cJSON_AddStringToObject(entry, "run", run_text(run, "id")) ||
            !cJSON_AddStringToObject(entry, "path", path) ||
            !cJSON_AddNumberToObject(entry, "steps", (double)target.steps) ||
            !cJSON_AddNumberToObject(entry, "evaluations", (double)target.evaluations))
            abort();
    }
    return 0;
}
