/* checkpoint_tensors.h: the model's state as safetensors describe it; shared by the writer and the reader. */
#ifndef BAKA_WORKER_CHECKPOINT_TENSORS_H
#define BAKA_WORKER_CHECKPOINT_TENSORS_H

struct err;
struct model;
struct safetensors_tensor;

/* Names, types and shapes in the model's order, without offsets; a single column is a vector. Caller frees *out.
 * ERR_NO_MEMORY. */
int checkpoint_list_tensors(const struct model *model, struct safetensors_tensor **out, int *count, struct err *err);

#endif
