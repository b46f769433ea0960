/* verb_export.c: bakactl export --hf RUN -o DIR: a run as a model that Hugging Face's transformers loads; bakactl
 * export
 * --tensorboard RUN|TAG... -o DIR: runs' curves as TensorBoard reads them. */
#include "cli/verb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "cli/client.h"
#include "cli/export_tensorboard.h"
#include "cli/output.h"
#include "cli/run_folder.h"
#include "cli/run_view.h"
#include "cli/worker_program.h"

enum { TOKENIZER_MAX_BYTES = 64 << 20 };

/* The data set's tokenizer.json beside the model, where there is one. */
static int copy_tokenizer(const struct cli *cli, const char *data, const char *dir, bool *copied, struct err *err)
{
    char from[PATH_SIZE], to[PATH_SIZE], *text = NULL;
    size_t size = 0;
    int rc = path_format(from, err, "%s/data/%s/tokenizer.json", cli->home, data);
    if (rc == 0)
        rc = path_format(to, err, "%s/tokenizer.json", dir);
    *copied = rc == 0 && file_exists(from);
    if (rc != 0 || !*copied)
        return rc;
    rc = file_read_all(from, TOKENIZER_MAX_BYTES, &text, &size, err);
    if (rc == 0)
        rc = file_write_atomic(to, text, size, 0644, err);
    free(text);
    return rc;
}

static int run_hf(struct cli *cli, const char *dir)
{
    struct err err = {0};
    struct run_folder folder;
    bool copied = false;
    cJSON *answer;
    int rc = run_folder_find(cli, cli->args.positional[0], &folder, &err);
    if (rc)
        return cli_fail(cli, &err);
    struct worker_program worker = {.arguments = {"--home", cli->home, "--run-dir", folder.path, "--export-hf", dir}};
    rc = worker_program_ask(&worker, &answer, &err);
    if (rc)
        return cli_fail(cli, &err);
    rc = copy_tokenizer(cli, folder.data, dir, &copied, &err);
    if (!rc && cli->json)
        output_json(stdout, answer);
    else if (!rc)
        printf("%s: config.json, model.safetensors%s of %s\n", dir, copied ? ", tokenizer.json" : "",
               run_text(answer, "checkpoint"));
    cJSON_Delete(answer);
    return rc ? cli_fail(cli, &err) : CLI_DONE;
}

static int run_tensorboard(struct cli *cli, const char *dir)
{
    struct err err = {0};
    struct client *client;
    cJSON *runs = cJSON_CreateArray(), *written = cJSON_CreateArray(), *entry;
    if (!runs || !written)
        abort();
    int rc = cli_client(cli, &client, &err);
    if (rc == 0)
        rc = run_fetch_all(client, cli->args.positional, cli->args.positional_count, runs, &err);
    if (rc == 0)
        rc = export_tensorboard(client, runs, dir, written, &err);
    if (!rc && cli->json)
        output_json(stdout, written);
    else if (!rc)
        cJSON_ArrayForEach(entry, written)
            printf("%s: %.0f steps, %.0f evaluations\n", run_text(entry, "path"), run_number(entry, "steps"),
                   run_number(entry, "evaluations"));
    cJSON_Delete(runs);
    cJSON_Delete(written);
    return rc ? cli_fail(cli, &err) : CLI_DONE;
}

static int run(struct cli *cli)
{
    const char *dir = args_value(&cli->args, "--output");
    bool hf = args_flag(&cli->args, "--hf"), tensorboard = args_flag(&cli->args, "--tensorboard");
    if (hf == tensorboard)
        return cli_usage(cli, "one of --hf and --tensorboard is needed");
    if (!dir || !*dir)
        return cli_usage(cli, "-o DIR is needed");
    if (hf && cli->args.positional_count > 1)
        return cli_usage(cli, "too many arguments: --hf takes one run");
    return hf ? run_hf(cli, dir) : run_tensorboard(cli, dir);
}

static const struct args_option options[] = {
    {"--hf", 0, NULL, "as GPTNeoXForCausalLM of Hugging Face's transformers", false},
    {"--tensorboard", 0, NULL, "curves as TensorBoard's event files", false},
    {"--output", 'o', "DIR", "folder for the files, made if it is not there (needed)", false},
    {NULL, 0, NULL, NULL, false},
};

const struct verb verb_export = {
    .name = "export",
    .path = "export",
    .arguments = "--hf RUN -o DIR | --tensorboard RUN|TAG... -o DIR [--json]",
    .summary = "a run's model for transformers, or curves for TensorBoard",
    .help = "--hf writes config.json and model.safetensors (fp32) of the run's newest good\n"
            "checkpoint into DIR, and tokenizer.json where its data set has one. A run whose\n"
            "shape GPT-NeoX does not have (another feed-forward layer than gelu, RMSNorm, no\n"
            "biases, ...) is refused, with the field. DIR must not hold a model.\n"
            "\n"
            "--tensorboard writes a folder a run into DIR, for `tensorboard --logdir DIR`:\n"
            "each step once with its loss, learning rate, gradient norm, epoch, tokens and\n"
            "speed, and each evaluation. Values are doubles and lose no digit; the wall time\n"
            "of a step is the run's start plus the time of its steps. A folder that holds\n"
            "event files is refused.\n"
            "\n"
            "Examples:\n"
            "  bakactl export --hf pythia-wiki -o out\n"
            "  bakactl export --tensorboard study -o board\n",
    .options = options,
    .min_positional = 1,
    .max_positional = -1,
    .positional_is = "run's id, name or tag",
    .run = run,
};
