/* journal_writer.h: appends whole records to attempts/N/journal, one write(2) each.
 *
 * After a short or failed write the file is cut back to its last whole record and the writer accepts nothing more than
 * the `end` record, for which room was set aside: the attempt is over as disk_full. Thread: the trainer's main thread.
 */
#ifndef BAKA_WORKER_JOURNAL_WRITER_H
#define BAKA_WORKER_JOURNAL_WRITER_H

#include "schema/journal.h"

struct err;
struct journal_writer;

/* Makes the file; one that exists is ERR_CONFLICT: an attempt is never run twice. */
int journal_writer_open(const char *path, struct journal_writer **out, struct err *err);
/* ERR_NO_SPACE when the disk or the file size limit is full, ERR_IO otherwise; the record is then not in the file. */
int journal_writer_append(struct journal_writer *w, const struct journal_record *r, struct err *err);
/* fdatasync: what was appended survives a power cut. */
int journal_writer_sync(struct journal_writer *w, struct err *err);
void journal_writer_close(struct journal_writer *w); /* NULL is fine */

#endif
