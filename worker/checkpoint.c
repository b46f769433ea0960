/* checkpoint.c: writing checkpoints, see checkpoint.h; checkpoint_read.c reads them. */
#include "worker/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/path.h"
#include "worker/checkpoint_format.h"
#include "worker/checkpoint_tensors.h"
#include "worker/hashed_file.h"
#include "worker/journal_writer.h"
#include "worker/model.h"
#include "worker/safetensors_file.h"

static int read_state(void *arg, int index, void *out, struct err *err)
{
    return model_read_state(arg, index, out, err);
}

static int write_tensors(struct hashed_file *s, struct model *model, struct err *err)
{
    struct safetensors_tensor *tensors = NULL;
    int count = 0;
    int rc = checkpoint_list_tensors(model, &tensors, &count, err);
    if (rc == 0)
        rc = safetensors_write(s, tensors, count, read_state, model, err);
    free(tensors);
    return rc;
}

/* Closes what was written to, however that went; fills `file` on success. */
static int close_file(struct hashed_file *s, int rc, struct checkpoint_file *file, struct err *err)
{
    rc = hashed_file_close(s, rc, file->sha256, err);
    file->bytes = s->bytes;
    return rc;
}

static int write_text(const char *dir, const char *name, const char *text, size_t size, struct checkpoint_file *file,
                      struct err *err)
{
    struct hashed_file s;
    int rc = hashed_file_open(&s, dir, name, err);
    return rc ? rc : close_file(&s, hashed_file_write(&s, text, size, err), file, err);
}

static int write_files(const char *dir, const struct checkpoint_state *state, struct model *model,
                       struct journal_writer *journal, int64_t *bytes, struct err *err)
{
    struct checkpoint_file files[CHECKPOINT_FILES] = {0}, manifest = {0};
    char text[CHECKPOINT_TEXT_MAX];
    struct hashed_file s;
    int rc = hashed_file_open(&s, dir, checkpoint_file_names[0], err);
    if (rc != 0)
        return rc;
    rc = close_file(&s, write_tensors(&s, model, err), &files[0], err);
    if (rc == 0)
        rc = write_text(dir, checkpoint_file_names[1], text, checkpoint_print_state(state, text), &files[1], err);
    if (rc == 0)
        rc = journal_writer_sync(journal, err);
    if (rc == 0)
        rc = write_text(dir, "manifest.json", text, checkpoint_print_manifest(files, text), &manifest, err);
    *bytes = files[0].bytes + files[1].bytes + manifest.bytes;
    return rc;
}

/* Never the run's directory itself: one that was deleted or moved away does not come back as a remnant of it. */
static int make_dir(const char *path, struct err *err)
{
    if (mkdir(path, 0755) == 0 || errno == EEXIST)
        return 0;
    return err_set_errno(err, errno, "cannot make the directory %s", path);
}

int checkpoint_write(const char *run_dir, int attempt, const struct checkpoint_state *state, struct model *model,
                     struct journal_writer *journal, struct journal_checkpoint *record, struct err *err)
{
    int64_t start = clock_monotonic_us();
    struct journal_checkpoint r = {.step = state->step};
    char parent[PATH_SIZE], temporary[PATH_SIZE], final[PATH_SIZE];
    snprintf(r.path, sizeof r.path, "checkpoints/%" PRId64 "-a%d", state->step, attempt);
    int rc = path_format(parent, err, "%s/checkpoints", run_dir);
    if (rc == 0)
        rc = path_format(temporary, err, "%s/.tmp-%" PRId64 "-a%d", parent, state->step, attempt);
    if (rc == 0)
        rc = path_format(final, err, "%s/%s", run_dir, r.path);
    if (rc == 0)
        rc = make_dir(parent, err);
    if (rc == 0)
        rc = file_fsync_dir(run_dir, err); /* each time: an earlier process may have died before it could */
    if (rc == 0)
        rc = file_remove_tree(temporary, err);
    if (rc == 0)
        rc = make_dir(temporary, err);
    if (rc != 0)
        return rc;
    rc = write_files(temporary, state, model, journal, &r.bytes, err);
    if (rc == 0)
        rc = file_fsync_dir(temporary, err);
    if (rc == 0 && rename(temporary, final) != 0)
        rc = err_set_errno(err, errno, "cannot rename %s to %s", temporary, final);
    if (rc != 0) {
        file_remove_tree(temporary, NULL);
        return rc;
    }
    rc = file_fsync_dir(parent, err);
    if (rc != 0)
        return rc;
    r.ms = (double)(clock_monotonic_us() - start) / 1e3;
    *record = r;
    return 0;
}

int checkpoint_remove_leftovers(const char *run_dir, int attempt, struct err *err)
{
    char parent[PATH_SIZE], path[PATH_SIZE], suffix[32];
    int rc = path_format(parent, err, "%s/checkpoints", run_dir);
    if (rc != 0)
        return rc;
    DIR *dir = opendir(parent);
    if (!dir)
        return errno == ENOENT ? 0 : err_set_errno(err, errno, "cannot read %s", parent);
    size_t tail = (size_t)snprintf(suffix, sizeof suffix, "-a%d", attempt);
    struct dirent *entry;
    while (rc == 0 && (entry = readdir(dir))) {
        size_t n = strlen(entry->d_name);
        if (strncmp(entry->d_name, ".tmp-", 5) != 0 || n <= tail || strcmp(entry->d_name + n - tail, suffix) != 0)
            continue;
        rc = path_format(path, err, "%s/%s", parent, entry->d_name);
        if (rc == 0)
            rc = file_remove_tree(path, err);
    }
    closedir(dir);
    return rc;
}
