/* args.c: see args.h. Pure but for the allocations, which abort when memory is exhausted. */
#include "cli/args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"

enum { NAMES_MAX = 128, WORD_MAX = 64 };

/* Edit distance with transposition of neighbours as one edit (optimal string alignment). */
static int edit_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    if (n >= WORD_MAX || m >= WORD_MAX)
        return WORD_MAX;
    int d[WORD_MAX + 1][WORD_MAX + 1];
    for (size_t i = 0; i <= n; i++)
        d[i][0] = (int)i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}

const char *args_nearest(const char *word, const char *const *names)
{
    const char *nearest = NULL;
    int best = WORD_MAX;
    for (; *names; names++) {
        int d = edit_distance(word, *names);
        /* The beginning of a name counts as near: "comp" for "compare". */
        if (strlen(word) >= 3 && strncmp(word, *names, strlen(word)) == 0)
            d = 1;
        if (d < best) {
            best = d;
            nearest = *names;
        }
    }
    int letters = (int)strlen(word) - (strncmp(word, "--", 2) == 0 ? 2 : 0);
    return best <= 1 + letters / 4 ? nearest : NULL;
}

static const struct args_option *find_long(const struct args_option *const *tables, const char *text, size_t size)
{
    for (; *tables; tables++)
        for (const struct args_option *o = *tables; o->name; o++)
            if (strlen(o->name) == size && memcmp(o->name, text, size) == 0)
                return o;
    return NULL;
}

static const struct args_option *find_letter(const struct args_option *const *tables, char letter)
{
    for (; *tables; tables++)
        for (const struct args_option *o = *tables; o->name; o++)
            if (o->letter == letter)
                return o;
    return NULL;
}

static int unknown_option(const struct args_option *const *tables, const char *text, size_t size, struct err *err)
{
    const char *names[NAMES_MAX + 1];
    int n = 0;
    for (; *tables; tables++)
        for (const struct args_option *o = *tables; o->name && n < NAMES_MAX; o++)
            names[n++] = o->name;
    names[n] = NULL;
    char word[WORD_MAX];
    if (size >= sizeof word)
        size = sizeof word - 1;
    memcpy(word, text, size);
    word[size] = '\0';
    const char *nearest = args_nearest(word, names);
    if (nearest)
        return err_set(err, ERR_INVALID, "unknown option %s (did you mean %s?)", word, nearest);
    return err_set(err, ERR_INVALID, "unknown option %s", word);
}

static int add_given(struct args *a, const struct args_option *o, const char *value, struct err *err)
{
    if (!o->repeat && o->value && args_count(a, o->name) > 0)
        return err_set(err, ERR_INVALID, "%s is given twice", o->name);
    struct args_given *grown = realloc(a->given, (size_t)(a->given_count + 1) * sizeof *grown);
    if (!grown)
        abort();
    a->given = grown;
    a->given[a->given_count++] = (struct args_given){o, value};
    return 0;
}

static void add_positional(struct args *a, const char *text)
{
    const char **grown = realloc(a->positional, (size_t)(a->positional_count + 1) * sizeof *grown);
    if (!grown)
        abort();
    a->positional = grown;
    a->positional[a->positional_count++] = text;
}

/* One option at argv[0], with its value at argv[1] when it takes one; *used is 1 or 2. */
static int parse_option(int argc, char *const *argv, const struct args_option *const *tables, struct args *out,
                        int *used, struct err *err)
{
    const char *text = argv[0], *value = NULL;
    const struct args_option *o;
    if (text[1] == '-') {
        const char *equals = strchr(text, '=');
        size_t size = equals ? (size_t)(equals - text) : strlen(text);
        o = find_long(tables, text, size);
        if (!o)
            return unknown_option(tables, text, size, err);
        if (equals)
            value = equals + 1;
    } else {
        o = find_letter(tables, text[1]);
        if (!o)
            return err_set(err, ERR_INVALID, "unknown option -%c", text[1]);
        if (text[2])
            value = text + 2;
        if (value && !o->value)
            return err_set(err, ERR_INVALID, "unknown option %s: write short options one by one", text);
    }
    *used = 1;
    if (!o->value && value)
        return err_set(err, ERR_INVALID, "%s takes no value", o->name);
    if (o->value && !value) {
        if (argc < 2 || strncmp(argv[1], "--", 2) == 0)
            return err_set(err, ERR_INVALID, "%.*s needs a value: %s", text[1] == '-' ? (int)strlen(text) : 2, text,
                           o->value);
        value = argv[1];
        *used = 2;
    }
    return add_given(out, o, value, err);
}

int args_parse(int argc, char *const *argv, const struct args_option *const *tables, bool stop_at_positional,
               struct args *out, int *consumed, struct err *err)
{
    int i = 0;
    while (i < argc) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            if (!stop_at_positional)
                while (i < argc)
                    add_positional(out, argv[i++]);
            break;
        }
        if (argv[i][0] == '-' && argv[i][1]) {
            int used = 0, rc = parse_option(argc - i, argv + i, tables, out, &used, err);
            if (rc)
                return rc;
            i += used;
            continue;
        }
        if (stop_at_positional)
            break;
        add_positional(out, argv[i++]);
    }
    if (consumed)
        *consumed = i;
    return 0;
}

void args_finish(struct args *a)
{
    free(a->given);
    free(a->positional);
    *a = (struct args){0};
}

int args_count(const struct args *a, const char *name)
{
    int n = 0;
    for (int i = 0; i < a->given_count; i++)
        n += strcmp(a->given[i].option->name, name) == 0;
    return n;
}

bool args_flag(const struct args *a, const char *name)
{
    return args_count(a, name) > 0;
}

const char *args_value_at(const struct args *a, const char *name, int index)
{
    for (int i = 0; i < a->given_count; i++)
        if (strcmp(a->given[i].option->name, name) == 0 && index-- == 0)
            return a->given[i].value;
    return NULL;
}

const char *args_value(const struct args *a, const char *name)
{
    return args_value_at(a, name, 0);
}

int args_int64(const struct args *a, const char *name, int64_t min, int64_t max, int64_t *out, struct err *err)
{
    const char *text = args_value(a, name);
    if (!text)
        return 0;
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < min || v > max)
        return err_set(err, ERR_INVALID, "%s %s: an integer from %lld to %lld is needed", name, text, (long long)min,
                       (long long)max);
    *out = v;
    return 0;
}

int args_double(const struct args *a, const char *name, double min, double limit, double *out, struct err *err)
{
    const char *text = args_value(a, name);
    if (!text)
        return 0;
    double v;
    if (json_number_read(text, &v) || v < min || v >= limit)
        return err_set(err, ERR_INVALID, "%s %s: a number of at least %g and below %g is needed", name, text, min,
                       limit);
    *out = v;
    return 0;
}
