/* data_tokenizer.h: the tokenizer that a data set was cut by. */
#ifndef BAKA_CLI_DATA_TOKENIZER_H
#define BAKA_CLI_DATA_TOKENIZER_H

#include <stdint.h>

struct err;
struct tokenizer;

/* Opens it from HOME/data/NAME. Errors: those of the data set, or of its tokenizer.json. */
int data_tokenizer_open(const char *home, const char *name, struct tokenizer **out, struct err *err);
/* ERR_INVALID unless the tokenizer.json at `path` gives every id of the data set the same text. */
int data_tokenizer_compare(const char *home, const char *name, const char *path, struct err *err);

#endif
