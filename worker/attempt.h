/* attempt.h: how an attempt begins and ends in its journal, whatever the kind of its job. Thread: the main one. */
#ifndef BAKA_WORKER_ATTEMPT_H
#define BAKA_WORKER_ATTEMPT_H

#include <stdint.h>
#include "schema/journal.h"

struct arguments;
struct err;
struct journal_writer;

/* Makes attempts/N/journal: it comes first, so that whatever fails afterwards is told there. */
int attempt_open_journal(const struct arguments *a, struct journal_writer **out, struct err *err);
/* Where there is no journal to tell of it: the process's exit status. */
int attempt_not_started(const struct err *why);
/* Journals the `end` with what `why` (may be NULL) says and returns the exit status. */
int attempt_end(struct journal_writer *journal, enum journal_end_reason reason, int64_t step, const struct err *why);

#endif
