/* token_file.c: the reader; see token_file.h. Nothing in the file is trusted: every number of the header is checked
 * against the file's length before it is used, so that a truncated or foreign file is one error and never a fault. */
#include "text/token_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "text/token_layout.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "token files are little-endian and are used as they lie in memory"
#endif

_Static_assert(sizeof(struct token_file_header) <= TOKEN_HEADER_BYTES, "the header fits its page");

uint32_t token_id_bytes(uint64_t vocab)
{
    return vocab <= 1u << 8 ? 1 : vocab <= 1u << 16 ? 2 : 4;
}

void token_hash_numbers(struct sha256 *s, const struct token_file_header *h)
{
    const uint64_t numbers[] = {h->vocab,          h->id_bytes,   h->count,           h->train_count,
                                h->document_count, h->text_bytes, h->train_text_bytes};
    sha256_update(s, numbers, sizeof numbers);
    sha256_update(s, h->tokenizer, sizeof h->tokenizer);
}

uint64_t token_words_check(const struct token_file_header *h)
{
    char hex[SHA256_HEX_SIZE];
    struct sha256 *s = sha256_create();
    sha256_update(s, h->hash, sizeof h->hash);
    sha256_update(s, &h->words, sizeof h->words);
    sha256_update(s, &h->train_words, sizeof h->train_words);
    sha256_finish(s, hex);
    hex[16] = '\0';
    return strtoull(hex, NULL, 16);
}

static bool is_hash(const char hash[SHA256_HEX_SIZE])
{
    for (int i = 0; i < SHA256_HEX_SIZE - 1; i++)
        if (!strchr("0123456789abcdef", hash[i]) || !hash[i])
            return false;
    return hash[SHA256_HEX_SIZE - 1] == '\0';
}

/* NULL when the header is consistent with a file of this length, else what is wrong with it. */
static const char *header_problem(const struct token_file_header *h, uint64_t length)
{
    if (memcmp(h->magic, TOKEN_MAGIC, sizeof h->magic) != 0)
        return "it is no token file";
    if (h->header_bytes != TOKEN_HEADER_BYTES)
        return "its header has another size than this version knows";
    if (h->vocab < 1 || h->vocab > INT32_MAX || h->id_bytes != token_id_bytes(h->vocab))
        return "its vocabulary and id size contradict each other";
    if (h->count < 1 || h->count > TOKEN_COUNT_MAX || h->train_count > h->count)
        return "its token counts contradict each other";
    if (h->document_count < 1 || h->document_count > h->count)
        return "its number of documents is impossible";
    if (!memchr(h->tokenizer, '\0', sizeof h->tokenizer) || !is_hash(h->hash))
        return "its header is damaged";
    if ((h->words || h->train_words || h->words_check) && h->words_check != token_words_check(h))
        return "its word counts are damaged";
    /* Cannot overflow: count and document_count are below 2^56 and an id has at most 4 bytes. */
    uint64_t wanted = token_documents_offset(h) + h->document_count * sizeof(uint64_t);
    if (length < wanted)
        return "it is truncated";
    if (length > wanted)
        return "it is longer than its header says";
    return NULL;
}

static const char *documents_problem(const struct token_file *f)
{
    if (f->documents[0] != 0)
        return "its first document does not start at its first token";
    for (uint64_t i = 1; i < f->header.document_count; i++)
        if (f->documents[i] <= f->documents[i - 1] || f->documents[i] >= f->header.count)
            return "its document starts are not increasing";
    return NULL;
}

static int damaged(const char *name, const char *path, const char *problem, struct err *err)
{
    return err_set(err, ERR_DAMAGED,
                   "data set %s is damaged: %s (%s); make it anew with `bakactl data prepare --replace`", name, problem,
                   path);
}

static int open_fd(const char *home, const char *name, char path[PATH_SIZE], int *fd, struct err *err)
{
    if (!name_is_valid(name))
        return err_set(err, ERR_INVALID,
                       "\"%.80s\" is no name of a data set: letters, digits, . _ - and at most 64 of them", name);
    int rc = path_format(path, err, "%s/data/%s/tokens", home, name);
    if (rc)
        return rc;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (*fd >= 0)
        return 0;
    if (errno == ENOENT || errno == ENOTDIR)
        return err_set(
            err, ERR_NOT_FOUND,
            "no data set %s in %s/data: `bakactl data list` shows what is there, `bakactl data prepare` makes one",
            name, home);
    return err_set_errno(err, errno, "data set %s: %s", name, path);
}

int token_file_open(const char *home, const char *name, struct token_file *out, struct err *err)
{
    char path[PATH_SIZE];
    int fd = -1, rc = open_fd(home, name, path, &fd, err);
    if (rc)
        return rc;
    struct token_file f = {0};
    struct stat st;
    const char *problem = NULL;
    if (fstat(fd, &st) != 0) {
        rc = err_set_errno(err, errno, "data set %s: %s", name, path);
        goto close_fd;
    }
    if (!S_ISREG(st.st_mode))
        problem = "its token file is no regular file";
    else if (st.st_size < TOKEN_HEADER_BYTES)
        problem = "it is truncated";
    if (problem) {
        rc = damaged(name, path, problem, err);
        goto close_fd;
    }
    f.map_bytes = (size_t)st.st_size;
    f.map = mmap(NULL, f.map_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (f.map == MAP_FAILED) {
        rc = err_set_errno(err, errno, "data set %s: cannot map %s", name, path);
        goto close_fd;
    }
    memcpy(&f.header, f.map, sizeof f.header);
    problem = header_problem(&f.header, (uint64_t)st.st_size);
    if (!problem) {
        f.ids = (const char *)f.map + TOKEN_HEADER_BYTES;
        f.documents = (const uint64_t *)(const void *)((const char *)f.map + token_documents_offset(&f.header));
        problem = documents_problem(&f);
    }
    if (problem) {
        rc = damaged(name, path, problem, err);
        munmap(f.map, f.map_bytes);
        goto close_fd;
    }
    *out = f;
close_fd:
    close(fd);
    return rc;
}

int token_file_verify(const struct token_file *f, struct err *err)
{
    enum { PIECE = 1 << 16 };
    const struct token_file_header *h = &f->header;
    if ((uint64_t)1 << (8 * h->id_bytes) != h->vocab) {
        static _Thread_local int32_t ids[PIECE];
        for (uint64_t start = 0; start < h->count; start += PIECE) {
            size_t n = h->count - start < PIECE ? (size_t)(h->count - start) : PIECE;
            token_file_read(f, start, n, ids);
            for (size_t i = 0; i < n; i++)
                if (ids[i] < 0 || (uint64_t)ids[i] >= h->vocab)
                    return err_set(err, ERR_DAMAGED, "token %llu has id %d, the vocabulary ends at %llu",
                                   (unsigned long long)(start + i), ids[i], (unsigned long long)h->vocab - 1);
        }
    }
    struct sha256 *s = sha256_create();
    sha256_update(s, f->ids, (size_t)(h->count * h->id_bytes));
    sha256_update(s, f->documents, (size_t)(h->document_count * sizeof(uint64_t)));
    token_hash_numbers(s, h);
    char hash[SHA256_HEX_SIZE];
    sha256_finish(s, hash);
    if (strcmp(hash, h->hash) != 0)
        return err_set(err, ERR_DAMAGED,
                       "its content does not match its hash: it has %.12s..., its header says %.12s...", hash, h->hash);
    return 0;
}

void token_file_close(struct token_file *f)
{
    if (f->map)
        munmap(f->map, f->map_bytes);
    *f = (struct token_file){0};
}

void token_file_read(const struct token_file *f, uint64_t start, size_t n, int32_t *out)
{
    if (f->header.id_bytes == 1) {
        const uint8_t *ids = (const uint8_t *)f->ids + start;
        for (size_t i = 0; i < n; i++)
            out[i] = ids[i];
    } else if (f->header.id_bytes == 2) {
        const uint16_t *ids = (const uint16_t *)f->ids + start;
        for (size_t i = 0; i < n; i++)
            out[i] = ids[i];
    } else {
        memcpy(out, (const int32_t *)f->ids + start, n * sizeof *out);
    }
}
