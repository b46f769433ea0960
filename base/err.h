/* err.h: how every baka function reports a failure.
 *
 * A function returns 0 or a negative code (-ERR_...), and takes `struct err *` last. On failure the callee fills it
 * and leaves its outputs untouched. Branch on codes, never on text. Thread: any; a struct err belongs to its caller.
 */
#ifndef BAKA_BASE_ERR_H
#define BAKA_BASE_ERR_H

enum err_code {
    ERR_OK = 0,
    ERR_INVALID,   /* input that breaks a rule; path says where */
    ERR_NOT_FOUND, /* a run, file or data set that is not there */
    ERR_CONFLICT,  /* exists already, or is in a state that forbids this */
    ERR_BUSY,      /* somebody else holds the lock */
    ERR_IO,        /* the operating system refused */
    ERR_NO_SPACE,  /* ENOSPC, EDQUOT, EFBIG */
    ERR_DAMAGED,   /* a file whose content contradicts itself or its checksum */
    ERR_TOO_LARGE, /* over a stated limit */
    ERR_NO_MEMORY,
    ERR_UNAVAILABLE, /* no daemon, no GPU, a library that is missing */
    ERR_INTERNAL,
};

struct err {
    enum err_code code;
    char path[192];    /* where: a JSON path as "model.dim", a file, or "" */
    char message[768]; /* one line: what is wrong, what is allowed */
};

/* Fill e (NULL is allowed) and return -code. */
int err_set(struct err *e, enum err_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
int err_set_at(struct err *e, enum err_code code, const char *path, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* From errno: maps ENOSPC, EDQUOT, EFBIG to ERR_NO_SPACE, ENOENT to ERR_NOT_FOUND, else ERR_IO; appends strerror. */
int err_set_errno(struct err *e, int errnum, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* "invalid", "not_found", ...: the word used in the API and in JSON. */
const char *err_code_word(enum err_code code);

#endif
