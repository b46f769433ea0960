/* checkpoint_read.c: opening and restoring checkpoints, see checkpoint.h. The model's file stays mapped from the moment
 * its hash was taken to the moment its tensors were copied, so what was verified is what is used. */
#include "worker/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/file.h"
#include "base/path.h"
#include "worker/checkpoint_format.h"
#include "worker/checkpoint_tensors.h"
#include "worker/mapped_file.h"
#include "worker/model.h"
#include "worker/safetensors.h"

struct checkpoint {
    char path[64];
    struct checkpoint_state state;
    struct mapped_file map;
    struct safetensors tensors;
};

int checkpoint_list_tensors(const struct model *model, struct safetensors_tensor **out, int *count, struct err *err)
{
    int n = model_state_count(model);
    struct safetensors_tensor *list = calloc((size_t)n + 1, sizeof *list);
    if (!list)
        return err_set(err, ERR_NO_MEMORY, "no memory to list %d tensors", n);
    for (int i = 0; i < n; i++) {
        struct model_tensor t;
        model_state_tensor(model, i, &t);
        snprintf(list[i].name, sizeof list[i].name, "%s", t.name);
        list[i].dtype = t.dtype == DTYPE_F64 ? SAFETENSORS_F64 : SAFETENSORS_F32; /* state is wide */
        list[i].rank = t.cols == 1 ? 1 : 2;
        list[i].shape[0] = t.rows;
        list[i].shape[1] = t.cols;
        list[i].bytes = t.bytes;
    }
    *out = list;
    *count = n;
    return 0;
}

/* Puts the checkpoint's path in front of a message about one of its files. */
static int in_checkpoint(const char *path, int rc, struct err *err)
{
    if (err) {
        struct err inner = *err;
        err_set_at(err, inner.code, path, "checkpoint %s: %.600s", path, inner.message);
    }
    return rc;
}

/* "checkpoints/STEP-aN" and nothing else; gives STEP. */
static int parse_path(const char *path, int64_t *step, struct err *err)
{
    int attempt = 0;
    char again[64];
    if (sscanf(path, "checkpoints/%" SCNd64 "-a%d", step, &attempt) == 2 && *step >= 0 && attempt > 0) {
        snprintf(again, sizeof again, "checkpoints/%" PRId64 "-a%d", *step, attempt);
        if (strcmp(again, path) == 0)
            return 0;
    }
    return err_set(err, ERR_INVALID, "'%.60s' is not of the form checkpoints/STEP-aATTEMPT", path);
}

static int read_small(const char *dir, const char *name, char **out, size_t *size, struct err *err)
{
    char path[PATH_SIZE];
    int rc = path_format(path, err, "%s/%s", dir, name);
    if (rc == 0)
        rc = file_read_all(path, CHECKPOINT_TEXT_MAX, out, size, err);
    return rc;
}

static int check_content(const struct checkpoint_file *file, const void *bytes, size_t size, struct err *err)
{
    if ((uint64_t)file->bytes != size)
        return err_set(err, ERR_DAMAGED, "%s has %zu bytes, its manifest says %" PRId64, file->name, size, file->bytes);
    char hex[SHA256_HEX_SIZE];
    sha256_hex(bytes, size, hex);
    if (strcmp(hex, file->sha256) != 0)
        return err_set(err, ERR_DAMAGED, "%s has another SHA-256 than its manifest says", file->name);
    return 0;
}

static int map_model(struct checkpoint *c, const char *dir, const struct checkpoint_file *file, struct err *err)
{
    char path[PATH_SIZE];
    int rc = path_format(path, err, "%s/%s", dir, file->name);
    if (rc != 0)
        return rc;
    rc = mapped_file_open(&c->map, path, file->name, err);
    if (rc == 0)
        rc = check_content(file, c->map.bytes, c->map.size, err);
    if (rc == 0)
        rc = safetensors_parse(c->map.bytes, c->map.size, file->name, &c->tensors, err);
    return rc;
}

static int read_files(struct checkpoint *c, const char *dir, struct err *err)
{
    struct checkpoint_file files[CHECKPOINT_FILES];
    char *text = NULL;
    size_t size = 0;
    int rc = read_small(dir, "manifest.json", &text, &size, err);
    if (rc == 0)
        rc = checkpoint_parse_manifest(text, size, files, err);
    free(text);
    if (rc != 0)
        return rc;
    text = NULL;
    rc = read_small(dir, files[1].name, &text, &size, err);
    if (rc == 0)
        rc = check_content(&files[1], text, size, err);
    if (rc == 0)
        rc = checkpoint_parse_state(text, size, &c->state, err);
    free(text);
    return rc == 0 ? map_model(c, dir, &files[0], err) : rc;
}

int checkpoint_open(const char *run_dir, const char *path, struct checkpoint **out, struct err *err)
{
    int64_t step;
    char dir[PATH_SIZE];
    int rc = parse_path(path, &step, err);
    if (rc == 0)
        rc = path_format(dir, err, "%s/%s", run_dir, path);
    if (rc != 0)
        return rc;
    struct checkpoint *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, ERR_NO_MEMORY, "no memory to open a checkpoint");
    snprintf(c->path, sizeof c->path, "%s", path);
    rc = read_files(c, dir, err);
    if (rc == 0 && c->state.step != step)
        rc = err_set(err, ERR_DAMAGED, "state.json is of step %" PRId64, c->state.step);
    if (rc != 0) {
        checkpoint_close(c);
        return in_checkpoint(path, rc, err);
    }
    *out = c;
    return 0;
}

struct candidate {
    char path[64];
    int64_t step;
    int attempt;
};

static int newest_first(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->step != y->step)
        return x->step > y->step ? -1 : 1;
    return x->attempt > y->attempt ? -1 : x->attempt < y->attempt;
}

static int list_candidates(const char *run_dir, struct candidate **out, size_t *count, struct err *err)
{
    char path[PATH_SIZE];
    int rc = path_format(path, err, "%s/checkpoints", run_dir);
    DIR *dir = rc == 0 ? opendir(path) : NULL;
    if (rc == 0 && !dir && errno != ENOENT)
        rc = err_set_errno(err, errno, "cannot read %s", path);
    for (struct dirent *entry; dir && rc == 0 && (entry = readdir(dir));) {
        struct candidate c;
        if ((size_t)snprintf(c.path, sizeof c.path, "checkpoints/%s", entry->d_name) >= sizeof c.path ||
            parse_path(c.path, &c.step, NULL) != 0)
            continue;
        c.attempt = atoi(strstr(c.path, "-a") + 2);
        struct candidate *grown = realloc(*out, (*count + 1) * sizeof *grown);
        if (!grown) {
            rc = err_set(err, ERR_NO_MEMORY, "no memory to list checkpoints");
            break;
        }
        *out = grown;
        grown[(*count)++] = c;
    }
    if (dir)
        closedir(dir);
    return rc;
}

int checkpoint_open_newest(const char *run_dir, struct checkpoint **out, struct err *err)
{
    struct candidate *list = NULL;
    size_t count = 0;
    struct err later;
    int rc = list_candidates(run_dir, &list, &count, err);
    if (rc == 0 && count == 0)
        rc = err_set(err, ERR_NOT_FOUND, "the run has no checkpoint");
    if (count > 1)
        qsort(list, count, sizeof *list, newest_first);
    if (count > 0 && rc == 0)
        rc = checkpoint_open(run_dir, list[0].path, out, err);
    for (size_t i = 1; i < count && rc != 0; i++)
        if (checkpoint_open(run_dir, list[i].path, out, &later) == 0)
            rc = 0;
    free(list);
    return rc;
}

const char *checkpoint_get_path(const struct checkpoint *c)
{
    return c->path;
}

const struct checkpoint_state *checkpoint_get_state(const struct checkpoint *c)
{
    return &c->state;
}

static int check_shapes(const struct checkpoint *c, const struct safetensors_tensor *wanted, int count, struct err *err)
{
    if (c->tensors.count != count)
        return err_set(err, ERR_DAMAGED, "it holds %d tensors, the model has %d", c->tensors.count, count);
    for (int i = 0; i < count; i++) {
        const struct safetensors_tensor *w = &wanted[i], *have = safetensors_find(&c->tensors, w->name);
        if (!have)
            return err_set(err, ERR_DAMAGED, "it has no tensor %s", w->name);
        if (have->dtype != w->dtype || have->rank != w->rank || have->shape[0] != w->shape[0] ||
            (w->rank == 2 && have->shape[1] != w->shape[1]) || have->bytes != w->bytes)
            return err_set(err, ERR_DAMAGED, "its tensor %s has another shape or type than the model's", w->name);
    }
    return 0;
}

int checkpoint_restore(const struct checkpoint *c, struct model *model, struct err *err)
{
    struct safetensors_tensor *wanted = NULL;
    int count = 0;
    int rc = checkpoint_list_tensors(model, &wanted, &count, err);
    if (rc != 0)
        return rc;
    rc = check_shapes(c, wanted, count, err);
    if (rc != 0) {
        free(wanted);
        return in_checkpoint(c->path, rc, err);
    }
    for (int i = 0; i < count && rc == 0; i++)
        rc = model_write_state(model, i, c->tensors.data + safetensors_find(&c->tensors, wanted[i].name)->offset, err);
    if (rc == 0)
        rc = model_write_updates(model, c->state.updates, err);
    free(wanted);
    return rc;
}

int checkpoint_read_parameter(const struct checkpoint *c, const char *name, size_t count, float *out, struct err *err)
{
    const struct safetensors_tensor *t = safetensors_find(&c->tensors, name);
    if (!t || t->dtype != SAFETENSORS_F32 || t->bytes != count * sizeof *out)
        return err_set(err, ERR_DAMAGED, "checkpoint %s: it has no tensor %s of the run's shape", c->path, name);
    safetensors_read_floats(&c->tensors, t, out);
    return 0;
}

void checkpoint_close(struct checkpoint *c)
{
    if (!c)
        return;
    safetensors_finish(&c->tensors);
    mapped_file_close(&c->map);
    free(c);
}
