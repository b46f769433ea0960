/* verb_data_prepare.c: bakactl data prepare: the command line of preparation.c. */
#include "cli/verb.h"

#include <sched.h>
#include <stdlib.h>

#include "base/err.h"
#include "cli/output.h"
#include "cli/preparation.h"
#include "cli/verb_data.h"
#include "text/tokenizer.h"

enum { THREADS_MAX = 64, THREADS_DEFAULT_MAX = 8 };

static const struct share default_val = {5, 100};

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

/* The processors that this process may use; more than a few only wait for the one that reads and writes. */
static int default_threads(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > THREADS_DEFAULT_MAX ? THREADS_DEFAULT_MAX : n;
}

static int read_options(const struct cli *cli, struct preparation_options *o, struct err *err)
{
    const char *tokenizer = args_value(&cli->args, "--tokenizer"), *share = args_value(&cli->args, "--val-fraction");
    int64_t threads = default_threads();
    o->home = cli->home;
    o->name = args_value(&cli->args, "--output");
    o->tokenizer = tokenizer ? tokenizer : "bytes";
    o->separator = args_value(&cli->args, "--document-separator");
    o->replace = args_flag(&cli->args, "--replace");
    o->val = args_count(&cli->args, "--val") ? (struct share){0} : default_val;
    if (!o->name)
        return err_set(err, ERR_INVALID, "-o NAME is needed: the name of the data set");
    if (!name_is_valid(o->name))
        return err_set(err, ERR_INVALID,
                       "-o %s: a name is a letter or digit, then letters, digits, . _ - up to %d in all", o->name,
                       NAME_SIZE - 1);
    if (o->separator && !*o->separator)
        return err_set(err, ERR_INVALID, "--document-separator: a string that is not empty is needed");
    if (args_value(&cli->args, "--val") && share)
        return err_set(err, ERR_INVALID, "--val and --val-fraction exclude each other");
    int rc = tokenizer_check(o->tokenizer, err);
    if (!rc)
        rc = args_int64(&cli->args, "--threads", 1, THREADS_MAX, &threads, err);
    o->threads = (int)threads;
    struct err why;
    if (!rc && share && share_parse(share, &o->val, &why))
        rc = err_set(err, ERR_INVALID, "--val-fraction %s", why.message);
    return rc;
}

static int run_prepare(struct cli *cli)
{
    struct err err = {0};
    struct preparation_options o = {0};
    if (read_options(cli, &o, &err))
        return cli_usage_err(cli, &err);
    o.texts = cli->args.positional;
    o.text_count = cli->args.positional_count;
    o.val_text_count = args_count(&cli->args, "--val");
    const char **val_texts = calloc((size_t)o.val_text_count + 1, sizeof *val_texts);
    if (!val_texts)
        abort();
    for (int i = 0; i < o.val_text_count; i++)
        val_texts[i] = args_value_at(&cli->args, "--val", i);
    o.val_texts = val_texts;
    struct token_file_header header;
    int rc = preparation_run(&o, &header, &err);
    free(val_texts);
    if (rc)
        return cli_fail(cli, &err);
    print_summary(cli, o.name, &header);
    return CLI_DONE;
}

static const struct args_option options[] = {
    {"--output", 'o', "NAME", "name of the data set: letters, digits, . _ -", false},
    {"--tokenizer", 0, "bytes|FILE.json", "how text becomes tokens (default bytes)", false},
    {"--document-separator", 0, "STRING", "cut the texts into documents here", false},
    {"--val-fraction", 0, "F", "share of the tokens, at the end, kept for validation (default 0.05; 0: none)", false},
    {"--val", 0, "FILE", "a text for validation, instead of a share", true},
    {"--threads", 0, "N", "threads for FILE.json (default: one a processor, at most 8)", false},
    {"--replace", 0, NULL, "replace a data set of this name", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_data_prepare = {
    .name = "prepare",
    .path = "data prepare",
    .arguments = "[--tokenizer bytes|FILE.json] TEXT... -o NAME [--document-separator STRING] [--val-fraction F | "
                 "--val FILE ...] [--threads N] [--replace]",
    .summary = "make a data set from text files",
    .help = "Makes a data set from text files in the order given; \"-\" is standard input.\n"
            "Each file begins a document. The text is streamed, so its size does not matter;\n"
            "the data set appears whole or not at all. No daemon is needed.\n"
            "\n"
            "Tokenizer bytes: id = byte, vocabulary 256, nothing inserted.\n"
            "Tokenizer FILE.json: byte-level BPE from a Hugging Face tokenizer.json (GPT-2,\n"
            "GPT-NeoX, Pythia, Llama 3, ...), kept beside the tokens. The text must be UTF-8.\n"
            "\n"
            "--document-separator: each occurrence of STRING ends a document and is dropped;\n"
            "with FILE.json the end-of-text token is put behind each document.\n"
            "\n"
            "Validation: the last floor(F*N) of the N tokens, F = 0.05 unless --val-fraction\n"
            "says otherwise, a decimal below 1 that is reckoned with exactly: 0.29 of 100 are\n"
            "29; or the texts given by --val, one each time.\n"
            "\n"
            "--replace takes effect even while runs use the old data set: a run in training\n"
            "keeps what it has open, and one that is resumed later sees by the hash that the\n"
            "data set is not its own any more.\n"
            "\n"
            "Examples:\n"
            "  bakactl data prepare kjv.txt -o kjv\n"
            "  zcat *.txt.gz | bakactl data prepare - -o archive\n"
            "  bakactl data prepare --tokenizer bytes a.txt b.txt -o ab --val-fraction 0.1\n"
            "  bakactl data prepare --tokenizer 20B_tokenizer.json book.txt -o book-neox\n"
            "  xz -dc *.txt.xz | bakactl data prepare --tokenizer 20B_tokenizer.json - \\\n"
            "      --document-separator '<|endoftext|>' -o archive-neox\n"
            "  bakactl data prepare wiki.train.txt --val wiki.valid.txt -o wiki\n",
    .options = options,
    .min_positional = 1,
    .max_positional = -1,
    .run = run_prepare,
};
