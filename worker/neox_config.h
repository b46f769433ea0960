/* neox_config.h: config.json of Hugging Face's GPTNeoXForCausalLM and the model fields of a spec. Pure. */
#ifndef BAKA_WORKER_NEOX_CONFIG_H
#define BAKA_WORKER_NEOX_CONFIG_H

#include <stddef.h>
#include <stdint.h>
#include <cjson/cJSON.h>
#include "schema/spec.h"

struct err;
struct plan;

enum { NEOX_CONFIG_MAX_BYTES = 1 << 20 };

/* config.json as text to {"dim":...,...}, the "model" object of a spec, and the longest text that the model was made
 * for. `what` names the file in messages. What the file leaves out is as GPTNeoXConfig has it; a configuration that our
 * model cannot be is ERR_INVALID and named with what is allowed. Caller deletes *model. */
int neox_config_read(const char *text, size_t size, const char *what, cJSON **model, int64_t *positions,
                     struct err *err);
/* The other way; caller deletes *config. A spec that GPT-NeoX cannot express is ERR_INVALID with the field. */
int neox_config_make(const struct spec *spec, const struct plan *plan, cJSON **config, struct err *err);

#endif
