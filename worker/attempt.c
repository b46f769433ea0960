/* attempt.c: see attempt.h. The exit status is the last word where the journal takes none. */
#include "worker/attempt.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/path.h"
#include "worker/arguments.h"
#include "worker/journal_writer.h"

int attempt_open_journal(const struct arguments *a, struct journal_writer **out, struct err *err)
{
    char dir[PATH_SIZE], path[PATH_SIZE];
    int rc = path_format(dir, err, "%s/attempts/%d", a->run_dir, a->attempt);
    if (rc == 0)
        rc = path_format(path, err, "%s/journal", dir);
    if (rc == 0)
        rc = journal_writer_open(path, out, err);
    return rc ? rc : file_fsync_dir(dir, err);
}

static int status_without_end(const struct err *err)
{
    return err->code == ERR_NO_SPACE ? JOURNAL_EXIT_NO_SPACE : 1;
}

int attempt_not_started(const struct err *why)
{
    log_event(LOG_LEVEL_ERROR, "attempt_not_started", "error=\"%s\" path=\"%s\"", why->message, why->path);
    return status_without_end(why);
}

int attempt_end(struct journal_writer *journal, enum journal_end_reason reason, int64_t step, const struct err *why)
{
    struct journal_record r = {.kind = JOURNAL_END};
    struct err err;
    r.end.reason = reason;
    r.end.step = step;
    if (why && why->path[0] && !strstr(why->message, why->path))
        snprintf(r.end.text, sizeof r.end.text, "%s: %.300s", why->path, why->message);
    else if (why)
        snprintf(r.end.text, sizeof r.end.text, "%.500s", why->message);
    bool good = reason == END_FINISHED || reason == END_STOPPED;
    log_event(good ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "attempt_ended", "reason=%s step=%" PRId64 " text=\"%s\"",
              journal_end_reason_word(reason), step, r.end.text);
    int rc = journal_writer_append(journal, &r, &err);
    if (rc == 0)
        rc = journal_writer_sync(journal, &err);
    if (rc != 0) {
        log_event(LOG_LEVEL_ERROR, "end_not_written", "error=\"%s\"", err.message);
        return status_without_end(&err);
    }
    return good ? 0 : 1;
}
