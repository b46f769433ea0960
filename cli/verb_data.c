/* verb_data.c: bakactl data list | dump | verify, and the parent of them, of fetch (verb_data_fetch.c) and of prepare
 * (verb_data_prepare.c). They read HOME/data themselves: no daemon is needed. */
#include "cli/verb.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/table.h"
#include "cli/output.h"
#include "cli/verb_data.h"
#include "text/token_file.h"

cJSON *data_to_json(const char *name, const struct token_file_header *h)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", name);
    cJSON_AddStringToObject(o, "tokenizer", h->tokenizer);
    cJSON_AddNumberToObject(o, "vocab", (double)h->vocab);
    cJSON_AddNumberToObject(o, "tokens", (double)h->count);
    cJSON_AddNumberToObject(o, "train", (double)h->train_count);
    cJSON_AddNumberToObject(o, "val", (double)(h->count - h->train_count));
    cJSON_AddNumberToObject(o, "documents", (double)h->document_count);
    cJSON_AddNumberToObject(o, "text_bytes", (double)h->text_bytes);
    if (h->words) {
        cJSON_AddNumberToObject(o, "train_words", (double)h->train_words);
        cJSON_AddNumberToObject(o, "val_words", (double)(h->words - h->train_words));
    }
    cJSON_AddStringToObject(o, "hash", h->hash);
    return o;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
    char **items;
    size_t count;
};

static void names_finish(struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->items[i]);
    free(n->items);
}

/* The data sets of HOME, by name. No data directory: none. */
static int find_names(const char *home, struct names *out, struct err *err)
{
    char path[PATH_SIZE];
    int rc = path_format(path, err, "%s/data", home);
    if (rc)
        return rc;
    DIR *dir = opendir(path);
    if (!dir && errno == ENOENT)
        return 0;
    if (!dir)
        return err_set_errno(err, errno, "cannot read %s", path);
    for (struct dirent *e; (e = readdir(dir));) {
        if (!name_is_valid(e->d_name))
            continue;
        char **grown = realloc(out->items, (out->count + 1) * sizeof *grown);
        char *copy = strdup(e->d_name);
        if (!grown || !copy)
            abort();
        out->items = grown;
        out->items[out->count++] = copy;
    }
    closedir(dir);
    if (out->count)
        qsort(out->items, out->count, sizeof *out->items, compare_names);
    return 0;
}

/* One row; a data set that cannot be opened is shown with the reason, for that is what one is looking for. */
static void list_one(const struct cli *cli, const char *name, struct table *table, cJSON *array)
{
    struct token_file f;
    struct err err = {0};
    int rc = token_file_open(cli->home, name, &f, &err);
    cJSON *object;
    if (rc) {
        object = cJSON_CreateObject();
        cJSON_AddStringToObject(object, "name", name);
        cJSON_AddStringToObject(object, "error", err.message);
        if (!cli->json)
            fprintf(stderr, "bakactl: %s\n", err.message);
    } else {
        object = data_to_json(name, &f.header);
        table_cell(table, "%s", name);
        table_cell(table, "%s", f.header.tokenizer);
        table_cell(table, "%llu", (unsigned long long)f.header.vocab);
        table_cell(table, "%llu", (unsigned long long)f.header.train_count);
        table_cell(table, "%llu", (unsigned long long)(f.header.count - f.header.train_count));
        table_cell(table, "%llu", (unsigned long long)f.header.document_count);
        table_cell(table, "%.12s", f.header.hash);
        token_file_close(&f);
    }
    cJSON_AddItemToArray(array, object);
}

static int run_list(struct cli *cli)
{
    struct err err = {0};
    struct names names = {0};
    if (find_names(cli->home, &names, &err))
        return cli_fail(cli, &err);
    struct table *table = table_create();
    table_column(table, "NAME", TABLE_LEFT);
    table_column(table, "TOKENIZER", TABLE_LEFT);
    table_column(table, "VOCAB", TABLE_RIGHT);
    table_column(table, "TRAIN", TABLE_RIGHT);
    table_column(table, "VAL", TABLE_RIGHT);
    table_column(table, "DOCUMENTS", TABLE_RIGHT);
    table_column(table, "HASH", TABLE_LEFT);
    cJSON *object = cJSON_CreateObject(), *array = cJSON_AddArrayToObject(object, "data");
    for (size_t i = 0; i < names.count; i++)
        list_one(cli, names.items[i], table, array);
    if (cli->json)
        output_json(stdout, object);
    else if (names.count)
        table_print(table, stdout, output_has_colour(stdout));
    else
        printf("no data sets in %s/data: make one with `bakactl data prepare`\n", cli->home);
    table_destroy(table);
    cJSON_Delete(object);
    names_finish(&names);
    return CLI_DONE;
}

/* Token ids [start, end) as little-endian uint32, the machine's own order (token_file.c asserts it). */
static int dump_range(const struct token_file *f, uint64_t start, uint64_t end, struct err *err)
{
    enum { PIECE = 1 << 16 };
    int rc = 0;
    int32_t *ids = malloc(PIECE * sizeof *ids);
    if (!ids)
        abort();
    while (!rc && start < end) {
        size_t n = end - start < PIECE ? (size_t)(end - start) : PIECE;
        token_file_read(f, start, n, ids);
        rc = file_write_all(STDOUT_FILENO, ids, n * sizeof *ids, "standard output", err);
        start += n;
    }
    free(ids);
    return rc;
}

static int run_dump(struct cli *cli)
{
    const char *name = cli->args.positional[0], *split = args_value(&cli->args, "--split");
    if (split && strcmp(split, "train") != 0 && strcmp(split, "val") != 0)
        return cli_usage(cli, "--split %s: train or val is needed", split);
    struct err err = {0};
    struct token_file f;
    if (token_file_open(cli->home, name, &f, &err))
        return cli_fail(cli, &err);
    if (isatty(STDOUT_FILENO)) {
        token_file_close(&f);
        return cli_usage(cli, "the token ids are binary: redirect standard output to a file or a pipe");
    }
    uint64_t start = split && strcmp(split, "val") == 0 ? f.header.train_count : 0;
    uint64_t end = split && strcmp(split, "train") == 0 ? f.header.train_count : f.header.count;
    int rc = dump_range(&f, start, end, &err);
    token_file_close(&f);
    return rc ? cli_fail(cli, &err) : CLI_DONE;
}

static int run_verify(struct cli *cli)
{
    const char *name = cli->args.positional[0];
    struct err err = {0};
    struct token_file f;
    if (token_file_open(cli->home, name, &f, &err))
        return cli_fail(cli, &err);
    int rc = token_file_verify(&f, &err);
    if (rc) {
        struct err why = err;
        err_set(&err, why.code, "data set %s is damaged: %s", name, why.message);
        rc = cli_fail(cli, &err);
    } else if (cli->json) {
        cJSON *object = data_to_json(name, &f.header);
        output_json(stdout, object);
        cJSON_Delete(object);
    } else {
        printf("%s: %llu tokens match their hash %s\n", name, (unsigned long long)f.header.count, f.header.hash);
    }
    token_file_close(&f);
    return rc;
}

static const struct verb verb_data_list = {
    .name = "list",
    .path = "data list",
    .arguments = "[--json]",
    .summary = "the data sets of this state directory",
    .help = "Prints name, tokenizer, vocabulary, tokens for training and validation,\n"
            "documents and hash of each data set. With --json: {\"data\":[{\"name\",\n"
            "\"tokenizer\",\"vocab\",\"tokens\",\"train\",\"val\",\"documents\",\"text_bytes\",\n"
            "\"train_words\",\"val_words\" (where they were counted),\"hash\"}]};\n"
            "one that is damaged has \"name\" and \"error\".\n",
    .run = run_list,
};

static const struct args_option dump_options[] = {
    {"--split", 0, "train|val", "only the training or the validation tokens", false},
    {NULL, 0, NULL, NULL, false},
};

static const struct verb verb_data_dump = {
    .name = "dump",
    .path = "data dump",
    .arguments = "NAME [--split train|val]",
    .summary = "write token ids to standard output",
    .help = "Writes the token ids of a data set to standard output, each a little-endian\n"
            "unsigned integer of 32 bits. Without --split: all in order, training first,\n"
            "then validation. With --json an error is JSON; the ids stay what they are.\n"
            "\n"
            "Examples:\n"
            "  bakactl data dump kjv > ids.u32\n"
            "  bakactl data dump kjv --split val | od -An -tu4 | head\n",
    .options = dump_options,
    .min_positional = 1,
    .max_positional = 1,
    .positional_is = "name of a data set",
    .run = run_dump,
};

static const struct verb verb_data_verify = {
    .name = "verify",
    .path = "data verify",
    .arguments = "NAME [--json]",
    .summary = "read a data set whole and check it against its hash",
    .help = "Reads all tokens of a data set; checks that each is in the vocabulary and that\n"
            "all match the hash. Exits 1 when they do not.\n"
            "\n"
            "Example:\n"
            "  bakactl data verify kjv\n",
    .min_positional = 1,
    .max_positional = 1,
    .positional_is = "name of a data set",
    .run = run_verify,
};

static const struct verb *const children[] = {
    &verb_data_fetch, &verb_data_prepare, &verb_data_list, &verb_data_dump, &verb_data_verify, NULL,
};

const struct verb verb_data = {
    .name = "data",
    .path = "data",
    .arguments = "fetch|prepare|list|dump|verify ...",
    .summary = "fetch and prepare texts; list, dump and verify data sets",
    .help = "A data set is made once from text files and then named in specs (data.name).\n"
            "It lies in the state directory, in data/NAME. No daemon is needed.\n",
    .children = children,
};
