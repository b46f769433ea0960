/* supervisor_prune.c: pruning, which bakad alone does: first the mark in the store, then the folder. Which checkpoints
 * stay says prune.h; one that a job reads stays as well. */
#include "daemon/supervisor_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/config.h"
#include "daemon/prune.h"
#include "daemon/store_curve.h"
#include "daemon/store_job.h"

struct prune {
    struct bakad *bakad;
    int64_t run;
    struct prune_policy policy;
    char run_dir[PATH_SIZE];
    size_t count;
    char (*paths)[STORE_PATH_SIZE];
    struct store_job job;
    uv_work_t work;
};

static void prune_free(struct prune *p)
{
    free(p->paths);
    free(p);
}

/* The run's validation losses beside its checkpoints. */
static int read_losses(struct store_conn *c, int64_t run, struct prune_checkpoint *all, size_t n, struct err *err)
{
    struct store_eval *evals;
    size_t count, at = 0;
    int rc = store_evals(c, run, &evals, &count, err);
    for (size_t i = n; i-- > 0 && rc == 0;) { /* both from the oldest on */
        while (at < count && (evals[at].step < all[i].step || strcmp(evals[at].split, "val") != 0))
            at++;
        if (at < count && evals[at].step == all[i].step)
            all[i].val_loss = evals[at].loss;
    }
    if (rc == 0)
        free(evals);
    return rc;
}

static int choose(const struct prune *p, struct store_conn *c, const struct store_checkpoint *known, size_t n,
                  bool *keep, struct err *err)
{
    struct prune_checkpoint *all = calloc(n + 1, sizeof *all);
    if (all == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++)
        all[i] = (struct prune_checkpoint){known[i].step, known[i].mark == CHECKPOINT_GOOD, NAN};
    int rc = p->policy.best > 0 ? read_losses(c, p->run, all, n, err) : 0;
    if (rc == 0)
        prune_choose(&p->policy, all, n, keep);
    free(all);
    return rc;
}

static int run_prune(struct store_conn *c, void *arg, struct err *err)
{
    struct prune *p = arg;
    struct store_checkpoint *all;
    size_t n;
    int rc = store_checkpoints(c, p->run, &all, &n, err);
    if (rc != 0)
        return rc;
    bool *keep = calloc(n + 1, sizeof *keep);
    p->count = 0;
    free(p->paths);
    p->paths = calloc(n + 1, sizeof *p->paths);
    rc = keep == NULL || p->paths == NULL ? err_set(err, ERR_NO_MEMORY, "out of memory")
                                          : choose(p, c, all, n, keep, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        bool pinned = false;
        if (keep[i])
            continue;
        rc = store_job_is_pinned(c, p->run, all[i].path, &pinned, err);
        if (rc != 0 || pinned)
            continue;
        rc = store_checkpoint_set_mark(c, p->run, all[i].path, CHECKPOINT_PRUNED, err);
        memcpy(p->paths[p->count++], all[i].path, STORE_PATH_SIZE);
    }
    free(keep);
    free(all);
    return rc;
}

static void on_remove(uv_work_t *work)
{
    struct prune *p = work->data;
    char path[PATH_SIZE];
    struct err err;
    for (size_t i = 0; i < p->count; i++)
        if (path_format(path, &err, "%s/%s", p->run_dir, p->paths[i]) != 0 || file_remove_tree(path, &err) != 0)
            log_event(LOG_LEVEL_WARN, "prune_failed", "error=\"%s\"", err.message);
}

static void on_removed(uv_work_t *work, int status)
{
    struct prune *p = work->data;
    struct bakad *b = p->bakad;
    (void)status; /* what stays is cleared before the next launch */
    prune_free(p);
    bakad_leave(b);
}

static void on_marked(void *arg, int rc, const struct err *err)
{
    struct prune *p = arg;
    if (rc != 0)
        log_event(LOG_LEVEL_WARN, "prune_failed", "error=\"%s\"", err->message);
    if (rc != 0 || p->count == 0 || p->bakad->stopping) {
        prune_free(p);
        return;
    }
    p->work.data = p;
    bakad_enter(p->bakad);
    uv_queue_work(p->bakad->loop, &p->work, on_remove, on_removed);
}

void prune_begin(struct supervisor *s, int64_t run)
{
    struct prune *p = calloc(1, sizeof *p);
    char id[STORE_ID_SIZE];
    if (p == NULL)
        return; /* the next checkpoint asks again */
    p->bakad = s->bakad;
    p->run = run;
    const struct config *config = s->bakad->config;
    p->policy = (struct prune_policy){config->keep_checkpoints, config->keep_best, config->keep_every};
    store_id_text(run, id);
    if (path_format(p->run_dir, NULL, "%s/runs/%s", s->bakad->config->home, id) != 0) {
        prune_free(p);
        return;
    }
    p->job = (struct store_job){.run = run_prune, .done = on_marked, .arg = p};
    store_write(s->bakad->store, &p->job);
}
