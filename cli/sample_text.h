/* sample_text.h: a sample's ids, line by line as they come, as text on standard output or gathered for JSON.
 * Thread: the main one. */
#ifndef BAKA_CLI_SAMPLE_TEXT_H
#define BAKA_CLI_SAMPLE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct sample_text;
struct tokenizer;

/* Gathered with json, else printed at once. The tokenizer outlives it. */
struct sample_text *sample_text_create(const struct tokenizer *t, bool json);
void sample_text_destroy(struct sample_text *s); /* NULL is fine */
/* Bytes of lines; a line may come in pieces. arg is the struct. */
int sample_text_add(void *arg, const char *bytes, size_t size, struct err *err);
/* The lines begin anew, by an attempt that draws the same ids: those that were taken are passed over. */
void sample_text_again(struct sample_text *s);
/* Something of it stands on standard output. */
bool sample_text_is_shown(const struct sample_text *s);
/* The end: {"prompt","text","ids"}, or the last newline. */
void sample_text_end(struct sample_text *s, const char *prompt);

#endif
