/* export_hf.c: see export_hf.h. A file conversion: no model is built. */
#include "worker/export_hf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "worker/hashed_file.h"
#include "worker/loaded_run.h"
#include "worker/neox_config.h"
#include "worker/neox_tensors.h"
#include "worker/safetensors_file.h"

static const char weights_name[] = "model.safetensors", config_name[] = "config.json";

static int list_tensors(const struct plan *plan, struct safetensors_tensor **out, struct err *err)
{
    struct safetensors_tensor *list = calloc((size_t)plan->parameter_count, sizeof *list);
    if (!list)
        return err_set(err, ERR_NO_MEMORY, "no memory to list %d tensors", plan->parameter_count);
    for (int i = 0; i < plan->parameter_count; i++) {
        const struct plan_parameter *p = &plan->parameters[i];
        list[i] = (struct safetensors_tensor){.rank = p->cols == 1 ? 1 : 2, .shape = {p->rows, p->cols}};
        if (!neox_tensor_name(p->name, list[i].name)) {
            free(list);
            return err_set(err, ERR_INTERNAL, "GPT-NeoX has no name for %s", p->name);
        }
    }
    *out = list;
    return 0;
}

static int read_parameter(void *arg, int index, void *out, struct err *err)
{
    const struct loaded_run *r = arg;
    const struct plan_parameter *p = &r->plan.parameters[index];
    size_t count = (size_t)(p->rows * p->cols);
    if (!neox_tensor_is_fused(p->name))
        return checkpoint_read_parameter(r->checkpoint, p->name, count, out, err);
    float *split = malloc(count * sizeof *split);
    if (!split)
        return err_set(err, ERR_NO_MEMORY, "no memory for the tensor %s", p->name);
    int rc = checkpoint_read_parameter(r->checkpoint, p->name, count, split, err);
    if (rc == 0)
        neox_qkv_fuse(split, out, r->spec.model.heads, r->plan.head_dim, p->cols);
    free(split);
    return rc;
}

static int write_weights(const char *dir, struct loaded_run *r, int64_t *bytes, struct err *err)
{
    struct hashed_file f;
    struct safetensors_tensor *list = NULL;
    char hash[SHA256_HEX_SIZE];
    int rc = list_tensors(&r->plan, &list, err);
    if (rc != 0)
        return rc;
    rc = hashed_file_open(&f, dir, weights_name, err);
    if (rc == 0) {
        rc = hashed_file_close(&f, safetensors_write(&f, list, r->plan.parameter_count, read_parameter, r, err), hash,
                               err);
        if (rc != 0)
            unlink(f.path);
        *bytes = f.bytes;
    }
    free(list);
    return rc;
}

/* The configuration comes last: what it stands beside is whole. */
static int write_folder(const char *dir, struct loaded_run *r, const cJSON *config, int64_t *bytes, struct err *err)
{
    char weights[PATH_SIZE], path[PATH_SIZE];
    int rc = path_format(weights, err, "%s/%s", dir, weights_name);
    if (rc == 0)
        rc = path_format(path, err, "%s/%s", dir, config_name);
    if (rc == 0 && (file_exists(weights) || file_exists(path)))
        rc = err_set(err, ERR_CONFLICT, "%s holds a model already", dir);
    if (rc == 0)
        rc = file_make_dirs(dir, 0755, err);
    if (rc == 0)
        rc = write_weights(dir, r, bytes, err);
    if (rc != 0)
        return rc;
    char *text = json_print(config, true);
    rc = file_write_atomic(path, text, strlen(text), 0644, err);
    free(text);
    if (rc != 0)
        unlink(weights);
    return rc;
}

int export_hf(const char *home, const char *run_dir, const char *dir, FILE *out, struct err *err)
{
    struct loaded_run r = {0};
    cJSON *config = NULL;
    int64_t vocab = 0, bytes = 0;
    int rc = loaded_run_read_spec(home, run_dir, &r.spec, &vocab, err);
    if (rc == 0)
        rc = plan_make(&r.spec, vocab, &plan_device_cpu, &r.plan, err);
    if (rc == 0)
        rc = neox_config_make(&r.spec, &r.plan, &config, err);
    if (rc == 0)
        rc = checkpoint_open_newest(run_dir, &r.checkpoint, err);
    if (rc == 0)
        rc = write_folder(dir, &r, config, &bytes, err);
    if (rc == 0)
        fprintf(out, "{\"checkpoint\":\"%s\",\"step\":%" PRId64 ",\"bytes\":%" PRId64 "}\n",
                checkpoint_get_path(r.checkpoint), checkpoint_get_state(r.checkpoint)->step, bytes);
    cJSON_Delete(config);
    loaded_run_close(&r);
    return rc;
}
