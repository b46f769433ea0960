/* gemm_table.cu: cuda_algorithms.txt, the algorithms that were measured to be fastest, beside the library.
 *
 * A line is GPU name, cuBLASLt version, key of the product and the algorithm's 8 words in hexadecimal, with tabs
 * between;
 * '#' begins a comment line. An algorithm holds for one GPU kind and one version, so other lines are not read further,
 * and do not count in the hash. A line that cannot be read is an error with its number: a half-read table would be
 * other numerics under the same name.
 */
#include "kernels/cuda/gemm_plan.cuh"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
extern "C" {
#include "base/file.h"
}

enum { TABLE_LIMIT = 4 << 20, LINE_ROOM = 128 + 24 + GEMM_KEY_TEXT + 17 * GEMM_ALGORITHM_WORDS + 8 };

static_assert(sizeof(cublasLtMatmulAlgo_t) == GEMM_ALGORITHM_WORDS * sizeof(uint64_t), "an algorithm is 8 words");

int gemm_table_path(char *path, size_t room, struct err *err)
{
    Dl_info info;
    if (!dladdr((const void *)&gemm_table_path, &info) || !info.dli_fname)
        return err_set(err, ERR_INTERNAL, "the CUDA library does not know its own path");
    const char *slash = strrchr(info.dli_fname, '/');
    int folder = slash ? (int)(slash - info.dli_fname) : 1;
    int n = snprintf(path, room, "%.*s/cuda_algorithms.txt", folder, slash ? info.dli_fname : ".");
    if (n < 0 || (size_t)n >= room)
        return err_set(err, ERR_TOO_LARGE, "the path of the CUDA library has more than %zu bytes", room - 24);
    return 0;
}

/* Cuts a line at its tabs; false when it has not exactly `count` fields. */
static bool split(char *line, char **fields, int count)
{
    for (int i = 0; i < count; i++) {
        fields[i] = line;
        char *tab = strchr(line, '\t');
        if ((tab == NULL) != (i == count - 1))
            return false;
        if (tab) {
            *tab = '\0';
            line = tab + 1;
        }
    }
    return true;
}

static bool parse_words(const char *text, cublasLtMatmulAlgo_t *out)
{
    for (int i = 0; i < GEMM_ALGORITHM_WORDS; i++) {
        char *end;
        out->data[i] = strtoull(text, &end, 16);
        if (end == text || (*end != '\0' && *end != ' ') || (*end == '\0') != (i == GEMM_ALGORITHM_WORDS - 1))
            return false;
        text = end + 1;
    }
    return true;
}

static uint64_t hash_line(uint64_t hash, const char *line)
{
    do
        hash = (hash ^ (unsigned char)*line) * 0x100000001b3u;
    while (*line++); /* the NUL too: it ends the line */
    return hash;
}

static int add_row(struct gemm_table *t, const char *key, const cublasLtMatmulAlgo_t *algorithm, struct err *err)
{
    struct gemm_table_row *rows = (struct gemm_table_row *)realloc(t->rows, (size_t)(t->count + 1) * sizeof *t->rows);
    char *copy = strdup(key);
    if (rows)
        t->rows = rows;
    if (!rows || !copy) {
        free(copy);
        return err_set(err, ERR_NO_MEMORY, "no memory for the table of algorithms");
    }
    t->rows[t->count].key = copy;
    t->rows[t->count++].algorithm = *algorithm;
    return 0;
}

static int load_lines(struct gemm_table *t, char *text, const char *path, const char *device, const char *version,
                      struct err *err)
{
    int number = 0;
    t->hash = 0xcbf29ce484222325u;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        number++;
        if (*line == '\0' || *line == '#')
            continue;
        char *fields[4];
        cublasLtMatmulAlgo_t algorithm;
        uint64_t hash = hash_line(t->hash, line);
        if (!split(line, fields, 4) || !parse_words(fields[3], &algorithm))
            return err_set_at(err, ERR_DAMAGED, path,
                              "line %d is not: GPU, cuBLASLt version, product, 8 hexadecimal words, with tabs between",
                              number);
        if (strcmp(fields[0], device) != 0 || strcmp(fields[1], version) != 0)
            continue;
        if (gemm_table_find(t, fields[2]))
            return err_set_at(err, ERR_DAMAGED, path, "line %d repeats a product", number);
        t->hash = hash;
        int rc = add_row(t, fields[2], &algorithm, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int gemm_table_load(struct gemm_table *t, const char *path, const char *device, const char *version, struct err *err)
{
    char *text = NULL;
    size_t size = 0;
    *t = {};
    if (!file_exists(path))
        return 0;
    int rc = file_read_all(path, TABLE_LIMIT, &text, &size, err);
    if (rc == 0)
        rc = load_lines(t, text, path, device, version, err);
    free(text);
    if (rc != 0)
        gemm_table_finish(t);
    return rc;
}

const cublasLtMatmulAlgo_t *gemm_table_find(const struct gemm_table *t, const char *key)
{
    for (int i = 0; i < t->count; i++)
        if (strcmp(t->rows[i].key, key) == 0)
            return &t->rows[i].algorithm;
    return NULL;
}

void gemm_table_finish(struct gemm_table *t)
{
    for (int i = 0; i < t->count; i++)
        free(t->rows[i].key);
    free(t->rows);
    *t = {};
}

/* Whether one of the rows replaces this line of the old file. */
static bool replaced(const char *line, const char *device, const char *version, const struct gemm_table_row *rows,
                     int count)
{
    char start[LINE_ROOM];
    for (int i = 0; i < count; i++) {
        int n = snprintf(start, sizeof start, "%s\t%s\t%s\t", device, version, rows[i].key);
        if (strncmp(line, start, (size_t)n) == 0)
            return true;
    }
    return false;
}

int gemm_table_save(const char *path, const char *device, const char *version, const struct gemm_table_row *rows,
                    int count, struct err *err)
{
    static const char head[] = "# Measured by baka-worker --tune: GPU, cuBLASLt version, product, algorithm\n";
    char *old = NULL;
    size_t size = 0;
    if (file_exists(path)) {
        int rc = file_read_all(path, TABLE_LIMIT, &old, &size, err);
        if (rc != 0)
            return rc;
    }
    char *text = (char *)malloc(sizeof head + size + 1 + (size_t)count * LINE_ROOM);
    if (!text) {
        free(old);
        return err_set(err, ERR_NO_MEMORY, "no memory for the table of algorithms");
    }
    size_t used = 0;
    if (size == 0)
        used = (size_t)sprintf(text, "%s", head);
    for (char *line = old, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (!replaced(line, device, version, rows, count))
            used += (size_t)sprintf(text + used, "%s\n", line);
    }
    for (int i = 0; i < count; i++) {
        used += (size_t)snprintf(text + used, LINE_ROOM, "%s\t%s\t%s\t", device, version, rows[i].key);
        for (int w = 0; w < GEMM_ALGORITHM_WORDS; w++)
            used += (size_t)sprintf(text + used, "%016" PRIx64 "%c", rows[i].algorithm.data[w],
                                    w == GEMM_ALGORITHM_WORDS - 1 ? '\n' : ' ');
    }
    int rc = file_write_atomic(path, text, used, 0644, err);
    free(text);
    free(old);
    return rc;
}
