/* export_hf.h: `baka-worker --export-hf`: a run as a GPT-NeoX model of Hugging Face. */
#ifndef BAKA_WORKER_EXPORT_HF_H
#define BAKA_WORKER_EXPORT_HF_H

#include <stdio.h>

struct err;

/* Writes DIR/config.json and DIR/model.safetensors (fp32) from the run's newest good checkpoint, DIR being made where
 * it is not there, and prints {"checkpoint","step","bytes"}. ERR_INVALID with the field of a spec that GPT-NeoX cannot
 * express, ERR_CONFLICT when DIR holds such files. Nothing is left of what fails. */
int export_hf(const char *home, const char *run_dir, const char *dir, FILE *out, struct err *err);

#endif
