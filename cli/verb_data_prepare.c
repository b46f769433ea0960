/* verb_data_prepare.c: bakactl data prepare: texts to a data set, streamed, whole or not at all (text/token_file.h).
 *
 * Failures: a file that is missing, a directory, unreadable; no tokens; a name that exists; a full disk. Each leaves
 * nothing behind; so does SIGINT, SIGTERM or SIGHUP, after which the program ends by that signal. */
#include "cli/verb.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verb_data.h"
#include "text/tokenizer.h"

enum { PIECE_BYTES = 1 << 16 };

static const double default_val_fraction = 0.05;

static volatile sig_atomic_t caught_signal;

static void on_signal(int number)
{
    caught_signal = number;
}

/* Without SA_RESTART, so that a read of a terminal or pipe is interrupted too. */
static void catch_signals(void (*handler)(int))
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = handler}, before;
        sigemptyset(&action.sa_mask);
        sigaction(numbers[i], NULL, &before);
        if (before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

struct preparation {
    struct token_writer *writer;
    struct tokenizer *tokenizer;
    struct progress *progress;
    uint64_t done_bytes, total_bytes; /* total 0: not known, as with a pipe */
    unsigned char buffer[PIECE_BYTES];
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

static int sink_to_writer(void *arg, const int32_t *ids, size_t n, uint64_t text_bytes, struct err *err)
{
    return token_writer_add(arg, ids, n, text_bytes, err);
}

static void show_progress(struct preparation *p)
{
    char done[32];
    output_format_bytes((double)p->done_bytes, done);
    progress_update(p->progress, p->total_bytes ? (double)p->done_bytes / (double)p->total_bytes : (double)NAN, "%s",
                    done);
}

static int add_text(struct preparation *p, const char *path, struct err *err)
{
    struct stat st;
    int fd, rc = open_text(path, &fd, &st, err);
    if (rc)
        return rc;
    rc = token_writer_begin_document(p->writer, err);
    while (!rc) {
        ssize_t n = caught_signal ? -1 : read(fd, p->buffer, sizeof p->buffer);
        if (caught_signal) {
            rc = err_set(err, ERR_IO, "interrupted");
        } else if (n < 0 && errno != EINTR) {
            rc = err_set_errno(err, errno, "%s", path);
        } else if (n == 0) {
            break;
        } else if (n > 0) {
            rc = tokenizer_feed(p->tokenizer, p->buffer, (size_t)n, sink_to_writer, p->writer, err);
            p->done_bytes += (uint64_t)n;
            show_progress(p);
        }
    }
    if (!rc)
        rc = tokenizer_end_document(p->tokenizer, sink_to_writer, p->writer, err);
    close(fd);
    return rc;
}

static int check_texts(struct preparation *p, const struct cli *cli, struct err *err)
{
    bool known = true;
    int rc = 0;
    for (int i = 0; !rc && i < cli->args.positional_count; i++)
        rc = check_text(p, cli->args.positional[i], &known, err);
    for (int i = 0; !rc && i < args_count(&cli->args, "--val"); i++)
        rc = check_text(p, args_value_at(&cli->args, "--val", i), &known, err);
    if (!known)
        p->total_bytes = 0;
    return rc;
}

static int prepare(struct preparation *p, const struct cli *cli, const char *name, double val_fraction,
                   struct token_file_header *out, struct err *err)
{
    int rc = check_texts(p, cli, err);
    if (!rc)
        rc = token_writer_create(cli->home, name, tokenizer_name(p->tokenizer), tokenizer_vocab(p->tokenizer),
                                 args_flag(&cli->args, "--replace"), &p->writer, err);
    for (int i = 0; !rc && i < cli->args.positional_count; i++)
        rc = add_text(p, cli->args.positional[i], err);
    int val_files = args_count(&cli->args, "--val");
    if (!rc && val_files)
        rc = token_writer_begin_validation(p->writer, err);
    for (int i = 0; !rc && i < val_files; i++)
        rc = add_text(p, args_value_at(&cli->args, "--val", i), err);
    return rc ? rc : token_writer_finish(p->writer, val_fraction, out, err);
}

static void print_summary(const struct cli *cli, const char *name, const struct token_file_header *h)
{
    if (cli->json) {
        char path[PATH_SIZE];
        cJSON *object = data_to_json(name, h);
        if (path_format(path, NULL, "%s/data/%s", cli->home, name) == 0)
            cJSON_AddStringToObject(object, "path", path);
        output_json(stdout, object);
        cJSON_Delete(object);
        return;
    }
    printf("%s: %llu tokens (%s, vocabulary %llu)\n", name, (unsigned long long)h->count, h->tokenizer,
           (unsigned long long)h->vocab);
    printf("  train      %llu\n", (unsigned long long)h->train_count);
    printf("  val        %llu\n", (unsigned long long)(h->count - h->train_count));
    printf("  documents  %llu\n", (unsigned long long)h->document_count);
    printf("  hash       %s\n", h->hash);
    printf("  in         %s/data/%s\n", cli->home, name);
}

static int run_prepare(struct cli *cli)
{
    struct err err = {0};
    const char *name = args_value(&cli->args, "--output"), *argument = args_value(&cli->args, "--tokenizer");
    double val_fraction = args_count(&cli->args, "--val") ? 0 : default_val_fraction;
    if (!name)
        return cli_usage(cli, "-o NAME is needed: the name of the data set");
    if (!name_is_valid(name))
        return cli_usage(cli, "-o %s: a name is a letter or digit, then letters, digits, . _ - up to %d in all", name,
                         NAME_SIZE - 1);
    if (args_value(&cli->args, "--val") && args_value(&cli->args, "--val-fraction"))
        return cli_usage(cli, "--val and --val-fraction exclude each other");
    if (args_double(&cli->args, "--val-fraction", 0, 1, &val_fraction, &err))
        return cli_usage_err(cli, &err);
    struct preparation *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    if (tokenizer_open(argument ? argument : "bytes", &p->tokenizer, &err)) {
        free(p);
        return cli_usage_err(cli, &err);
    }
    catch_signals(on_signal);
    p->progress = progress_create(name);
    struct token_file_header header;
    int rc = prepare(p, cli, name, val_fraction, &header, &err);
    progress_destroy(p->progress);
    token_writer_destroy(p->writer);
    tokenizer_close(p->tokenizer);
    free(p);
    catch_signals(SIG_DFL);
    if (rc && caught_signal)
        raise(caught_signal);
    if (rc)
        return cli_fail(cli, &err);
    print_summary(cli, name, &header);
    return CLI_DONE;
}

static const struct args_option options[] = {
    {"--output", 'o', "NAME", "name of the data set: letters, digits, . _ -", false},
    {"--tokenizer", 0, "bytes", "how text becomes tokens (default bytes)", false},
    {"--val-fraction", 0, "F", "share of the tokens, at the end, kept for validation (default 0.05; 0: none)", false},
    {"--val", 0, "FILE", "a text for validation, instead of a share", true},
    {"--replace", 0, NULL, "replace a data set of this name", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_data_prepare = {
    .name = "prepare",
    .path = "data prepare",
    .arguments = "[--tokenizer bytes] TEXT... -o NAME [--val-fraction F | --val FILE ...] [--replace]",
    .summary = "make a data set from text files",
    .help = "Makes a data set from text files in the order given; \"-\" is standard input.\n"
            "Each file begins a document. The text is streamed, so its size does not matter;\n"
            "the data set appears whole or not at all. No daemon is needed.\n"
            "\n"
            "Tokenizer bytes: id = byte, vocabulary 256, nothing inserted.\n"
            "\n"
            "Validation: the last floor(F*N) of the N tokens, F = 0.05 unless --val-fraction\n"
            "says otherwise; or the texts given by --val, one each time.\n"
            "\n"
            "--replace takes effect even while runs use the old data set: a run in training\n"
            "keeps what it has open, and one that is resumed later sees by the hash that the\n"
            "data set is not its own any more.\n"
            "\n"
            "Examples:\n"
            "  bakactl data prepare kjv.txt -o kjv\n"
            "  zcat *.txt.gz | bakactl data prepare - -o archive\n"
            "  bakactl data prepare --tokenizer bytes a.txt b.txt -o ab --val-fraction 0.1\n"
            "  bakactl data prepare wiki.train.txt --val wiki.valid.txt -o wiki\n",
    .options = options,
    .min_positional = 1,
    .max_positional = -1,
    .run = run_prepare,
};
