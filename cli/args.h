/* args.h: command lines. A verb's options are a const table; long help is printed from the same table.
 *
 * --name value, --name=value, -o value, -ovalue; options and positionals may be mixed; "--" ends the options; a lone
 * "-" is a positional. A value that begins with "--" must be given as --name=value, so that a forgotten value is
 * noticed.
 */
#ifndef BAKA_CLI_ARGS_H
#define BAKA_CLI_ARGS_H

#include <stdbool.h>
#include <stdint.h>

struct err;

struct args_option {
    const char *name;  /* "--set"; NULL ends a table */
    char letter;       /* 'o' for -o, or 0 */
    const char *value; /* "PATH=VALUE" in the help; NULL: a flag without value */
    const char *help;
    bool repeat; /* may stand more than once */
};

struct args_given {
    const struct args_option *option;
    const char *value; /* NULL for a flag */
};

struct args {
    int given_count, positional_count;
    struct args_given *given; /* in the order of the command line */
    const char **positional;
};

/* Parses argv[0..argc). `tables` ends with NULL. With stop_at_positional the first positional ends the parse and is not
 * consumed; *consumed (may be NULL) counts the arguments taken. ERR_INVALID for an unknown option (nearest name
 * suggested), a missing or needless value, a repeated option. `out` is appended to, so global options given before a
 * verb and after it meet in one struct; start with a zeroed one. Strings point into argv. */
int args_parse(int argc, char *const *argv, const struct args_option *const *tables, bool stop_at_positional,
               struct args *out, int *consumed, struct err *err);
void args_finish(struct args *a);

bool args_flag(const struct args *a, const char *name);
int args_count(const struct args *a, const char *name);
/* The index-th value of an option, or NULL. */
const char *args_value_at(const struct args *a, const char *name, int index);
/* The value of an option, or NULL when it was not given. */
const char *args_value(const struct args *a, const char *name);
/* Leave *out as it is (the default) when the option was not given; ERR_INVALID says the range. */
int args_int64(const struct args *a, const char *name, int64_t min, int64_t max, int64_t *out, struct err *err);
/* Finite numbers with min <= value < limit. */
int args_double(const struct args *a, const char *name, double min, double limit, double *out, struct err *err);

/* The entry nearest to `word` when it is near enough to be meant, else NULL. `names` ends with NULL. */
const char *args_nearest(const char *word, const char *const *names);

#endif
