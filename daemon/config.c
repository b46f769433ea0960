/* config.c: the table of settings, and its three sources read in the order of rising strength: file, environment,
 * flags. Every value goes through the same parser, so a wrong one is refused alike wherever it stands. */
#include "daemon/config.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"

enum setting_type { SETTING_INT, SETTING_PATH, SETTING_LEVEL };

struct setting {
    const char *key;        /* in the file; NULL: cannot stand there */
    const char *flag;       /* "--cpu-slots" */
    const char *variable;   /* "BAKA_CPU_SLOTS" */
    const char *value_name; /* for --help */
    enum setting_type type;
    size_t offset; /* in struct config */
    int min, max;  /* of an int */
    const char *doc;
};

#define FIELD(name) offsetof(struct config, name)

static const struct setting settings[] = {
    {NULL, "--home", "BAKA_HOME", "DIR", SETTING_PATH, FIELD(home), 0, 0,
     "state directory (default: $XDG_STATE_HOME/baka, else ~/.local/state/baka)"},
    {NULL, "--config", "BAKA_CONFIG", "FILE", SETTING_PATH, FIELD(file), 0, 0,
     "configuration file (default: config.json in the state directory, if it is there)"},
    {"worker", "--worker", "BAKA_WORKER", "PATH", SETTING_PATH, FIELD(worker), 0, 0,
     "program that runs an attempt (default: the baka-worker beside bakad)"},
    {"cpu_slots", "--cpu-slots", "BAKA_CPU_SLOTS", "N", SETTING_INT, FIELD(cpu_slots), 1, 4096,
     "CPU slots to share among runs (default: the CPUs that bakad may use)"},
    {"log_level", "--log-level", "BAKA_LOG_LEVEL", "L", SETTING_LEVEL, FIELD(log_level), 0, 0,
     "debug, info, warn or error (default: info)"},
    {"cancel_grace_s", "--cancel-grace", "BAKA_CANCEL_GRACE", "S", SETTING_INT, FIELD(cancel_grace_s), 0, 86400,
     "seconds that a worker has to checkpoint and end before it is killed (default: 30)"},
    {"keep_checkpoints", "--keep-checkpoints", "BAKA_KEEP_CHECKPOINTS", "N", SETTING_INT, FIELD(keep_checkpoints), 2,
     1000000, "good checkpoints kept of each run (default: 2, the fewest)"},
    {"keep_best", "--keep-best", "BAKA_KEEP_BEST", "N", SETTING_INT, FIELD(keep_best), 0, 1000000,
     "and beside them those with the lowest validation loss (default: 0)"},
    {"keep_every", "--keep-every", "BAKA_KEEP_EVERY", "N", SETTING_INT, FIELD(keep_every), 0, INT_MAX,
     "and the first one of each N steps (default: 0, none)"},
    {"disk_low_mib", "--disk-low", "BAKA_DISK_LOW", "MIB", SETTING_INT, FIELD(disk_low_mib), 0, INT_MAX,
     "below so much free room nothing starts and runs step aside; 0: never (default: 256)"},
    {"disk_high_mib", "--disk-high", "BAKA_DISK_HIGH", "MIB", SETTING_INT, FIELD(disk_high_mib), 0, INT_MAX,
     "above it they go on (default: 512)"},
    {"worker_log_mib", "--worker-log", "BAKA_WORKER_LOG", "MIB", SETTING_INT, FIELD(worker_log_mib), 1, 1048576,
     "an attempt's log is shortened beyond that (default: 64)"},
    {"hung_start_s", "--hung-start", "BAKA_HUNG_START", "S", SETTING_INT, FIELD(hung_start_s), 1, 31536000,
     "seconds that a worker may take to begin before it counts as hung (default: 900)"},
    {"hung_floor_s", "--hung-floor", "BAKA_HUNG_FLOOR", "S", SETTING_INT, FIELD(hung_floor_s), 1, 31536000,
     "no step, evaluation or checkpoint counts as hung before (default: 300)"},
    {"hung_ceiling_s", "--hung-ceiling", "BAKA_HUNG_CEILING", "S", SETTING_INT, FIELD(hung_ceiling_s), 1, 31536000,
     "and later only if it usually takes a third of that time (default: 21600)"},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

static int set_value(struct config *c, const struct setting *s, const char *text, const char *where, struct err *err)
{
    char *field = (char *)c + s->offset;
    if (s->type == SETTING_INT) {
        char *end;
        errno = 0;
        long value = strtol(text, &end, 10);
        if (errno != 0 || end == text || *end != '\0' || value < s->min || value > s->max)
            return err_set_at(err, ERR_INVALID, where, "\"%.64s\" is not a whole number from %d to %d", text, s->min,
                              s->max);
        *(int *)(void *)field = (int)value;
        return 0;
    }
    if (s->type == SETTING_LEVEL) {
        if (log_level_parse(text, (enum log_level *)(void *)field) != 0)
            return err_set_at(err, ERR_INVALID, where, "\"%.64s\" is none of debug, info, warn, error", text);
        return 0;
    }
    if (*text == '\0')
        return err_set_at(err, ERR_INVALID, where, "is empty");
    if (strlen(text) >= PATH_SIZE)
        return err_set_at(err, ERR_TOO_LARGE, where, "is longer than %d bytes", PATH_SIZE - 1);
    strcpy(field, text);
    return 0;
}

/* Edit distance, for naming the nearest known word; words are short. */
static int distance(const char *a, const char *b)
{
    enum { LONGEST = 32 };
    int row[LONGEST + 1];
    size_t na = strlen(a), nb = strlen(b);
    if (na > LONGEST || nb > LONGEST)
        return INT_MAX;
    for (size_t j = 0; j <= nb; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[nb];
}

static const char *nearest(const char *word, bool flags)
{
    const char *best = NULL;
    int best_distance = INT_MAX;
    for (int i = 0; i < SETTINGS; i++) {
        const char *name = flags ? settings[i].flag : settings[i].key;
        int d = name != NULL ? distance(word, name) : INT_MAX;
        if (d < best_distance) {
            best = name;
            best_distance = d;
        }
    }
    return best != NULL ? best : flags ? "--help" : "cpu_slots";
}

static int read_file(struct config *c, bool must_exist, struct err *err)
{
    static const struct json_limits limits = {CONFIG_MAX_FILE_BYTES, 4};
    char *text;
    size_t size;
    cJSON *root;
    int rc = file_read_all(c->file, CONFIG_MAX_FILE_BYTES, &text, &size, err);
    if (rc == -ERR_NOT_FOUND && !must_exist)
        return 0;
    if (rc != 0)
        return rc;
    rc = json_parse(text, size, &limits, c->file, &root, err);
    free(text);
    if (rc != 0)
        return rc;
    if (!cJSON_IsObject(root))
        rc = err_set_at(err, ERR_INVALID, "config", "%.300s: must be a JSON object", c->file);
    const cJSON *item = rc == 0 ? root->child : NULL;
    for (; item != NULL && rc == 0; item = item->next) {
        char where[192], number[JSON_NUMBER_SIZE];
        const struct setting *s = NULL;
        snprintf(where, sizeof where, "%.120s: %.64s", c->file, item->string);
        for (int i = 0; i < SETTINGS && s == NULL; i++)
            if (settings[i].key != NULL && strcmp(settings[i].key, item->string) == 0)
                s = &settings[i];
        if (s == NULL)
            rc = err_set_at(err, ERR_INVALID, where, "unknown key; the nearest known one is \"%s\"",
                            nearest(item->string, false));
        else if (s->type == SETTING_INT && cJSON_IsNumber(item)) {
            json_number_text(item->valuedouble, number);
            rc = set_value(c, s, number, where, err);
        } else if (s->type != SETTING_INT && cJSON_IsString(item))
            rc = set_value(c, s, item->valuestring, where, err);
        else
            rc = err_set_at(err, ERR_INVALID, where, "must be a %s", s->type == SETTING_INT ? "number" : "string");
    }
    cJSON_Delete(root);
    return rc;
}

/* Fills given[i] with the text of each flag, NULL where it was not given. */
static int read_arguments(int argc, char *const *argv, const char *given[SETTINGS], enum config_action *action,
                          struct err *err)
{
    for (int i = 1; i < argc; i++) {
        size_t n = strcspn(argv[i], "=");
        int found = -1;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *action = CONFIG_HELP;
            return 0;
        }
        if (strcmp(argv[i], "--version") == 0) {
            *action = CONFIG_VERSION;
            return 0;
        }
        for (int s = 0; s < SETTINGS && found < 0; s++)
            if (strlen(settings[s].flag) == n && strncmp(settings[s].flag, argv[i], n) == 0)
                found = s;
        if (found < 0) {
            char word[64];
            snprintf(word, sizeof word, "%.*s", (int)(n < 63 ? n : 63), argv[i]);
            if (word[0] != '-')
                return err_set_at(err, ERR_INVALID, "--", "\"%s\" is not expected: bakad takes flags only", word);
            return err_set_at(err, ERR_INVALID, "--", "unknown flag %s; the nearest known one is %s", word,
                              nearest(word, true));
        }
        if (argv[i][n] == '=')
            given[found] = argv[i] + n + 1;
        else if (i + 1 < argc)
            given[found] = argv[++i];
        else
            return err_set_at(err, ERR_INVALID, settings[found].flag, "needs a value: %s %s", settings[found].flag,
                              settings[found].value_name);
    }
    return 0;
}

/* A home that is a plain file has no configuration file in it; what is wrong is said by home_prepare, in its words. */
static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? S_ISDIR(st.st_mode) : errno != ENOTDIR;
}

static int online_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

int config_load(int argc, char *const *argv, char *(*environment)(const char *), struct config *out, struct err *err)
{
    struct config c = {.action = CONFIG_RUN,
                       .log_level = LOG_LEVEL_INFO,
                       .cancel_grace_s = 30,
                       .keep_checkpoints = 2,
                       .disk_low_mib = 256,
                       .disk_high_mib = 512,
                       .worker_log_mib = 64,
                       .hung_start_s = 900,
                       .hung_floor_s = 300,
                       .hung_ceiling_s = 21600};
    const char *given[SETTINGS] = {NULL};
    const char *variables[SETTINGS];
    int rc = read_arguments(argc, argv, given, &c.action, err);
    if (rc != 0)
        return rc;
    if (c.action != CONFIG_RUN) {
        *out = c;
        return 0;
    }
    c.cpu_slots = online_cpus();
    for (int i = 0; i < SETTINGS; i++) {
        variables[i] = environment(settings[i].variable);
        if (variables[i] != NULL && *variables[i] == '\0')
            variables[i] = NULL; /* set but empty is not set, as the XDG specification has it */
    }
    /* the first two rows say where the file is, so they come before it */
    const char *home = given[0] != NULL ? given[0] : variables[0];
    const char *file = given[1] != NULL ? given[1] : variables[1];
    if (given[1] != NULL && *given[1] == '\0')
        return err_set_at(err, ERR_INVALID, "--config", "is empty");
    if ((rc = path_home(home, c.home, err)) != 0 ||
        (rc = file != NULL ? path_format(c.file, err, "%s", file)
                           : path_format(c.file, err, "%s/config.json", c.home)) != 0 ||
        (rc = file != NULL || is_directory(c.home) ? read_file(&c, file != NULL, err) : 0) != 0)
        return rc;
    for (int i = 2; i < SETTINGS; i++)
        if (given[i] == NULL && variables[i] != NULL &&
            (rc = set_value(&c, &settings[i], variables[i], settings[i].variable, err)) != 0)
            return rc;
    for (int i = 2; i < SETTINGS; i++)
        if (given[i] != NULL && (rc = set_value(&c, &settings[i], given[i], settings[i].flag, err)) != 0)
            return rc;
    *out = c;
    return 0;
}

bool config_is_usage_error(const struct err *err)
{
    return err->code == ERR_INVALID || err->code == ERR_TOO_LARGE;
}

void config_print_help(FILE *out)
{
    fprintf(out,
            "Usage: bakad [FLAG VALUE]...\n\n"
            "Keeps the queue of experiments: runs in the foreground until SIGTERM or SIGINT; running workers go on\n"
            "without it and are taken over by the next one.\n\n");
    for (int i = 0; i < SETTINGS; i++)
        fprintf(out, "  %s %s%*s%s\n", settings[i].flag, settings[i].value_name,
                24 - (int)(strlen(settings[i].flag) + strlen(settings[i].value_name)), "", settings[i].doc);
    fprintf(out, "  --help                   this text\n"
                 "  --version                the version\n\n"
                 "A flag wins over its environment variable (--home: BAKA_HOME), that over the configuration\n"
                 "file (cpu_slots), that over the default. A variable that is empty counts as not set.\n\n"
                 "Exit status: 0 ended by a signal, 1 could not serve, 2 a wrong setting, wherever it stands.\n");
}
