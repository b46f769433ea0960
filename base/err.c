#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 4, 0))) static int fill(struct err *e, enum err_code code, const char *path,
                                                      const char *format, va_list ap)
{
    if (e) {
        e->code = code;
        snprintf(e->path, sizeof e->path, "%s", path);
        vsnprintf(e->message, sizeof e->message, format, ap);
    }
    return -(int)code;
}

int err_set(struct err *e, enum err_code code, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int rc = fill(e, code, "", format, ap);
    va_end(ap);
    return rc;
}

int err_set_at(struct err *e, enum err_code code, const char *path, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int rc = fill(e, code, path, format, ap);
    va_end(ap);
    return rc;
}

int err_set_errno(struct err *e, int errnum, const char *format, ...)
{
    enum err_code code = errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG ? ERR_NO_SPACE
                         : errnum == ENOENT                                      ? ERR_NOT_FOUND
                                                                                 : ERR_IO;
    va_list ap;
    va_start(ap, format);
    int rc = fill(e, code, "", format, ap);
    va_end(ap);
    if (e) {
        size_t used = strlen(e->message);
        snprintf(e->message + used, sizeof e->message - used, ": %s", strerror(errnum));
    }
    return rc;
}

const char *err_code_word(enum err_code code)
{
    static const char *const words[] = {
        [ERR_OK] = "ok",
        [ERR_INVALID] = "invalid",
        [ERR_NOT_FOUND] = "not_found",
        [ERR_CONFLICT] = "conflict",
        [ERR_BUSY] = "busy",
        [ERR_IO] = "io",
        [ERR_NO_SPACE] = "no_space",
        [ERR_DAMAGED] = "damaged",
        [ERR_TOO_LARGE] = "too_large",
        [ERR_NO_MEMORY] = "no_memory",
        [ERR_UNAVAILABLE] = "unavailable",
        [ERR_INTERNAL] = "internal",
    };
    return (unsigned)code < sizeof words / sizeof *words ? words[code] : "unknown";
}
