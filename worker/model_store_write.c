/* model_store_write.c: makes a model of the store, see model_store.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/path.h"
#include "schema/plan.h"
#include "worker/hashed_file.h"
#include "worker/model_store.h"

static struct safetensors_tensor *list_tensors(const struct plan *plan)
{
    struct safetensors_tensor *list = calloc((size_t)plan->parameter_count, sizeof *list);
    for (int i = 0; list && i < plan->parameter_count; i++) {
        const struct plan_parameter *p = &plan->parameters[i];
        list[i] = (struct safetensors_tensor){.rank = p->cols == 1 ? 1 : 2, .shape = {p->rows, p->cols}};
        snprintf(list[i].name, sizeof list[i].name, "%s", p->name);
    }
    return list;
}

static int write_files(const char *dir, const cJSON *model, int64_t positions, const struct plan *plan,
                       safetensors_source *source, void *arg, cJSON **description, struct err *err)
{
    struct hashed_file f;
    char hash[SHA256_HEX_SIZE], path[PATH_SIZE];
    struct safetensors_tensor *list = list_tensors(plan);
    int rc = list ? hashed_file_open(&f, dir, "model.safetensors", err)
                  : err_set(err, ERR_NO_MEMORY, "no memory to list %d tensors", plan->parameter_count);
    if (rc == 0)
        rc = hashed_file_close(&f, safetensors_write(&f, list, plan->parameter_count, source, arg, err), hash, err);
    free(list);
    if (rc == 0)
        rc = path_format(path, err, "%s/model.json", dir);
    if (rc != 0)
        return rc;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddNumberToObject(o, "version", 1);
    json_add_int64(o, "bytes", f.bytes);
    cJSON_AddStringToObject(o, "sha256", hash);
    json_add_int64(o, "positions", positions);
    cJSON_AddItemToObject(o, "model", cJSON_Duplicate(model, true));
    char *text = json_print(o, true);
    rc = file_write_atomic(path, text, strlen(text), 0644, err);
    free(text);
    if (rc == 0)
        *description = o;
    else
        cJSON_Delete(o);
    return rc;
}

/* `made` lies in `temporary`; a model of that name is fine where it is the same. */
static int compare_existing(const char *dir, const char *name, const cJSON *made, struct err *err)
{
    char path[PATH_SIZE], *text = NULL, *mine = json_canonical(made), *theirs = NULL;
    size_t size = 0;
    cJSON *there = NULL;
    int rc = path_format(path, err, "%s/model.json", dir);
    if (rc == 0 && file_read_all(path, 1 << 16, &text, &size, NULL) == 0 &&
        json_parse(text, size, &(struct json_limits){1 << 16, SPEC_MAX_DEPTH}, "model.json", &there, NULL) == 0)
        theirs = json_canonical(there);
    if (rc == 0 && (!theirs || strcmp(mine, theirs) != 0))
        rc = err_set(err, ERR_CONFLICT, "there is another model '%s': choose another name", name);
    free(text);
    free(mine);
    free(theirs);
    cJSON_Delete(there);
    return rc;
}

int model_store_write(const char *home, const char *name, const cJSON *model, int64_t positions,
                      const struct plan *plan, safetensors_source *source, void *arg, cJSON **description,
                      struct err *err)
{
    char parent[PATH_SIZE], temporary[PATH_SIZE], final[PATH_SIZE];
    cJSON *made = NULL;
    int rc = path_format(parent, err, "%s/models", home);
    if (rc == 0)
        rc = path_format(temporary, err, "%s/.tmp-%s-%d", parent, name, (int)getpid());
    if (rc == 0)
        rc = path_format(final, err, "%s/%s", parent, name);
    if (rc == 0)
        rc = file_remove_tree(temporary, err);
    if (rc == 0)
        rc = file_make_dirs(temporary, 0755, err);
    if (rc != 0)
        return rc;
    rc = write_files(temporary, model, positions, plan, source, arg, &made, err);
    bool there = rc == 0 && file_exists(final);
    if (there)
        rc = compare_existing(final, name, made, err);
    else if (rc == 0)
        rc = file_fsync_dir(temporary, err);
    if (rc == 0 && !there && rename(temporary, final) != 0)
        rc = err_set_errno(err, errno, "cannot rename %s to %s", temporary, final);
    if (rc != 0 || there)
        file_remove_tree(temporary, NULL);
    if (rc == 0)
        rc = file_fsync_dir(parent, err);
    if (rc == 0)
        *description = made;
    else
        cJSON_Delete(made);
    return rc;
}
