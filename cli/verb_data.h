/* verb_data.h: what the verbs under "data" share. */
#ifndef BAKA_CLI_VERB_DATA_H
#define BAKA_CLI_VERB_DATA_H

#include <cjson/cJSON.h>
#include "cli/verb.h"
#include "text/token_file.h"

extern const struct verb verb_data_fetch;   /* verb_data_fetch.c */
extern const struct verb verb_data_prepare; /* verb_data_prepare.c */

/* As `data list --json` shows a data set; the caller deletes it. */
cJSON *data_to_json(const char *name, const struct token_file_header *h);

#endif
