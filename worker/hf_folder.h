/* hf_folder.h: the tensors of a Hugging Face model folder: model.safetensors, or the shards that
 * model.safetensors.index.json lists. Thread: one at a time. */
#ifndef BAKA_WORKER_HF_FOLDER_H
#define BAKA_WORKER_HF_FOLDER_H

#include "worker/mapped_file.h"
#include "worker/safetensors.h"

struct err;

struct hf_file {
    char name[256];
    struct mapped_file map;
    struct safetensors tensors;
};

struct hf_folder {
    struct hf_file *files;
    int count;
};

/* All files are read and checked; a tensor that two of them hold, or that the index puts elsewhere, is ERR_DAMAGED. */
int hf_folder_open(struct hf_folder *f, const char *dir, struct err *err);
void hf_folder_close(struct hf_folder *f); /* a zeroed one is fine */
/* NULL when there is none of that name; *file is where it lies. */
const struct safetensors_tensor *hf_folder_find(const struct hf_folder *f, const char *name,
                                                const struct hf_file **file);

#endif
