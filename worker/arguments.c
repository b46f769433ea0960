/* arguments.c: getopt_long and checks, see arguments.h. */
#include "worker/arguments.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

enum { THREADS_MAX = 1024 };

enum option_id {
    OPTION_HOME = 256,
    OPTION_RUN_DIR,
    OPTION_ATTEMPT,
    OPTION_RESUME,
    OPTION_SOURCE,
    OPTION_THREADS,
    OPTION_MICRO_BATCH_LIMIT,
    OPTION_LOCK_FD,
    OPTION_PLAN,
    OPTION_TUNE,
    OPTION_TABLE,
    OPTION_IMPORT_HF,
    OPTION_NAME,
    OPTION_EXPORT_HF,
    OPTION_EVAL,
    OPTION_SPLIT,
    OPTION_STRIDE,
    OPTION_MEMORY,
    OPTION_SAMPLE,
    OPTION_TEMPERATURE,
    OPTION_TOP_K,
    OPTION_TOP_P,
    OPTION_SEED,
    OPTION_STOP,
    OPTION_VOCAB,
    OPTION_ON_CPU,
    OPTION_DESCRIBE,
    OPTION_VERSION,
};

static const struct option options[] = {
    {"home", required_argument, NULL, OPTION_HOME},
    {"run-dir", required_argument, NULL, OPTION_RUN_DIR},
    {"attempt", required_argument, NULL, OPTION_ATTEMPT},
    {"resume", required_argument, NULL, OPTION_RESUME},
    {"source", required_argument, NULL, OPTION_SOURCE},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"micro-batch-limit", required_argument, NULL, OPTION_MICRO_BATCH_LIMIT},
    {"lock-fd", required_argument, NULL, OPTION_LOCK_FD},
    {"plan", required_argument, NULL, OPTION_PLAN},
    {"tune", required_argument, NULL, OPTION_TUNE},
    {"table", required_argument, NULL, OPTION_TABLE},
    {"import-hf", required_argument, NULL, OPTION_IMPORT_HF},
    {"name", required_argument, NULL, OPTION_NAME},
    {"export-hf", required_argument, NULL, OPTION_EXPORT_HF},
    {"eval", required_argument, NULL, OPTION_EVAL},
    {"split", required_argument, NULL, OPTION_SPLIT},
    {"stride", required_argument, NULL, OPTION_STRIDE},
    {"memory", required_argument, NULL, OPTION_MEMORY},
    {"sample", required_argument, NULL, OPTION_SAMPLE},
    {"temperature", required_argument, NULL, OPTION_TEMPERATURE},
    {"top-k", required_argument, NULL, OPTION_TOP_K},
    {"top-p", required_argument, NULL, OPTION_TOP_P},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"stop", required_argument, NULL, OPTION_STOP},
    {"vocab", required_argument, NULL, OPTION_VOCAB},
    {"on-cpu", no_argument, NULL, OPTION_ON_CPU},
    {"describe", required_argument, NULL, OPTION_DESCRIBE},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

void arguments_print_help(FILE *out)
{
    fputs("Usage: baka-worker --home DIR --run-dir DIR --attempt N --resume CHECKPOINT|none [--threads N]\n"
          "                   [--micro-batch-limit N] [--lock-fd FD] [--source RUN_DIR]\n"
          "       baka-worker [--home DIR] --plan SPEC.json\n"
          "       baka-worker [--home DIR] --tune SPEC.json [--table FILE]\n"
          "       baka-worker [--home DIR] --import-hf DIR --name NAME\n"
          "       baka-worker [--home DIR] --export-hf DIR --run-dir DIR\n"
          "       baka-worker [--home DIR] --eval DATA --run-dir DIR [--split train|val] [--stride N]\n"
          "                   [--memory N] [--on-cpu]\n"
          "       baka-worker [--home DIR] --sample TOKENS --run-dir DIR [--temperature T] [--top-k K] [--top-p P]\n"
          "                   [--seed N] [--stop ID] [--vocab N] [--on-cpu]\n"
          "       baka-worker --describe schema|markdown\n"
          "       baka-worker --version | --help\n"
          "\n"
          "Trains one attempt of a run. bakad starts it; by hand it serves to look into a single run.\n"
          "\n"
          "  --home DIR         state directory with the data sets (default: $BAKA_HOME, $XDG_STATE_HOME/baka,\n"
          "                     ~/.local/state/baka; a variable that is empty counts as not set)\n"
          "  --run-dir DIR      holds spec.json; attempts/N/ and checkpoints/ are written there\n"
          "  --attempt N        number of this attempt, from 1; its folder must not hold a journal yet\n"
          "  --resume WHAT      'checkpoints/STEP-aM' below the run directory, or 'none'\n"
          "  --threads N        threads of the CPU backend (default: resources.cpus of the spec)\n"
          "  --micro-batch-limit N\n"
          "                     where train.micro_batch is auto and no checkpoint has pinned it: at most N\n"
          "  --source RUN_DIR   no training but what job.json beside spec.json asks for, an evaluation or a sample, by "
          "the\n"
          "                     checkpoint that --resume names below RUN_DIR\n"
          "  --lock-fd FD       attempts/N/lock, already open and locked\n"
          "  --plan SPEC.json   print parameters, FLOPs a token and bytes as JSON, and train nothing\n"
          "  --tune SPEC.json   measure the GPU's algorithms for this spec's products and write the fastest to the\n"
          "                     table that runs read\n"
          "  --table FILE       with --tune: write this table (default: cuda_algorithms.txt beside libbaka_cuda.so)\n"
          "  --import-hf DIR    read a GPT-NeoX model of Hugging Face (config.json, *.safetensors) into the state\n"
          "                     directory as models/NAME and print what it is as JSON\n"
          "  --name NAME        with --import-hf: what specs call the model\n"
          "  --export-hf DIR    write the run's newest good checkpoint as such a model\n"
          "  --eval DATA        print the loss of the run's newest good checkpoint on a data set as JSON\n"
          "  --split SPLIT      with --eval: train or val (default: val)\n"
          "  --stride N         with --eval: windows N tokens apart, each prediction counted once (default: the\n"
          "                     windows' length)\n"
          "  --memory N         with --eval: length of the model's xl memory, at least that of training (default: as\n"
          "                     the run evaluates itself)\n"
          "  --sample TOKENS    read a prompt's ids on standard input, one a line, and write as many further ones\n"
          "  --temperature T, --top-k K, --top-p P, --seed N\n"
          "                     with --sample: how they are drawn (default: 1, 0 for all, 1, 0); 0: the likeliest\n"
          "  --stop ID          with --sample: the id that ends the text\n"
          "  --vocab N          with --sample: ids below N only\n"
          "  --on-cpu           with --eval and --sample: on the CPU in fp32, whatever the spec says\n"
          "  --describe FORMAT  print the spec's fields as JSON Schema ('schema') or as a page ('markdown')\n"
          "\n"
          "Signals: SIGTERM finish the step, checkpoint, leave (twice: at once); SIGUSR1 checkpoint now;\n"
          "SIGQUIT print the stack. Exit status: 0 finished or stopped, 1 failed (the journal's end says why),\n"
          "2 usage, 128+N ended by signal N.\n",
          out);
}

static int read_int(const char *option, const char *text, int min, int max, int *out, struct err *err)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || value < min || value > max)
        return err_set(err, ERR_INVALID, "%s must be an integer from %d to %d, not '%.100s'", option, min, max, text);
    *out = (int)value;
    return 0;
}

static int read_number(const char *option, const char *text, double min, double max, double *out, struct err *err)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0 || end == text || *end != 0 || !(value >= min && value <= max))
        return err_set(err, ERR_INVALID, "%s must be a number from %g to %g, not '%.100s'", option, min, max, text);
    *out = value;
    return 0;
}

static int read_seed(const char *text, int64_t *out, struct err *err)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || value < 0)
        return err_set(err, ERR_INVALID, "--seed must be an integer of at least 0, not '%.100s'", text);
    *out = value;
    return 0;
}

static int read_name(const char *option, const char *text, char out[NAME_SIZE], struct err *err)
{
    if (!name_is_valid(text))
        return err_set(err, ERR_INVALID, "%s must be 1 to 64 of A-Z a-z 0-9 . _ -, not '%.100s'", option, text);
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

static int read_mode(struct arguments *a, bool *mode_set, enum worker_mode mode, struct err *err)
{
    if (*mode_set)
        return err_set(err, ERR_INVALID,
                       "--plan, --tune, --import-hf, --export-hf, --eval, --sample, --describe, --version and "
                       "--help exclude each other");
    *mode_set = true;
    a->mode = mode;
    return 0;
}

/* An absolute path, so that it means the same in keeper, trainer and log. */
static int read_dir(const char *option, const char *text, char out[PATH_SIZE], struct err *err)
{
    if (text[0] == 0)
        return err_set(err, ERR_INVALID, "%s must not be empty", option);
    if (text[0] == '/')
        return path_format(out, err, "%s", text);
    char *here = realpath(".", NULL);
    if (!here)
        return err_set_errno(err, errno, "cannot tell the working directory");
    int rc = path_format(out, err, "%s/%s", here, text);
    free(here);
    return rc;
}

static int read_spec_mode(struct arguments *a, bool *mode_set, enum worker_mode mode, const char *option,
                          const char *path, struct err *err)
{
    int rc = read_mode(a, mode_set, mode, err);
    if (rc == 0 && path[0] == 0)
        rc = err_set(err, ERR_INVALID, "%s is empty: the path of a spec is needed", option);
    return rc ? rc : path_format(a->spec, err, "%s", path);
}

/* The options that say how a model is used. `given` is the last argument that was looked at. */
static int read_use(struct arguments *a, int option, const char *given, struct err *err)
{
    int value = 0, rc = 0;
    switch (option) {
    case OPTION_SPLIT:
        if (strcmp(optarg, "train") != 0 && strcmp(optarg, "val") != 0)
            return err_set(err, ERR_INVALID, "--split must be train or val, not '%.100s'", optarg);
        a->job.train_split = strcmp(optarg, "train") == 0;
        return 0;
    case OPTION_STRIDE:
        rc = read_int("--stride", optarg, 1, INT_MAX, &value, err);
        a->job.stride = value;
        return rc;
    case OPTION_TEMPERATURE:
        return read_number("--temperature", optarg, 0, 1000, &a->job.temperature, err);
    case OPTION_TOP_K:
        rc = read_int("--top-k", optarg, 0, INT_MAX, &value, err);
        a->job.top_k = value;
        return rc;
    case OPTION_TOP_P:
        return read_number("--top-p", optarg, 0, 1, &a->job.top_p, err);
    case OPTION_SEED:
        return read_seed(optarg, &a->job.seed, err);
    case OPTION_STOP:
        rc = read_int("--stop", optarg, 0, INT_MAX, &value, err);
        a->job.stop = value;
        return rc;
    case OPTION_VOCAB:
        rc = read_int("--vocab", optarg, 1, INT_MAX, &value, err);
        a->job.vocab = value;
        return rc;
    case OPTION_MEMORY:
        rc = read_int("--memory", optarg, 1, INT_MAX, &value, err);
        a->job.memory = value;
        return rc;
    case OPTION_ON_CPU:
        a->job.cpu = true;
        return 0;
    default:
        return err_set(err, ERR_INVALID, "unknown option %.100s", given);
    }
}

static int check_train(const struct arguments *a, const char *resume, struct err *err)
{
    if (a->run_dir[0] == 0)
        return err_set(err, ERR_INVALID, "--run-dir is missing");
    if (a->attempt == 0)
        return err_set(err, ERR_INVALID, "--attempt is missing");
    if (!resume)
        return err_set(err, ERR_INVALID, "--resume is missing: checkpoints/STEP-aM or none");
    return 0;
}

int arguments_parse(int argc, char **argv, struct arguments *out, struct err *err)
{
    struct arguments a = {.mode = MODE_TRAIN, .lock_fd = -1};
    const char *home = NULL, *resume = NULL;
    bool mode_set = false;
    int rc = 0, c, tokens = 0;
    job_init(&a.job, JOB_EVAL);
    opterr = 0;
    optind = 1;
    while (rc == 0 && (c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        switch (c) {
        case OPTION_HOME:
            home = optarg;
            break;
        case OPTION_RUN_DIR:
            rc = read_dir("--run-dir", optarg, a.run_dir, err);
            break;
        case OPTION_ATTEMPT:
            rc = read_int("--attempt", optarg, 1, INT_MAX, &a.attempt, err);
            break;
        case OPTION_RESUME:
            resume = optarg;
            if (strcmp(resume, "none") == 0)
                a.resume[0] = 0;
            else if (resume[0] == 0 || strlen(resume) >= sizeof a.resume)
                rc = err_set(err, ERR_INVALID, "--resume must be checkpoints/STEP-aM or none");
            else
                snprintf(a.resume, sizeof a.resume, "%s", resume);
            break;
        case OPTION_SOURCE:
            rc = read_dir("--source", optarg, a.source, err);
            break;
        case OPTION_THREADS:
            rc = read_int("--threads", optarg, 1, THREADS_MAX, &a.threads, err);
            break;
        case OPTION_MICRO_BATCH_LIMIT:
            rc = read_int("--micro-batch-limit", optarg, 1, INT_MAX, &a.micro_batch_limit, err);
            break;
        case OPTION_LOCK_FD:
            rc = read_int("--lock-fd", optarg, 3, INT_MAX, &a.lock_fd, err);
            break;
        case OPTION_PLAN:
            rc = read_spec_mode(&a, &mode_set, MODE_PLAN, "--plan", optarg, err);
            break;
        case OPTION_TUNE:
            rc = read_spec_mode(&a, &mode_set, MODE_TUNE, "--tune", optarg, err);
            break;
        case OPTION_TABLE:
            if (optarg[0] == 0)
                rc = err_set(err, ERR_INVALID, "--table must not be empty");
            else
                rc = path_format(a.table, err, "%s", optarg);
            break;
        case OPTION_IMPORT_HF:
            rc = read_mode(&a, &mode_set, MODE_IMPORT_HF, err);
            if (rc == 0)
                rc = read_dir("--import-hf", optarg, a.hf_dir, err);
            break;
        case OPTION_NAME:
            rc = read_name("--name", optarg, a.name, err);
            break;
        case OPTION_EXPORT_HF:
            rc = read_mode(&a, &mode_set, MODE_EXPORT_HF, err);
            if (rc == 0)
                rc = read_dir("--export-hf", optarg, a.hf_dir, err);
            break;
        case OPTION_EVAL:
            rc = read_mode(&a, &mode_set, MODE_EVAL, err);
            if (rc == 0)
                rc = read_name("--eval", optarg, a.job.data, err);
            break;
        case OPTION_SAMPLE:
            rc = read_mode(&a, &mode_set, MODE_SAMPLE, err);
            if (rc == 0)
                rc = read_int("--sample", optarg, 1, INT_MAX, &tokens, err);
            a.job.kind = JOB_SAMPLE;
            a.job.tokens = tokens;
            break;
        default:
            rc = read_use(&a, c, argv[optind - 1], err);
            break;
        case OPTION_DESCRIBE:
            if (strcmp(optarg, "schema") != 0 && strcmp(optarg, "markdown") != 0)
                rc = err_set(err, ERR_INVALID, "--describe must be schema or markdown, not '%.100s'", optarg);
            else
                rc = read_mode(&a, &mode_set,
                               strcmp(optarg, "schema") == 0 ? MODE_DESCRIBE_SCHEMA : MODE_DESCRIBE_MARKDOWN, err);
            break;
        case OPTION_VERSION:
            rc = read_mode(&a, &mode_set, MODE_VERSION, err);
            break;
        case 'h':
            rc = read_mode(&a, &mode_set, MODE_HELP, err);
            break;
        case ':':
            rc = err_set(err, ERR_INVALID, "%.100s needs a value", argv[optind - 1]);
            break;
        }
    }
    if (rc == 0 && optind < argc)
        rc = err_set(err, ERR_INVALID, "unexpected argument '%.100s'", argv[optind]);
    if (rc == 0 && a.source[0] && a.mode == MODE_TRAIN)
        a.mode = MODE_JOB;
    if (rc == 0 && (a.mode == MODE_TRAIN || a.mode == MODE_JOB))
        rc = check_train(&a, resume, err);
    if (rc == 0 && a.table[0] && a.mode != MODE_TUNE)
        rc = err_set(err, ERR_INVALID, "--table goes with --tune");
    if (rc == 0 && (a.mode == MODE_IMPORT_HF) != (a.name[0] != 0))
        rc = err_set(err, ERR_INVALID, "--import-hf and --name go together");
    if (rc == 0 && (a.mode == MODE_EXPORT_HF || a.mode == MODE_EVAL || a.mode == MODE_SAMPLE) && a.run_dir[0] == 0)
        rc = err_set(err, ERR_INVALID, "--run-dir is missing");
    if (rc == 0 && a.mode <= MODE_SAMPLE)
        rc = path_home(home, a.home, err);
    if (rc == 0)
        *out = a;
    return rc;
}
