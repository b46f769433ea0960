/* preparation.h: texts to a data set, streamed, whole or not at all (text/token_file.h).
 *
 * Failures: a file that is missing, a directory, unreadable; a tokenizer that is not supported; text that it does not
 * take; no tokens; a name that exists; a full disk. Each leaves nothing behind; so does SIGINT, SIGTERM or SIGHUP,
 * after which the program ends by that signal.
 */
#ifndef BAKA_CLI_PREPARATION_H
#define BAKA_CLI_PREPARATION_H

#include <stdbool.h>
#include "text/token_file.h"

struct err;

struct preparation_options {
    const char *home, *name, *tokenizer;
    const char *separator; /* between documents; NULL: a text is one */
    const char *const *texts, *const *val_texts;
    int text_count, val_text_count;
    struct share val; /* none with val_texts */
    int threads;
    bool replace;
};

int preparation_run(const struct preparation_options *o, struct token_file_header *out, struct err *err);

#endif
