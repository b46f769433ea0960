/* log.c: records are built whole in a buffer on the stack and leave in one write(2), so lines of several threads never
 * mix. A record longer than the buffer is cut; a failed write is dropped, for there is nobody left to tell. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"

enum { RECORD_SIZE = 4096 };

static const char *const level_words[] = {"debug", "info", "warn", "error"};
static atomic_int threshold = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

int log_level_parse(const char *word, enum log_level *out)
{
    for (int i = 0; i < (int)(sizeof level_words / sizeof *level_words); i++) {
        if (word && strcmp(word, level_words[i]) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -ERR_INVALID;
}

/* Copies text with control bytes and backslashes made visible, so that no value can forge a second line. */
static size_t append_escaped(char *record, size_t used, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (used + 5 > RECORD_SIZE - 1)
            break;
        if (*c >= 0x20 && *c != 0x7f) {
            record[used++] = (char)*c;
        } else if (*c == '\n' || *c == '\t' || *c == '\r') {
            record[used++] = '\\';
            record[used++] = *c == '\n' ? 'n' : *c == '\t' ? 't' : 'r';
        } else {
            record[used++] = '\\';
            record[used++] = 'x';
            record[used++] = hex[*c >> 4];
            record[used++] = hex[*c & 15];
        }
    }
    return used;
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if ((int)level < atomic_load_explicit(&threshold, memory_order_relaxed))
        return;
    char message[RECORD_SIZE];
    va_list ap;
    va_start(ap, format);
    vsnprintf(message, sizeof message, format, ap);
    va_end(ap);

    char record[RECORD_SIZE], when[32];
    clock_format_utc(clock_wall_ms(), when);
    int head = snprintf(record, sizeof record, "%s %s %s", when, level_words[level], event);
    size_t used = head < 0 ? 0 : (size_t)head < sizeof record - 8 ? (size_t)head : sizeof record - 8;
    if (message[0])
        record[used++] = ' ';
    used = append_escaped(record, used, message);
    record[used++] = '\n';
    if (write(STDERR_FILENO, record, used) < 0) {
        /* standard error is gone: nothing to report it to */
    }
}
