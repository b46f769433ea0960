/* verb_import.c: bakactl import FILE.csv --name N: somebody else's curve as a run to compare with. With --hf DIR it is
 * somebody else's model: cli/import_hf.c. */
#include "cli/verb.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/json.h"
#include "cli/client.h"
#include "cli/curve_csv.h"
#include "cli/import_hf.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/request_id.h"
#include "cli/run_view.h"

enum { FILE_MAX_BYTES = 256 << 20, BODY_MAX_BYTES = 64 << 20 };

static void print_real(FILE *out, double value)
{
    char text[JSON_NUMBER_SIZE];
    json_number_text(value, text);
    fprintf(out, isfinite(value) ? ",%s" : ",\"%s\"", text);
}

/* [[step,epoch,tokens,loss,val_loss|null],...] as text: a million rows as objects would take half a gigabyte. */
static char *rows_text(const struct curve_csv *csv, size_t *size)
{
    char *text;
    FILE *out = open_memstream(&text, size);
    if (!out)
        abort();
    putc('[', out);
    for (size_t i = 0; i < csv->count; i++) {
        const struct curve_row *row = &csv->rows[i];
        fprintf(out, "%s[%lld", i ? "," : "", (long long)row->step);
        print_real(out, row->epoch);
        fprintf(out, ",%lld", (long long)row->tokens);
        print_real(out, row->loss);
        if (row->has_val_loss)
            print_real(out, row->val_loss);
        else
            fputs(",null", out);
        putc(']', out);
    }
    putc(']', out);
    if (fclose(out) != 0)
        abort();
    return text;
}

static int read_curve(const char *path, struct curve_csv *out, struct err *err)
{
    char *text;
    size_t size;
    int rc = input_read(path, FILE_MAX_BYTES, &text, &size, err);
    if (rc)
        return rc;
    rc = curve_csv_parse(text, size, input_name(path), out, err);
    free(text);
    return rc;
}

static int make_body(struct cli *cli, const struct curve_csv *csv, cJSON *body, struct err *err)
{
    cJSON_AddStringToObject(body, "name", args_value(&cli->args, "--name"));
    cJSON *tags = cJSON_AddArrayToObject(body, "tags");
    const char *tag;
    for (int i = 0; (tag = args_value_at(&cli->args, "--tag", i)); i++)
        cJSON_AddItemToArray(tags, cJSON_CreateString(tag));
    size_t size;
    char *rows = rows_text(csv, &size);
    int rc = 0;
    if (size > BODY_MAX_BYTES - 65536)
        rc = err_set(err, ERR_TOO_LARGE, "%s: %zu rows are %zu MiB, the daemon takes 64: leave some out",
                     input_name(cli->args.positional[0]), csv->count, size >> 20);
    else
        cJSON_AddRawToObject(body, "rows", rows);
    free(rows);
    return rc;
}

static int run(struct cli *cli)
{
    struct err err = {0};
    if (!args_value(&cli->args, "--name"))
        return cli_usage(cli, "--name NAME is needed");
    if (cli_check_name(cli, "--name") || cli_check_tags(cli))
        return CLI_USAGE;
    bool hf = args_value(&cli->args, "--hf");
    if (hf == (cli->args.positional_count > 0))
        return cli_usage(cli, "FILE.csv or --hf DIR is needed, not both");
    if (hf)
        return import_hf(cli);
    if (args_value(&cli->args, "--data") || args_count(&cli->args, "--set") > 0)
        return cli_usage(cli, "--data and --set go with --hf");
    struct curve_csv csv;
    if (read_curve(cli->args.positional[0], &csv, &err))
        return cli_fail(cli, &err);
    if (*csv.ignored && !cli->json)
        fprintf(stderr, "bakactl: columns that are not used: %s\n", csv.ignored);
    struct client *client;
    cJSON *body = cJSON_CreateObject(), *answer = NULL;
    int rc = make_body(cli, &csv, body, &err);
    if (!rc)
        rc = cli_client(cli, &client, &err);
    if (!rc)
        rc = request_post_once(client, "/v1/import", body, &answer, &err);
    cJSON_Delete(body);
    size_t count = csv.count;
    curve_csv_finish(&csv);
    if (rc)
        return cli_fail(cli, &err);
    if (cli->json) {
        output_json(stdout, answer);
    } else {
        const cJSON *run = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(answer, "runs"), 0);
        printf("%s %s: %zu step%s imported\n", run_text(run, "id"), run_text(run, "name"), count,
               count == 1 ? "" : "s");
    }
    cJSON_Delete(answer);
    return CLI_DONE;
}

static const struct args_option options[] = {
    {"--hf", 0, "DIR", "a GPT-NeoX model as Hugging Face saves it, in place of a curve", false},
    {"--data", 0, "NAME", "with --hf: the data set that it is evaluated on (needed)", false},
    {"--set", 0, "PATH=VALUE", "with --hf: a field of the run's spec, as train.seq_len=512", true},
    {"--name", 0, "NAME", "name of the run (needed)", false},
    {"--tag", 0, "TAG", "a word to find the run by", true},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_import = {
    .name = "import",
    .path = "import",
    .arguments = "FILE.csv|--hf DIR --data NAME [--set PATH=VALUE]... --name NAME [--tag TAG]... [--json]",
    .summary = "a curve or model from elsewhere as a run to compare with",
    .help = "FILE.csv has a header with step, epoch, tokens, loss and, if there are\n"
            "evaluations, val_loss, in any order; other columns are not used. \"-\" reads\n"
            "standard input. Losses are nats a prediction; of a run that diverged they may be\n"
            "the words nan, inf and -inf, but 1e400 is a mistake; an empty val_loss is no\n"
            "evaluation, and nothing else may be empty. Steps ascend, tokens and epochs do\n"
            "not fall. Nothing is imported when a cell is wrong: the error names its line and\n"
            "column. At most 256 MiB of text and 64 MiB of numbers, some 1.2 million rows.\n"
            "\n"
            "With --hf, DIR holds config.json and model.safetensors (or its shards) of a\n"
            "GPTNeoXForCausalLM. The model goes into the state directory as models/NAME,\n"
            "and a run of that name is queued that takes no step (train.epochs 0) and tells\n"
            "its loss on the data set, over the windows of every run's validation; windows\n"
            "are as long as the model was made for, unless train.seq_len is set. With\n"
            "train.epochs above 0 it is trained on; any spec of the same model fields may\n"
            "begin from it by train.init_from.\n"
            "\n"
            "Examples:\n"
            "  bakactl import --hf pythia-14m --name pythia-14m --data wiki\n"
            "  bakactl import --hf pythia-14m --name tuned --data wiki --set train.epochs=1\n"
            "  bakactl import pythia.csv --name pythia-14m --tag ffn\n"
            "  bakactl --home OTHER steps swiglu --csv | bakactl import - --name swiglu-there\n",
    .options = options,
    .min_positional = 0,
    .max_positional = 1,
    .run = run,
};
