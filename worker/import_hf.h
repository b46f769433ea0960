/* import_hf.h: `baka-worker --import-hf`: a GPT-NeoX model of Hugging Face into the model store. */
#ifndef BAKA_WORKER_IMPORT_HF_H
#define BAKA_WORKER_IMPORT_HF_H

#include <stdio.h>

struct err;

/* Reads DIR's config.json and weights (fp32, fp16 or bf16), makes HOME/models/NAME of them and prints its model.json on
 * one line. ERR_INVALID for an architecture or configuration that our model cannot be, ERR_DAMAGED for weights that are
 * not those of the configuration, ERR_CONFLICT when the name is another model's. */
int import_hf(const char *home, const char *dir, const char *name, FILE *out, struct err *err);

#endif
