/* verb_data_fetch.c: bakactl data fetch NAME: download, check, unpack into HOME/downloads/NAME, and say what comes
 * next. A lock there keeps two of them apart. */
#include "cli/verb.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <curl/curl.h>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "cli/download.h"
#include "cli/fetchable.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/verb_data.h"

enum { RETRIES_MAX = 100, RETRIES_DEFAULT = 5, TIMEOUT_MAX_S = 3600, TIMEOUT_DEFAULT_S = 30 };

#define ARCHIVE_MAX_BYTES INT64_C(4294967296) /* where --sha256 leaves the length open */
#define UNPACKED_MAX_BYTES INT64_C(8589934592)

static const char *const part_names[FETCHABLE_PARTS] = {
    [FETCHABLE_TRAIN] = "train", [FETCHABLE_VAL] = "val", [FETCHABLE_TEST] = "test"};

struct fetch {
    const struct fetchable *data;
    char dir[PATH_SIZE], archive[PATH_SIZE], texts[FETCHABLE_PARTS][PATH_SIZE];
    char sha256[SHA256_HEX_SIZE];
    char *from; /* NULL: the table's addresses */
    struct download_result download;
    int64_t bytes[FETCHABLE_PARTS];
};

static int unknown_name(struct cli *cli, const char *name)
{
    char known[256] = "";
    for (size_t i = 0; i < fetchable_count; i++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", fetchables[i].name);
    return cli_usage(cli, "%s is not known: %s are", name, known);
}

/* An address of a file, or of its folder if it ends in "/". The caller frees *out. */
static int read_from(const char *text, const char *archive, char **out, struct err *err)
{
    char *scheme = NULL, *user = NULL;
    CURLU *url = curl_url();
    if (!url)
        abort();
    bool good = strlen(text) < 1024 && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                (strcmp(scheme, "https") == 0 || strcmp(scheme, "http") == 0);
    bool has_user = good && curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK;
    curl_free(scheme);
    curl_free(user);
    curl_url_cleanup(url);
    if (has_user)
        return err_set(err, ERR_INVALID, "--from: an address with a user name or password is not supported");
    if (!good)
        return err_set(err, ERR_INVALID, "--from %.200s: an address that begins with https:// or http:// is needed",
                       text);
    if (asprintf(out, "%s%s", text, text[strlen(text) - 1] == '/' ? archive : "") < 0)
        abort();
    return 0;
}

static int read_sha256(const char *text, char out[SHA256_HEX_SIZE], struct err *err)
{
    if (strlen(text) != SHA256_HEX_SIZE - 1 || strspn(text, "0123456789abcdefABCDEF") != SHA256_HEX_SIZE - 1)
        return err_set(err, ERR_INVALID, "--sha256 %.100s: 64 hexadecimal digits are needed", text);
    for (int i = 0; i < SHA256_HEX_SIZE; i++)
        out[i] = (char)tolower((unsigned char)text[i]);
    return 0;
}

static int read_options(const struct cli *cli, struct fetch *f, struct download *d, struct err *err)
{
    const char *from = args_value(&cli->args, "--from"), *sha256 = args_value(&cli->args, "--sha256");
    int64_t retries = RETRIES_DEFAULT, timeout_s = TIMEOUT_DEFAULT_S;
    snprintf(f->sha256, sizeof f->sha256, "%s", f->data->sha256);
    int rc = args_int64(&cli->args, "--retries", 0, RETRIES_MAX, &retries, err);
    if (!rc)
        rc = args_int64(&cli->args, "--timeout", 1, TIMEOUT_MAX_S, &timeout_s, err);
    if (!rc && sha256 && !from)
        rc = err_set(err, ERR_INVALID, "--sha256 goes with --from: it is of the archive there");
    if (!rc && from)
        rc = read_from(from, f->data->archive, &f->from, err);
    if (!rc && sha256)
        rc = read_sha256(sha256, f->sha256, err);
    *d = (struct download){
        .name = f->data->name,
        .sha256 = f->sha256,
        .bytes = sha256 ? 0 : f->data->bytes,
        .max_bytes = ARCHIVE_MAX_BYTES,
        .retries = (int)retries,
        .timeout_s = (int)timeout_s,
    };
    return rc;
}

static int set_paths(struct fetch *f, const char *home, struct err *err)
{
    int rc = path_format(f->dir, err, "%s/downloads/%s", home, f->data->name);
    if (!rc)
        rc = path_format(f->archive, err, "%s/%s", f->dir, f->data->archive);
    for (int i = 0; i < FETCHABLE_PARTS && !rc; i++)
        rc = path_format(f->texts[i], err, "%s/%s", f->dir, f->data->members[i].file);
    return rc ? rc : file_make_dirs(f->dir, 0700, err);
}

/* The file stays when the lock goes. */
static int take_lock(const struct fetch *f, int *fd, struct err *err)
{
    char path[PATH_SIZE];
    int rc = path_format(path, err, "%s/.lock", f->dir);
    if (rc)
        return rc;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0)
        return err_set_errno(err, errno, "cannot create %s", path);
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    rc = errno == EWOULDBLOCK ? err_set(err, ERR_BUSY, "%s is being fetched by another process", f->data->name)
                              : err_set_errno(err, errno, "cannot lock %s", path);
    close(*fd);
    return rc;
}

static int fetch(struct fetch *f, struct download *d, struct err *err)
{
    const char *const from[] = {f->from, NULL};
    int lock, rc = take_lock(f, &lock, err);
    if (rc)
        return rc;
    d->path = f->archive;
    d->urls = f->from ? from : f->data->urls;
    interrupt_catch();
    rc = download_run(d, &f->download, err);
    if (!rc)
        rc = unpack_zip(f->archive, f->dir, f->data->members, FETCHABLE_PARTS, UNPACKED_MAX_BYTES, f->data->name,
                        f->bytes, err);
    interrupt_release();
    close(lock);
    return rc;
}

/* What makes the data set, word by word; ends with NULL. */
static void next_command(const struct cli *cli, const struct fetch *f, const char *out[16])
{
    const char *home = args_value(&cli->args, "--home");
    int n = 0;
    out[n++] = "bakactl";
    if (home) {
        out[n++] = "--home";
        out[n++] = cli->home;
    }
    const char *const rest[] = {
        "data", "prepare",    "--tokenizer", "bytes", f->texts[FETCHABLE_TRAIN], "--val", f->texts[FETCHABLE_VAL],
        "-o",   f->data->name};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        out[n++] = rest[i];
    out[n] = NULL;
}

/* So that a shell takes it as one word. */
static void print_word(const char *word)
{
    if (*word && !word[strcspn(word, " \t\n\"'\\$`!*?[](){}<>|&;~#")]) {
        output_text(stdout, word, strlen(word));
        return;
    }
    putchar('\'');
    for (const char *c = word; *c; c++)
        if (*c == '\'')
            fputs("'\\''", stdout);
        else
            output_text(stdout, c, 1);
    putchar('\'');
}

static void print_people(const struct fetch *f, const char *const *command)
{
    char size[32];
    output_format_bytes((double)f->download.bytes, size);
    printf("%s: %s, SHA-256 %.12s... as it should be, %s%s\n", f->data->name, size, f->sha256,
           f->download.url ? "from " : "was there", f->download.url ? f->download.url : "");
    for (int i = 0; i < FETCHABLE_PARTS; i++) {
        output_format_bytes((double)f->bytes[i], size);
        printf("  %-6s  %s  %s\n", part_names[i], f->texts[i], size);
    }
    printf("Make a data set of it, in bytes or with --tokenizer FILE.json:\n ");
    for (; *command; command++) {
        putchar(' ');
        print_word(*command);
    }
    putchar('\n');
}

static void print_json(const struct fetch *f, const char *const *command)
{
    cJSON *o = cJSON_CreateObject(), *archive, *texts, *words;
    cJSON_AddStringToObject(o, "name", f->data->name);
    archive = cJSON_AddObjectToObject(o, "archive");
    cJSON_AddStringToObject(archive, "path", f->archive);
    json_add_int64(archive, "bytes", f->download.bytes);
    cJSON_AddStringToObject(archive, "sha256", f->sha256);
    if (f->download.url)
        cJSON_AddStringToObject(archive, "from", f->download.url);
    else
        cJSON_AddNullToObject(archive, "from");
    json_add_int64(archive, "received", f->download.received);
    texts = cJSON_AddObjectToObject(o, "texts");
    for (int i = 0; i < FETCHABLE_PARTS; i++) {
        cJSON *text = cJSON_AddObjectToObject(texts, part_names[i]);
        cJSON_AddStringToObject(text, "path", f->texts[i]);
        json_add_int64(text, "bytes", f->bytes[i]);
    }
    words = cJSON_AddArrayToObject(o, "next");
    for (; *command; command++)
        cJSON_AddItemToArray(words, cJSON_CreateString(*command));
    output_json(stdout, o);
    cJSON_Delete(o);
}

static int run_fetch(struct cli *cli)
{
    struct err err = {0};
    struct download d;
    const struct fetchable *data = fetchable_find(cli->args.positional[0]);
    if (!data)
        return unknown_name(cli, cli->args.positional[0]);
    struct fetch *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    f->data = data;
    int status = CLI_DONE;
    if (read_options(cli, f, &d, &err)) {
        status = cli_usage_err(cli, &err);
    } else if (set_paths(f, cli->home, &err) || fetch(f, &d, &err)) {
        status = cli_fail(cli, &err);
    } else {
        const char *command[16];
        next_command(cli, f, command);
        if (cli->json)
            print_json(f, command);
        else
            print_people(f, command);
    }
    free(f->from);
    free(f);
    if (status != CLI_DONE) {
        fflush(stdout);
        interrupt_deliver();
    }
    return status;
}

static const struct args_option options[] = {
    {"--from", 0, "URL", "another address of the archive, or, with / at its end, of its folder", false},
    {"--sha256", 0, "HEX", "what the archive at --from has, if it is another one", false},
    {"--retries", 0, "N", "times in a row that a broken connection is tried again (default 5)", false},
    {"--timeout", 0, "SECONDS", "without a byte, until a connection counts as broken (default 30)", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_data_fetch = {
    .name = "fetch",
    .path = "data fetch",
    .arguments = "wikitext-103|wikitext-2 [--from URL [--sha256 HEX]] [--retries N] [--timeout SECONDS] [--json]",
    .summary = "download a known text: checked, resumable",
    .help = "Downloads the raw texts of WikiText-103 (183 MiB, unpacked three times that) or\n"
            "WikiText-2 (4.5 MiB) into the state directory, downloads/NAME, checks the\n"
            "archive's SHA-256, unpacks its training, validation and test text beside it and\n"
            "prints the `bakactl data prepare` that makes a data set of them. No daemon is\n"
            "needed. The text is Wikipedia's, under CC BY-SA.\n"
            "\n"
            "What was interrupted goes on where it ended, in this call or in the next one, if\n"
            "the server still has the same file. A file with another SHA-256 is kept as\n"
            "ARCHIVE.bad and not used. Certificates are checked; http:// is only taken from\n"
            "--from. Proxies are those of the environment (https_proxy, no_proxy).\n"
            "\n"
            "Without a network: put the archive, from wherever it comes, where the error says;\n"
            "the same command checks and unpacks it.\n"
            "\n"
            "With --json: {\"name\",\"archive\":{\"path\",\"bytes\",\"sha256\",\"from\" (null: it was\n"
            "there),\"received\"},\"texts\":{\"train\":{\"path\",\"bytes\"},\"val\",\"test\"},\"next\":[...]}.\n"
            "\n"
            "Examples:\n"
            "  bakactl data fetch wikitext-103\n"
            "  bakactl data fetch wikitext-2 --from https://mirror.example/wikitext/\n"
            "  bakactl data fetch wikitext-2 --json | jq -r '.texts.test.path'\n",
    .options = options,
    .min_positional = 1,
    .max_positional = 1,
    .run = run_fetch,
};
