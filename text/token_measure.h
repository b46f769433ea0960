/* token_measure.h: how much text the tokens of a file stand for. */
#ifndef BAKA_TEXT_TOKEN_MEASURE_H
#define BAKA_TEXT_TOKEN_MEASURE_H

#include <stdbool.h>
#include <stdint.h>
#include "text/token_file.h"

struct token_measure {
    uint64_t bytes;
    /* Runs of bytes without white space (that of ASCII: space, tab, line ends), as Python's bytes.split counts; a word
     * belongs to where it begins. `wc -w` leaves out words without a printable character. */
    uint64_t words;
};

/* out: of training and of validation. marked: the last token of each document was added and stands for no text. */
void token_measure(const struct token_file *f, const struct token_texts *texts, bool marked,
                   struct token_measure out[2]);

#endif
