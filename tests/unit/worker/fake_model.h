/* fake_model.h: a model that is only state, and a journal that only counts its syncs: what checkpoints see of both. */
#ifndef BAKA_TESTS_FAKE_MODEL_H
#define BAKA_TESTS_FAKE_MODEL_H

#include <stdint.h>

enum { FAKE_TENSORS = 3, FAKE_FLOATS = 64 };

struct model {
    int64_t rows[FAKE_TENSORS], cols[FAKE_TENSORS];
    float data[FAKE_TENSORS][FAKE_FLOATS];
    int64_t updates;
    int writes; /* model_write_state calls */
};

extern int fake_journal_syncs;
extern int fake_journal_fails; /* the next sync answers ERR_IO */

#endif
