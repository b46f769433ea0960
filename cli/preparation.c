/* preparation.c: see preparation.h. A text goes through the check for UTF-8 (if the tokenizer wants it), the separator
 * (if there is one) and the tokenizer to the writer, a buffer at a time. */
#include "cli/preparation.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "text/separator.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

enum { BUFFER_BYTES = 1 << 16 };

struct preparation {
    const struct preparation_options *options;
    struct token_writer *writer;
    struct tokenizer *tokenizer;
    struct separator *separator; /* NULL: a text is one document */
    struct progress *progress;
    uint64_t done_bytes, total_bytes; /* total 0: not known, as with a pipe */
    unsigned char buffer[BUFFER_BYTES];
};

static bool is_stdin(const char *path)
{
    return strcmp(path, "-") == 0;
}

static int open_text(const char *path, int *fd, struct stat *st, struct err *err)
{
    *fd = is_stdin(path) ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (*fd < 0)
        return err_set_errno(err, errno, "%s", path);
    int errnum = fstat(*fd, st) != 0 ? errno : S_ISDIR(st->st_mode) ? EISDIR : 0;
    if (errnum) {
        close(*fd);
        return err_set_errno(err, errnum, "%s", path);
    }
    return 0;
}

/* Every file can be opened, and how long they are together; so that a slip in the last name does not cost the hour that
 * the others take. Pipes are not opened before their turn. */
static int check_text(struct preparation *p, const char *path, bool *known, struct err *err)
{
    struct stat st;
    if (!is_stdin(path)) {
        if (stat(path, &st) != 0)
            return err_set_errno(err, errno, "%s", path);
        if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
            *known = false;
            return 0;
        }
    }
    int fd, rc = open_text(path, &fd, &st, err);
    if (rc)
        return rc;
    close(fd);
    if (S_ISREG(st.st_mode))
        p->total_bytes += (uint64_t)st.st_size;
    else
        *known = false;
    return 0;
}

static int check_texts(struct preparation *p, struct err *err)
{
    const struct preparation_options *o = p->options;
    bool known = true;
    int rc = 0;
    for (int i = 0; !rc && i < o->text_count; i++)
        rc = check_text(p, o->texts[i], &known, err);
    for (int i = 0; !rc && i < o->val_text_count; i++)
        rc = check_text(p, o->val_texts[i], &known, err);
    if (!known)
        p->total_bytes = 0;
    return rc;
}

static int on_ids(void *arg, const int32_t *ids, size_t n, uint64_t text_bytes, bool last, struct err *err)
{
    const struct preparation *p = arg;
    int rc = token_writer_add(p->writer, ids, n, text_bytes, err);
    if (!rc && last && p->separator && tokenizer_about(p->tokenizer)->end_of_text >= 0)
        rc = token_writer_end_document(p->writer, tokenizer_about(p->tokenizer)->end_of_text, err);
    return !rc && last ? token_writer_begin_document(p->writer, err) : rc;
}

static int on_piece(void *arg, const unsigned char *text, size_t size, bool ends, struct err *err)
{
    struct preparation *p = arg;
    int rc = tokenizer_feed(p->tokenizer, text, size, on_ids, p, err);
    return !rc && ends ? tokenizer_end_document(p->tokenizer, on_ids, p, err) : rc;
}

static void show_progress(struct preparation *p)
{
    char done[32];
    output_format_bytes((double)p->done_bytes, done);
    progress_update(p->progress, p->total_bytes ? (double)p->done_bytes / (double)p->total_bytes : (double)NAN, "%s",
                    done);
}

static int refuse_bytes(const char *path, uint64_t offset, struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "%s: byte %llu (from 0) begins no valid UTF-8 character; --tokenizer bytes takes any", path,
                   (unsigned long long)offset);
}

/* size 0: the text has ended. */
static int add_piece(struct preparation *p, const char *path, struct utf8_check *check, size_t size, struct err *err)
{
    if (tokenizer_about(p->tokenizer)->utf8 &&
        !(size ? utf8_check_feed(check, p->buffer, size) : utf8_check_end(check)))
        return refuse_bytes(path, check->valid, err);
    if (!p->separator)
        return on_piece(p, p->buffer, size, size == 0, err);
    return size ? separator_feed(p->separator, p->buffer, size, on_piece, p, err)
                : separator_end(p->separator, on_piece, p, err);
}

static int add_text(struct preparation *p, const char *path, struct err *err)
{
    struct utf8_check check = {0};
    struct stat st;
    int fd, rc = open_text(path, &fd, &st, err);
    if (rc)
        return rc;
    for (bool ended = false; !rc && !ended;) {
        ssize_t n = interrupt_caught() ? -1 : read(fd, p->buffer, sizeof p->buffer);
        if (interrupt_caught()) {
            rc = err_set(err, ERR_IO, "interrupted");
        } else if (n < 0 && errno != EINTR) {
            rc = err_set_errno(err, errno, "%s", path);
        } else if (n >= 0) {
            ended = n == 0;
            rc = add_piece(p, path, &check, (size_t)n, err);
            p->done_bytes += (uint64_t)n;
            show_progress(p);
        }
    }
    close(fd);
    return rc;
}

static int create_writer(struct preparation *p, struct err *err)
{
    const struct preparation_options *o = p->options;
    const struct tokenizer_about *about = tokenizer_about(p->tokenizer);
    int rc = token_writer_create(o->home, o->name, about->name, about->vocab, o->replace, &p->writer, err);
    if (rc)
        return rc;
    token_writer_set_texts(p->writer, tokenizer_texts(p->tokenizer));
    if (about->file)
        rc = token_writer_keep_tokenizer(p->writer, o->tokenizer, about->file, about->file_size, about->file_sha256,
                                         err);
    return rc ? rc : token_writer_begin_document(p->writer, err);
}

static int prepare(struct preparation *p, struct token_file_header *out, struct err *err)
{
    const struct preparation_options *o = p->options;
    int rc = check_texts(p, err);
    if (!rc)
        rc = create_writer(p, err);
    for (int i = 0; !rc && i < o->text_count; i++)
        rc = add_text(p, o->texts[i], err);
    if (!rc)
        rc = tokenizer_flush(p->tokenizer, on_ids, p, err);
    if (!rc && o->val_text_count)
        rc = token_writer_begin_validation(p->writer, err);
    for (int i = 0; !rc && i < o->val_text_count; i++)
        rc = add_text(p, o->val_texts[i], err);
    if (!rc)
        rc = tokenizer_flush(p->tokenizer, on_ids, p, err);
    return rc ? rc : token_writer_finish(p->writer, o->val, out, err);
}

static int check_separator(const struct preparation_options *o, const struct tokenizer_about *about, struct err *err)
{
    if (!o->separator)
        return 0;
    struct utf8_check check = {0};
    bool valid = utf8_check_feed(&check, (const unsigned char *)o->separator, strlen(o->separator));
    if (about->utf8 && !(valid && utf8_check_end(&check)))
        return err_set(err, ERR_INVALID, "--document-separator: it is no valid UTF-8");
    if (about->utf8 && about->end_of_text < 0)
        return err_set(err, ERR_INVALID,
                       "--document-separator: %s has no added token <|endoftext|>, <|end_of_text|>, </s> or <eos>",
                       o->tokenizer);
    return 0;
}

int preparation_run(const struct preparation_options *o, struct token_file_header *out, struct err *err)
{
    struct preparation *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->options = o;
    int rc = tokenizer_open(o->tokenizer, o->threads, &p->tokenizer, err);
    if (!rc)
        rc = check_separator(o, tokenizer_about(p->tokenizer), err);
    if (!rc) {
        p->separator = o->separator ? separator_create(o->separator) : NULL;
        interrupt_catch();
        p->progress = progress_create(o->name);
        rc = prepare(p, out, err);
        progress_destroy(p->progress);
        token_writer_destroy(p->writer);
        interrupt_release();
    }
    separator_destroy(p->separator);
    tokenizer_close(p->tokenizer);
    free(p);
    if (rc)
        interrupt_deliver();
    return rc;
}
