/* log.h: one structured line a record on standard error: time level event key=value ...; programs log, libraries do
 * not. Thread-safe: a record is one write(2). */
#ifndef BAKA_BASE_LOG_H
#define BAKA_BASE_LOG_H

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

void log_set_level(enum log_level level);
/* 0, or -ERR_INVALID for a word that is not debug, info, warn, error. */
int log_level_parse(const char *word, enum log_level *out);
/* log_event(LOG_LEVEL_INFO, "run_started", "run=%s attempt=%d", id, n). Control bytes in the text are escaped. */
void log_event(enum log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
