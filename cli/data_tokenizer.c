/* data_tokenizer.c: see data_tokenizer.h. */
#include "cli/data_tokenizer.h"

#include <inttypes.h>
#include <string.h>
#include "base/err.h"
#include "base/path.h"
#include "text/token_file.h"
#include "text/tokenizer.h"

int data_tokenizer_open(const char *home, const char *name, struct tokenizer **out, struct err *err)
{
    struct token_file f;
    char path[PATH_SIZE];
    int rc = token_file_open(home, name, &f, err);
    if (rc != 0)
        return rc;
    bool bytes = strcmp(f.header.tokenizer, tokenizer_bytes.argument) == 0;
    token_file_close(&f);
    if (bytes)
        return tokenizer_open(tokenizer_bytes.argument, 1, out, err);
    rc = path_format(path, err, "%s/data/%s/tokenizer.json", home, name);
    return rc ? rc : tokenizer_open(path, 1, out, err);
}

static int compare(const struct tokenizer *data, const struct tokenizer *other, const char *name, const char *path,
                   struct err *err)
{
    struct token_texts a = tokenizer_texts(data), b = tokenizer_texts(other);
    uint64_t vocab = tokenizer_about(data)->vocab, there = tokenizer_about(other)->vocab;
    if (there < vocab)
        return err_set_at(err, ERR_INVALID, "data.name",
                          "data set '%s' has a vocabulary of %" PRIu64 ", %.300s has %" PRIu64
                          ": it was cut by another tokenizer",
                          name, vocab, path, there);
    for (uint64_t id = 0; id < vocab; id++) {
        size_t n, m;
        const unsigned char *x = a.text(a.state, (int32_t)id, &n), *y = b.text(b.state, (int32_t)id, &m);
        if (n != m || memcmp(x, y, n) != 0)
            return err_set_at(err, ERR_INVALID, "data.name",
                              "data set '%s' was cut by another tokenizer than %.300s: id %" PRIu64
                              " stands for another text there",
                              name, path, id);
    }
    return 0;
}

int data_tokenizer_compare(const char *home, const char *name, const char *path, struct err *err)
{
    struct tokenizer *data = NULL, *other = NULL;
    int rc = data_tokenizer_open(home, name, &data, err);
    if (rc == 0)
        rc = tokenizer_open(path, 1, &other, err);
    if (rc == 0)
        rc = compare(data, other, name, path, err);
    tokenizer_close(data);
    tokenizer_close(other);
    return rc;
}
