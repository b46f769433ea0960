/* import_hf.c: see import_hf.h. The configuration gives the plan, the plan the list of parameters; each must be in the
 * folder with its shape, and the folder may hold nothing that the model has no place for. */
#include "worker/import_hf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/path.h"
#include "schema/plan.h"
#include "worker/hf_folder.h"
#include "worker/model_store.h"
#include "worker/neox_config.h"
#include "worker/neox_tensors.h"

struct import {
    struct spec spec;
    struct plan plan;
    struct hf_folder folder;
    cJSON *model; /* the spec's model fields */
    int64_t positions;
};

static int read_config(struct import *m, const char *dir, struct err *err)
{
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0;
    int rc = path_format(path, err, "%s/config.json", dir);
    if (rc == 0)
        rc = file_read_all(path, NEOX_CONFIG_MAX_BYTES, &text, &size, err);
    if (rc == 0)
        rc = neox_config_read(text, size, "config.json", &m->model, &m->positions, err);
    free(text);
    return rc;
}

/* Sizes within the spec's own ranges, and the parameters' names and shapes. */
static int make_plan(struct import *m, struct err *err)
{
    cJSON *o = cJSON_CreateObject(), *train;
    cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "data"), "name", "any");
    cJSON_AddItemToObject(o, "model", cJSON_Duplicate(m->model, true));
    train = cJSON_AddObjectToObject(o, "train");
    cJSON_AddNumberToObject(train, "seq_len", 1);
    cJSON_AddNumberToObject(train, "batch", 1);
    struct err inner;
    int rc = spec_from_json(o, &m->spec, &inner);
    cJSON_Delete(o);
    if (rc == 0)
        rc = plan_make(&m->spec, 0, &plan_device_cpu, &m->plan, &inner);
    if (rc != 0)
        return err_set(err, inner.code, "config.json: %.600s", inner.message);
    if ((int64_t)((double)m->plan.head_dim * m->spec.model.rotary_pct) != m->plan.rotary_dims)
        rc = err_set(err, ERR_INVALID,
                     "config.json: rotary_pct rotates an odd number of each head's %" PRId64 " dimensions",
                     m->plan.head_dim);
    return rc;
}

static int find_parameter(const struct import *m, const struct plan_parameter *p,
                          const struct safetensors_tensor **tensor, const struct hf_file **file, struct err *err)
{
    char name[SAFETENSORS_NAME_SIZE], shape[64];
    *tensor = NULL;
    if (!neox_tensor_name(p->name, name))
        return err_set(err, ERR_INTERNAL, "GPT-NeoX has no name for %s", p->name);
    const struct safetensors_tensor *t = hf_folder_find(&m->folder, name, file);
    if (!t)
        return err_set(err, ERR_DAMAGED, "there is no tensor %s", name);
    if (t->dtype != SAFETENSORS_F32 && t->dtype != SAFETENSORS_F16 && t->dtype != SAFETENSORS_BF16)
        return err_set(err, ERR_INVALID, "%s: tensor %s is %s: F32, F16 or BF16 can be read", (*file)->name, name,
                       safetensors_dtype_word(t->dtype));
    bool vector = p->cols == 1 && t->rank == 1;
    if (t->shape[0] != p->rows || !(vector || (t->rank == 2 && t->shape[1] == p->cols))) {
        safetensors_say_shape(t, shape);
        return err_set(err, ERR_DAMAGED, "%s: tensor %s is %s, config.json makes it [%" PRId64 ", %" PRId64 "]",
                       (*file)->name, name, shape, p->rows, p->cols);
    }
    *tensor = t;
    return 0;
}

static bool belongs(const struct import *m, const char *name)
{
    char ours[SAFETENSORS_NAME_SIZE];
    for (int i = 0; i < m->plan.parameter_count; i++)
        if (neox_tensor_name(m->plan.parameters[i].name, ours) && strcmp(ours, name) == 0)
            return true;
    /* a tied head may be saved once more */
    return neox_tensor_is_derived(name) || (m->spec.model.tie_embeddings && strcmp(name, "embed_out.weight") == 0);
}

static int check_tensors(const struct import *m, struct err *err)
{
    const struct safetensors_tensor *t;
    const struct hf_file *file;
    for (int i = 0; i < m->plan.parameter_count; i++) {
        int rc = find_parameter(m, &m->plan.parameters[i], &t, &file, err);
        if (rc != 0)
            return rc;
    }
    for (int i = 0; i < m->folder.count; i++)
        for (int j = 0; j < m->folder.files[i].tensors.count; j++) {
            const char *name = m->folder.files[i].tensors.tensors[j].name;
            if (!belongs(m, name))
                return err_set(err, ERR_DAMAGED, "%s: tensor %s is none of a GPTNeoXForCausalLM of %" PRId64 " layers",
                               m->folder.files[i].name, name, m->spec.model.layers);
        }
    return 0;
}

static int read_parameter(void *arg, int index, void *out, struct err *err)
{
    const struct import *m = arg;
    const struct plan_parameter *p = &m->plan.parameters[index];
    const struct safetensors_tensor *t;
    const struct hf_file *file;
    int rc = find_parameter(m, p, &t, &file, err);
    if (rc != 0)
        return rc;
    safetensors_read_floats(&file->tensors, t, out); /* cannot fail: the type was checked */
    if (!neox_tensor_is_fused(p->name))
        return 0;
    float *fused = malloc((size_t)(p->rows * p->cols) * sizeof *fused);
    if (!fused)
        return err_set(err, ERR_NO_MEMORY, "no memory for the tensor %s", p->name);
    memcpy(fused, out, (size_t)(p->rows * p->cols) * sizeof *fused);
    neox_qkv_split(fused, out, m->spec.model.heads, m->plan.head_dim, p->cols);
    free(fused);
    return 0;
}

int import_hf(const char *home, const char *dir, const char *name, FILE *out, struct err *err)
{
    struct import m = {0};
    cJSON *description = NULL;
    int rc = read_config(&m, dir, err);
    if (rc == 0)
        rc = make_plan(&m, err);
    if (rc == 0)
        rc = hf_folder_open(&m.folder, dir, err);
    if (rc == 0)
        rc = check_tensors(&m, err);
    if (rc == 0)
        rc = model_store_write(home, name, m.model, m.positions, &m.plan, read_parameter, &m, &description, err);
    if (rc == 0) {
        char *text = json_print(description, false);
        fprintf(out, "%s\n", text);
        free(text);
    }
    cJSON_Delete(description);
    cJSON_Delete(m.model);
    hf_folder_close(&m.folder);
    plan_finish(&m.plan);
    return rc;
}
