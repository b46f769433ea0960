/* model_store.h: HOME/models/NAME/: parameters that a run may begin from (train.init_from), by our names in fp32.
 *
 * model.safetensors and model.json ({"version","bytes","sha256","positions","model":{a spec's model fields}}) are
 * written under a temporary name and renamed: a model is whole or absent, and never changes. Thread: one at a time.
 */
#ifndef BAKA_WORKER_MODEL_STORE_H
#define BAKA_WORKER_MODEL_STORE_H

#include <stdint.h>
#include <cjson/cJSON.h>
#include "base/sha256.h"
#include "schema/spec.h"
#include "worker/safetensors_file.h"

struct err;
struct model;
struct plan;
struct stored_model;

/* --- reading ----------------------------------------------------------------------------------------------------- */

/* Reads and verifies all of it. ERR_NOT_FOUND, ERR_DAMAGED. */
int model_store_open(const char *home, const char *name, struct stored_model **out, struct err *err);
const char *model_store_sha256(const struct stored_model *s); /* of its parameters */
/* ERR_INVALID, with the field of `spec` that differs, unless a run of it has these parameters. */
int model_store_check(const struct stored_model *s, const struct spec *spec, struct err *err);
/* Gives the model its parameters; checked first as above, and by name and shape. */
int model_store_load(const struct stored_model *s, const struct plan *plan, struct model *model, struct err *err);
void model_store_close(struct stored_model *s); /* NULL is fine */

/* --- writing ----------------------------------------------------------------------------------------------------- */

/* The source gives parameter `index` of the plan in fp32. Makes the model, or finds that it is there already with the
 * same bytes; other ones are ERR_CONFLICT. *description is model.json, the caller's to delete. */
int model_store_write(const char *home, const char *name, const cJSON *model, int64_t positions,
                      const struct plan *plan, safetensors_source *source, void *arg, cJSON **description,
                      struct err *err);

#endif
