/* token_writer.c: the streaming writer of token_file.h.
 *
 * Everything is written in HOME/data/.NAME.new (a name that no client can ask for): `tokens`, with document starts
 * collected in a file beside it so that memory does not grow with the text, then the header, fsync, meta.json, and one
 * rename of the folder (text/token_folder.c), which also holds the lock against a second writer of NAME. A writer that
 * is killed leaves only the folder, which the next one removes. Thread: one at a time.
 */
#include "text/token_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "text/token_folder.h"
#include "text/token_layout.h"
#include "text/token_measure.h"

enum { BUFFER_BYTES = 1 << 18 };

/* A file that is only appended to, through a buffer of BUFFER_BYTES. */
struct stream {
    int fd;
    char path[PATH_SIZE];
    unsigned char *buffer;
    size_t used;
};

struct token_writer {
    struct token_folder *folder;
    struct stream tokens, documents;
    struct token_file_header header;
    struct sha256 *hash;
    bool document_pending; /* begun, but without a token yet */
    bool validation_begun;
    bool marked;                     /* documents end with a token that stands for no text */
    struct token_texts texts;        /* .text NULL: not known */
    struct token_measure measure[2]; /* of training and validation */
    char tokenizer_file[NAME_MAX + 1], tokenizer_sha256[SHA256_HEX_SIZE]; /* empty: it has none */
    char name[NAME_SIZE];
};

static int stream_create(struct stream *s, const char *folder, const char *name, struct err *err)
{
    int rc = path_format(s->path, err, "%s/%s", folder, name);
    if (rc)
        return rc;
    s->fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (s->fd < 0)
        return err_set_errno(err, errno, "cannot create %s", s->path);
    s->buffer = malloc(BUFFER_BYTES);
    if (!s->buffer)
        abort();
    return 0;
}

static void stream_finish(struct stream *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    free(s->buffer);
    s->buffer = NULL;
}

static int stream_flush(struct stream *s, struct err *err)
{
    size_t n = s->used;
    s->used = 0;
    return file_write_all(s->fd, s->buffer, n, s->path, err);
}

static int stream_append(struct stream *s, const void *data, size_t size, struct err *err)
{
    const unsigned char *from = data;
    while (size) {
        size_t n = BUFFER_BYTES - s->used < size ? BUFFER_BYTES - s->used : size;
        memcpy(s->buffer + s->used, from, n);
        s->used += n;
        from += n;
        size -= n;
        int rc = s->used == BUFFER_BYTES ? stream_flush(s, err) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

int token_writer_create(const char *home, const char *name, const char *tokenizer, uint64_t vocab, int replace,
                        struct token_writer **out, struct err *err)
{
    if (vocab < 1 || vocab > INT32_MAX)
        return err_set(err, ERR_INVALID, "a vocabulary of %llu: from 1 to %d are possible", (unsigned long long)vocab,
                       INT32_MAX);
    struct token_writer *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->tokens.fd = w->documents.fd = -1;
    memcpy(w->header.magic, TOKEN_MAGIC, sizeof w->header.magic);
    w->header.header_bytes = TOKEN_HEADER_BYTES;
    w->header.id_bytes = token_id_bytes(vocab);
    w->header.vocab = vocab;
    int rc = 0;
    if (strlen(tokenizer) >= sizeof w->header.tokenizer)
        rc = err_set(err, ERR_INVALID, "the tokenizer's name has more than %zu bytes", sizeof w->header.tokenizer - 1);
    if (!rc)
        rc = token_folder_create(home, name, replace != 0, &w->folder, err);
    if (!rc)
        rc = stream_create(&w->tokens, token_folder_path(w->folder), "tokens", err);
    if (!rc)
        rc = stream_create(&w->documents, token_folder_path(w->folder), "documents", err);
    if (!rc) {
        static const char empty_header[TOKEN_HEADER_BYTES];
        rc = stream_append(&w->tokens, empty_header, sizeof empty_header, err);
    }
    if (rc) {
        token_writer_destroy(w);
        return rc;
    }
    snprintf(w->name, sizeof w->name, "%s", name);
    memcpy(w->header.tokenizer, tokenizer, strlen(tokenizer));
    w->hash = sha256_create();
    *out = w;
    return 0;
}

int token_writer_begin_document(struct token_writer *w, struct err *err)
{
    (void)err;
    /* Recorded with its first token: a document without tokens is none. */
    w->document_pending = true;
    return 0;
}

static int add_document_start(struct token_writer *w, struct err *err)
{
    int rc = stream_append(&w->documents, &w->header.count, sizeof w->header.count, err);
    if (!rc)
        w->header.document_count++;
    w->document_pending = false;
    return rc;
}

static void pack(const int32_t *ids, size_t n, uint32_t id_bytes, unsigned char *out)
{
    if (id_bytes == 1) {
        for (size_t i = 0; i < n; i++)
            out[i] = (unsigned char)ids[i];
    } else if (id_bytes == 2) {
        for (size_t i = 0; i < n; i++) {
            uint16_t id = (uint16_t)ids[i];
            memcpy(out + 2 * i, &id, 2);
        }
    } else {
        memcpy(out, ids, n * sizeof *ids);
    }
}

int token_writer_add(struct token_writer *w, const int32_t *ids, size_t n, uint64_t text_bytes, struct err *err)
{
    enum { PIECE = 4096 };
    struct token_file_header *h = &w->header;
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint64_t)ids[i] >= h->vocab)
            return err_set(err, ERR_INVALID, "the id %d is not in the vocabulary of %llu", ids[i],
                           (unsigned long long)h->vocab);
    if (n > TOKEN_COUNT_MAX - h->count)
        return err_set(err, ERR_TOO_LARGE, "more tokens than a token file can hold");
    int rc = n && (w->document_pending || h->count == 0) ? add_document_start(w, err) : 0;
    unsigned char packed[PIECE * sizeof *ids];
    for (size_t i = 0; !rc && i < n; i += PIECE) {
        size_t k = n - i < PIECE ? n - i : PIECE;
        pack(ids + i, k, h->id_bytes, packed);
        sha256_update(w->hash, packed, k * h->id_bytes);
        rc = stream_append(&w->tokens, packed, k * h->id_bytes, err);
    }
    if (rc)
        return rc;
    h->count += n;
    h->text_bytes += text_bytes;
    return 0;
}

void token_writer_set_texts(struct token_writer *w, struct token_texts texts)
{
    w->texts = texts;
}

int token_writer_keep_tokenizer(struct token_writer *w, const char *path, const void *data, size_t size,
                                const char *sha256, struct err *err)
{
    const char *slash = strrchr(path, '/');
    snprintf(w->tokenizer_file, sizeof w->tokenizer_file, "%s", slash ? slash + 1 : path);
    snprintf(w->tokenizer_sha256, sizeof w->tokenizer_sha256, "%s", sha256);
    char kept[PATH_SIZE];
    int rc = path_format(kept, err, "%s/tokenizer.json", token_folder_path(w->folder));
    return rc ? rc : file_write_atomic(kept, data, size, 0600, err);
}

int token_writer_end_document(struct token_writer *w, int32_t id, struct err *err)
{
    w->marked = true;
    if (w->document_pending || w->header.count == 0)
        return 0;
    return token_writer_add(w, &id, 1, 0, err);
}

int token_writer_begin_validation(struct token_writer *w, struct err *err)
{
    if (w->validation_begun)
        return err_set(err, ERR_INTERNAL, "validation begins once");
    w->validation_begun = true;
    w->document_pending = true;
    w->header.train_count = w->header.count;
    w->header.train_text_bytes = w->header.text_bytes;
    return 0;
}

static int decide_split(struct token_writer *w, struct share val, struct err *err)
{
    struct token_file_header *h = &w->header;
    if (w->validation_begun && val.part != 0)
        return err_set(err, ERR_INVALID, "the validation split is given by files and by a share: only one is possible");
    if (h->count == 0)
        return err_set(err, ERR_INVALID, "the text is empty: no tokens");
    if (!w->validation_begun) {
        h->train_count = h->count - share_of(val, h->count);
        h->train_text_bytes = h->train_count == h->count ? h->text_bytes : 0;
    }
    if (h->train_count == 0)
        return err_set(err, ERR_INVALID, "no tokens are left for training");
    return 0;
}

/* Appends the document starts after the ids and hashes them. */
static int append_documents(struct token_writer *w, struct err *err)
{
    static const char zeros[8];
    uint64_t ids_end = TOKEN_HEADER_BYTES + w->header.count * w->header.id_bytes;
    int rc = stream_append(&w->tokens, zeros, (size_t)(token_documents_offset(&w->header) - ids_end), err);
    if (!rc)
        rc = stream_flush(&w->documents, err);
    unsigned char *piece = malloc(BUFFER_BYTES);
    if (!piece)
        abort();
    off_t at = 0;
    while (!rc) {
        ssize_t n = pread(w->documents.fd, piece, BUFFER_BYTES, at);
        if (n == 0 || (n < 0 && errno == EINTR)) {
            if (n == 0)
                break;
            continue;
        }
        if (n < 0) {
            rc = err_set_errno(err, errno, "cannot read %s", w->documents.path);
            break;
        }
        sha256_update(w->hash, piece, (size_t)n);
        rc = stream_append(&w->tokens, piece, (size_t)n, err);
        at += n;
    }
    free(piece);
    if (!rc)
        rc = stream_flush(&w->tokens, err);
    if (!rc && unlink(w->documents.path) != 0)
        rc = err_set_errno(err, errno, "cannot remove %s", w->documents.path);
    return rc;
}

/* Reads back what was written, all but the header. */
static int measure(struct token_writer *w, struct err *err)
{
    struct token_file_header *h = &w->header;
    size_t size = (size_t)(token_documents_offset(h) + h->document_count * sizeof(uint64_t));
    char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, w->tokens.fd, 0);
    if (map == MAP_FAILED)
        return err_set_errno(err, errno, "cannot map %s", w->tokens.path);
    const struct token_file f = {
        .header = *h,
        .ids = map + TOKEN_HEADER_BYTES,
        .documents = (const uint64_t *)(const void *)(map + token_documents_offset(h)),
    };
    token_measure(&f, &w->texts, w->marked, w->measure);
    munmap(map, size);
    uint64_t bytes = w->measure[SPLIT_TRAIN].bytes + w->measure[SPLIT_VAL].bytes;
    if (bytes != h->text_bytes)
        return err_set(err, ERR_INTERNAL, "the tokens stand for %llu bytes of text, the text had %llu",
                       (unsigned long long)bytes, (unsigned long long)h->text_bytes);
    h->train_text_bytes = w->measure[SPLIT_TRAIN].bytes;
    h->train_words = w->measure[SPLIT_TRAIN].words;
    h->words = h->train_words + w->measure[SPLIT_VAL].words;
    return 0;
}

static int write_header(struct token_writer *w, struct err *err)
{
    token_hash_numbers(w->hash, &w->header);
    sha256_finish(w->hash, w->header.hash);
    w->hash = NULL;
    if (w->texts.text)
        w->header.words_check = token_words_check(&w->header);
    if (lseek(w->tokens.fd, 0, SEEK_SET) != 0)
        return err_set_errno(err, errno, "cannot seek in %s", w->tokens.path);
    int rc = file_write_all(w->tokens.fd, &w->header, sizeof w->header, w->tokens.path, err);
    if (!rc && fsync(w->tokens.fd) != 0)
        rc = err_set_errno(err, errno, "cannot sync %s", w->tokens.path);
    return rc;
}

static int write_meta(struct token_writer *w, struct err *err)
{
    const struct token_file_header *h = &w->header;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", w->name);
    cJSON_AddStringToObject(o, "tokenizer", h->tokenizer);
    json_add_int64(o, "vocab", (int64_t)h->vocab);
    json_add_int64(o, "tokens", (int64_t)h->count);
    json_add_int64(o, "train", (int64_t)h->train_count);
    json_add_int64(o, "val", (int64_t)(h->count - h->train_count));
    json_add_int64(o, "documents", (int64_t)h->document_count);
    json_add_int64(o, "text_bytes", (int64_t)h->text_bytes);
    if (w->texts.text) {
        json_add_int64(o, "val_text_bytes", (int64_t)w->measure[SPLIT_VAL].bytes);
        json_add_int64(o, "train_words", (int64_t)w->measure[SPLIT_TRAIN].words);
        json_add_int64(o, "val_words", (int64_t)w->measure[SPLIT_VAL].words);
    }
    if (*w->tokenizer_file) {
        cJSON_AddStringToObject(o, "tokenizer_file", w->tokenizer_file);
        cJSON_AddStringToObject(o, "tokenizer_sha256", w->tokenizer_sha256);
    }
    cJSON_AddStringToObject(o, "hash", h->hash);
    json_add_int64(o, "created_ms", clock_wall_ms());
    char *text = json_canonical(o), path[PATH_SIZE];
    cJSON_Delete(o);
    int rc = path_format(path, err, "%s/meta.json", token_folder_path(w->folder));
    if (!rc)
        rc = file_write_atomic(path, text, strlen(text), 0600, err);
    free(text);
    return rc;
}

int token_writer_finish(struct token_writer *w, struct share val, struct token_file_header *out, struct err *err)
{
    int rc = decide_split(w, val, err);
    if (!rc)
        rc = append_documents(w, err);
    if (!rc && w->texts.text)
        rc = measure(w, err);
    if (!rc)
        rc = write_header(w, err);
    if (!rc)
        rc = write_meta(w, err);
    if (!rc)
        rc = token_folder_publish(w->folder, err);
    if (!rc)
        *out = w->header;
    return rc;
}

void token_writer_destroy(struct token_writer *w)
{
    if (!w)
        return;
    stream_finish(&w->tokens);
    stream_finish(&w->documents);
    sha256_destroy(w->hash);
    token_folder_destroy(w->folder);
    free(w);
}
