/* hf_folder.c: see hf_folder.h. */
#include "worker/hf_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/path.h"

enum { INDEX_MAX_BYTES = 64 << 20, MAX_FILES = 4096 };

static const char single_name[] = "model.safetensors", index_name[] = "model.safetensors.index.json";

static int open_file(struct hf_file *f, const char *dir, const char *name, struct err *err)
{
    char path[PATH_SIZE];
    int rc = path_format(path, err, "%s/%s", dir, name);
    snprintf(f->name, sizeof f->name, "%s", name);
    if (rc == 0)
        rc = mapped_file_open(&f->map, path, path, err);
    if (rc == 0)
        rc = safetensors_parse(f->map.bytes, f->map.size, name, &f->tensors, err);
    return rc;
}

/* A file beside the index: no path leads out of the folder. */
static bool name_is_local(const char *name)
{
    return name[0] && name[0] != '.' && strlen(name) < sizeof((struct hf_file *)0)->name && !strchr(name, '/');
}

static struct hf_file *find_file(const struct hf_folder *f, const char *name)
{
    for (int i = 0; i < f->count; i++)
        if (strcmp(f->files[i].name, name) == 0)
            return &f->files[i];
    return NULL;
}

static int open_shards(struct hf_folder *f, const char *dir, const cJSON *map, struct err *err)
{
    const cJSON *entry;
    cJSON_ArrayForEach(entry, map) {
        if (!cJSON_IsString(entry) || !name_is_local(entry->valuestring))
            return err_set(err, ERR_INVALID, "%s: weight_map: %.100s: the name of a file beside it is needed",
                           index_name, entry->string);
        if (find_file(f, entry->valuestring))
            continue;
        if (f->count == MAX_FILES)
            return err_set(err, ERR_TOO_LARGE, "%s: more than %d files", index_name, MAX_FILES);
        struct hf_file *grown = realloc(f->files, ((size_t)f->count + 1) * sizeof *grown);
        if (!grown)
            return err_set(err, ERR_NO_MEMORY, "no memory for a list of %d files", f->count + 1);
        f->files = grown;
        f->files[f->count++] = (struct hf_file){0};
        int rc = open_file(&f->files[f->count - 1], dir, entry->valuestring, err);
        if (rc != 0)
            return rc;
    }
    return f->count ? 0 : err_set(err, ERR_INVALID, "%s: weight_map names no file", index_name);
}

/* Every tensor of every file is where the index says, and so in one file only. */
static int check_index(const struct hf_folder *f, const cJSON *map, struct err *err)
{
    const cJSON *entry;
    cJSON_ArrayForEach(entry, map) {
        if (!safetensors_find(&find_file(f, entry->valuestring)->tensors, entry->string))
            return err_set(err, ERR_DAMAGED, "%s: tensor %.100s is not in %s", index_name, entry->string,
                           entry->valuestring);
    }
    for (int i = 0; i < f->count; i++)
        for (int j = 0; j < f->files[i].tensors.count; j++) {
            const char *name = f->files[i].tensors.tensors[j].name;
            const char *where = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(map, name));
            if (!where || strcmp(where, f->files[i].name) != 0)
                return err_set(err, ERR_DAMAGED, "%s: tensor %s, which %s has not for it in the index",
                               f->files[i].name, name, where ? "another file" : "no file");
        }
    return 0;
}

static int open_sharded(struct hf_folder *f, const char *dir, const char *path, struct err *err)
{
    static const struct json_limits limits = {.max_bytes = INDEX_MAX_BYTES, .max_depth = 8};
    char *text = NULL;
    size_t size = 0;
    cJSON *index = NULL;
    int rc = file_read_all(path, INDEX_MAX_BYTES, &text, &size, err);
    if (rc == 0)
        rc = json_parse(text, size, &limits, index_name, &index, err);
    free(text);
    if (rc != 0)
        return rc;
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(index, "weight_map");
    if (!cJSON_IsObject(map))
        rc = err_set(err, ERR_INVALID, "%s: weight_map, an object of tensors' names to files, is missing", index_name);
    if (rc == 0)
        rc = open_shards(f, dir, map, err);
    if (rc == 0)
        rc = check_index(f, map, err);
    cJSON_Delete(index);
    return rc;
}

int hf_folder_open(struct hf_folder *out, const char *dir, struct err *err)
{
    struct hf_folder f = {0};
    char single[PATH_SIZE], index[PATH_SIZE];
    int rc = path_format(single, err, "%s/%s", dir, single_name);
    if (rc == 0)
        rc = path_format(index, err, "%s/%s", dir, index_name);
    if (rc != 0)
        return rc;
    if (file_exists(single)) {
        f.files = calloc(1, sizeof *f.files);
        f.count = f.files != NULL;
        rc = f.files ? open_file(&f.files[0], dir, single_name, err) : err_set(err, ERR_NO_MEMORY, "no memory");
    } else if (file_exists(index)) {
        rc = open_sharded(&f, dir, index, err);
    } else {
        rc = err_set(err, ERR_NOT_FOUND, "%s has neither %s nor %s (weights in other formats are not read)", dir,
                     single_name, index_name);
    }
    if (rc != 0)
        hf_folder_close(&f);
    else
        *out = f;
    return rc;
}

void hf_folder_close(struct hf_folder *f)
{
    for (int i = 0; i < f->count; i++) {
        safetensors_finish(&f->files[i].tensors);
        mapped_file_close(&f->files[i].map);
    }
    free(f->files);
    *f = (struct hf_folder){0};
}

const struct safetensors_tensor *hf_folder_find(const struct hf_folder *f, const char *name,
                                                const struct hf_file **file)
{
    for (int i = 0; i < f->count; i++) {
        const struct safetensors_tensor *t = safetensors_find(&f->files[i].tensors, name);
        if (t) {
            *file = &f->files[i];
            return t;
        }
    }
    return NULL;
}
