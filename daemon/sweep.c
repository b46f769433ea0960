/* sweep.c: the body of a submission, checked key by key, and its product. */
#include "daemon/sweep.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

static const char *const body_keys[] = {"request_id", "spec", "set", "sweep", "seeds", "name", "tags", "priority"};

static int check_keys(const cJSON *object, const char *const *keys, size_t count, const char *where, struct err *err)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, object) {
        bool known = false;
        for (size_t i = 0; i < count && !known; i++)
            known = strcmp(item->string, keys[i]) == 0;
        if (!known) {
            char path[128];
            snprintf(path, sizeof path, "%s%s%.64s", where, *where ? "." : "", item->string);
            return err_set_at(err, ERR_INVALID, path, "unknown key");
        }
    }
    return 0;
}

/* The array under `key`, NULL when absent or null. */
static int get_array(const cJSON *body, const char *key, int max, const cJSON **out, struct err *err)
{
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(body, key);
    *out = NULL;
    if (array == NULL || cJSON_IsNull(array))
        return 0;
    if (!cJSON_IsArray(array))
        return err_set_at(err, ERR_INVALID, key, "must be an array");
    if (cJSON_GetArraySize(array) > max)
        return err_set_at(err, ERR_TOO_LARGE, key, "at most %d entries are allowed", max);
    *out = array;
    return 0;
}

static int get_string(const cJSON *object, const char *key, const char *where, const char **out, struct err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    char path[128];
    if (!cJSON_IsString(item)) {
        snprintf(path, sizeof path, "%s.%s", where, key);
        return err_set_at(err, ERR_INVALID, path, item == NULL ? "is missing" : "must be a string");
    }
    *out = item->valuestring;
    return 0;
}

static int parse_sets(const cJSON *body, struct sweep_request *r, struct err *err)
{
    static const char *const keys[] = {"path", "text"};
    const cJSON *array, *item;
    int rc = get_array(body, "set", SUBMISSION_MAX_SETS, &array, err);
    if (rc != 0)
        return rc;
    cJSON_ArrayForEach(item, array) {
        char where[32];
        snprintf(where, sizeof where, "set[%d]", r->set_count);
        if (!cJSON_IsObject(item))
            return err_set_at(err, ERR_INVALID, where, "must be an object {\"path\",\"text\"}");
        if ((rc = check_keys(item, keys, 2, where, err)) != 0 ||
            (rc = get_string(item, "path", where, &r->sets[r->set_count].path, err)) != 0 ||
            (rc = get_string(item, "text", where, &r->sets[r->set_count].text, err)) != 0)
            return rc;
        r->set_count++;
    }
    return 0;
}

/* A value given twice would queue the same experiment twice. */
static int check_repeats(const struct sweep_axis *axis, const char *path, struct err *err)
{
    const char **values = malloc((size_t)axis->count * sizeof *values);
    const cJSON *value;
    int n = 0;
    if (values == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    cJSON_ArrayForEach(value, axis->values)
        values[n++] = value->valuestring;
    int rc = submission_check_axis(axis->path, values, n, path, err);
    free(values);
    return rc;
}

static int parse_axis(const cJSON *item, struct sweep_request *r, struct err *err)
{
    static const char *const keys[] = {"path", "values"};
    struct sweep_axis *axis = &r->axes[r->axis_count];
    const cJSON *value;
    char where[32], path[64];
    int rc;
    snprintf(where, sizeof where, "sweep[%d]", r->axis_count);
    snprintf(path, sizeof path, "%s.values", where);
    if (!cJSON_IsObject(item))
        return err_set_at(err, ERR_INVALID, where, "must be an object {\"path\",\"values\"}");
    if ((rc = check_keys(item, keys, 2, where, err)) != 0 ||
        (rc = get_string(item, "path", where, &axis->path, err)) != 0)
        return rc;
    axis->values = cJSON_GetObjectItemCaseSensitive(item, "values");
    axis->count = cJSON_GetArraySize(axis->values);
    if (!cJSON_IsArray(axis->values) || axis->count == 0)
        return err_set_at(err, ERR_INVALID, path, "must be an array of at least one string");
    cJSON_ArrayForEach(value, axis->values)
        if (!cJSON_IsString(value))
            return err_set_at(err, ERR_INVALID, path, "must be an array of strings, as they would be given to --set");
    for (int i = 0; i < r->axis_count; i++)
        if (strcmp(r->axes[i].path, axis->path) == 0)
            return err_set_at(err, ERR_INVALID, where, "\"%.64s\" is swept twice", axis->path);
    if (axis->count > SUBMISSION_MAX_RUNS || r->run_count * (size_t)axis->count > SUBMISSION_MAX_RUNS)
        return err_set_at(err, ERR_TOO_LARGE, "sweep", "more than %d runs in one submission", SUBMISSION_MAX_RUNS);
    if ((rc = check_repeats(axis, path, err)) != 0)
        return rc;
    r->run_count *= (size_t)axis->count;
    r->axis_count++;
    return 0;
}

static int parse_seeds(const cJSON *body, struct sweep_request *r, struct err *err)
{
    const cJSON *seeds = cJSON_GetObjectItemCaseSensitive(body, "seeds");
    if (seeds == NULL || cJSON_IsNull(seeds))
        return 0;
    if (!cJSON_IsNumber(seeds) || !(seeds->valuedouble >= 1) || !(seeds->valuedouble <= SUBMISSION_MAX_RUNS) ||
        seeds->valuedouble != (double)(int)seeds->valuedouble)
        return err_set_at(err, ERR_INVALID, "seeds", "must be a whole number from 1 to %d", SUBMISSION_MAX_RUNS);
    r->seeds = (int)seeds->valuedouble;
    if (r->run_count * (size_t)r->seeds > SUBMISSION_MAX_RUNS)
        return err_set_at(err, ERR_TOO_LARGE, "seeds", "more than %d runs in one submission", SUBMISSION_MAX_RUNS);
    r->run_count *= (size_t)r->seeds;
    for (int i = 0; i < r->axis_count && r->seeds > 1; i++)
        if (strcmp(r->axes[i].path, "train.seed") == 0)
            return err_set_at(err, ERR_INVALID, "seeds", "train.seed is swept already");
    return 0;
}

int sweep_parse_priority(const cJSON *body, int *out, struct err *err)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(body, "priority");
    if (value == NULL || cJSON_IsNull(value))
        return 0;
    if (!cJSON_IsNumber(value) || !(value->valuedouble >= PRIORITY_MIN) || !(value->valuedouble <= PRIORITY_MAX) ||
        value->valuedouble != (double)(int)value->valuedouble)
        return err_set_at(err, ERR_INVALID, "priority", "must be a whole number from %d to %d", PRIORITY_MIN,
                          PRIORITY_MAX);
    *out = (int)value->valuedouble;
    return 0;
}

static int parse_tags(const cJSON *body, struct sweep_request *r, struct err *err)
{
    const cJSON *array, *item;
    int rc = get_array(body, "tags", SUBMISSION_MAX_TAGS, &array, err);
    if (rc != 0)
        return rc;
    cJSON_ArrayForEach(item, array) {
        char where[32];
        bool again = false;
        snprintf(where, sizeof where, "tags[%d]", r->tag_count);
        if (!cJSON_IsString(item))
            return err_set_at(err, ERR_INVALID, where, "must be a string");
        if ((rc = submission_check_name(item->valuestring, where, err)) != 0)
            return rc;
        for (int i = 0; i < r->tag_count; i++)
            again = again || strcmp(r->tags[i], item->valuestring) == 0;
        if (!again)
            r->tags[r->tag_count++] = item->valuestring;
    }
    return 0;
}

/* An optional string that must be a name. */
static int parse_name(const cJSON *object, const char *key, const char *path, bool free_form_id, const char **out,
                      struct err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    *out = NULL;
    if (item == NULL || cJSON_IsNull(item))
        return 0;
    if (!cJSON_IsString(item))
        return err_set_at(err, ERR_INVALID, path, "must be a string");
    if (free_form_id && !name_is_valid(item->valuestring))
        return err_set_at(err, ERR_INVALID, path, "must be 1 to 64 letters, digits, '.', '_' or '-'");
    if (!free_form_id && *item->valuestring != '\0') {
        int rc = submission_check_name(item->valuestring, path, err);
        if (rc != 0)
            return rc;
    }
    *out = *item->valuestring ? item->valuestring : NULL;
    return 0;
}

int sweep_parse(const cJSON *body, struct sweep_request *out, struct err *err)
{
    struct sweep_request r = {.seeds = 1, .run_count = 1};
    const cJSON *array, *item;
    const char *spec_name;
    int rc;
    if (!cJSON_IsObject(body))
        return err_set_at(err, ERR_INVALID, "", "the body must be a JSON object");
    if ((rc = check_keys(body, body_keys, sizeof body_keys / sizeof *body_keys, "", err)) != 0)
        return rc;
    r.spec = cJSON_GetObjectItemCaseSensitive(body, "spec");
    if (!cJSON_IsObject(r.spec))
        return err_set_at(err, ERR_INVALID, "spec", r.spec == NULL ? "is missing" : "must be an object");
    if ((rc = parse_name(body, "request_id", "request_id", true, &r.request_id, err)) != 0 ||
        (rc = parse_name(body, "name", "name", false, &r.name, err)) != 0 || (rc = parse_sets(body, &r, err)) != 0 ||
        (rc = get_array(body, "sweep", SUBMISSION_MAX_AXES, &array, err)) != 0)
        return rc;
    /* a spec's own name of another type is left to the spec's validation, which knows how to say it */
    if (cJSON_IsString(cJSON_GetObjectItemCaseSensitive(r.spec, "name")) &&
        (rc = parse_name(r.spec, "name", "name", false, &spec_name, err)) != 0)
        return rc;
    cJSON_ArrayForEach(item, array)
        if ((rc = parse_axis(item, &r, err)) != 0)
            return rc;
    for (int i = 0; i < r.axis_count && r.name != NULL; i++)
        if (strcmp(r.axes[i].path, "name") == 0)
            return err_set_at(err, ERR_INVALID, "name", "name is swept already: the runs get its values");
    if ((rc = parse_seeds(body, &r, err)) != 0 || (rc = parse_tags(body, &r, err)) != 0 ||
        (rc = sweep_parse_priority(body, &r.priority, err)) != 0)
        return rc;
    *out = r;
    return 0;
}

/* The suffix survives, the base is shortened: it is the suffix that tells runs of a sweep apart. */
static void make_name(const struct sweep_request *r, const char *base, const int *index, int64_t seed,
                      char out[NAME_SIZE])
{
    char suffix[512] = "";
    size_t used = 0;
    for (int a = 0; a < r->axis_count && r->run_count > 1; a++) {
        if (strcmp(r->axes[a].path, "name") == 0)
            continue; /* it is the base already */
        const char *dot = strrchr(r->axes[a].path, '.');
        const char *value = cJSON_GetArrayItem(r->axes[a].values, index[a])->valuestring;
        /* a word says what it is ("gelu"); a number or a truth value needs its field's name beside it */
        bool word = isalpha((unsigned char)value[0]) && strcmp(value, "true") != 0 && strcmp(value, "false") != 0;
        int n = snprintf(suffix + used, sizeof suffix - used, "-%.40s%.40s",
                         word  ? ""
                         : dot ? dot + 1
                               : r->axes[a].path,
                         value);
        used = used + (size_t)n < sizeof suffix ? used + (size_t)n : sizeof suffix - 1;
    }
    if (r->seeds > 1)
        snprintf(suffix + used, sizeof suffix - used, "-s%lld", (long long)seed);
    for (char *p = suffix; *p; p++)
        if (!isalnum((unsigned char)*p) && strchr("._-", *p) == NULL)
            *p = '_';
    size_t keep = strlen(suffix) < NAME_SIZE - 2 ? strlen(suffix) : NAME_SIZE - 2;
    snprintf(out, NAME_SIZE, "%.*s%s", (int)(NAME_SIZE - 1 - keep), base, suffix + strlen(suffix) - keep);
}

static int expand_point(const struct sweep_request *r, const int *index, struct sweep_run *out, struct err *err)
{
    cJSON *object = cJSON_Duplicate(r->spec, true);
    int rc = object != NULL ? 0 : err_set(err, ERR_NO_MEMORY, "out of memory");
    for (int i = 0; i < r->set_count && rc == 0; i++)
        rc = spec_set_text(object, r->sets[i].path, r->sets[i].text, err);
    for (int a = 0; a < r->axis_count && rc == 0; a++)
        rc = spec_set_text(object, r->axes[a].path, cJSON_GetArrayItem(r->axes[a].values, index[a])->valuestring, err);
    if (rc == 0)
        rc = spec_from_json(object, &out->spec, err);
    cJSON_Delete(object);
    return rc;
}

int sweep_expand(const struct sweep_request *r, struct sweep_run **out, struct err *err)
{
    struct sweep_run *runs = calloc(r->run_count, sizeof *runs);
    int index[SUBMISSION_MAX_AXES] = {0};
    int rc = 0;
    if (runs == NULL)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    for (size_t n = 0; n < r->run_count && rc == 0; n += (size_t)r->seeds) {
        struct sweep_run *first = &runs[n];
        rc = expand_point(r, index, first, err);
        /* name in a --set or a swept name: the spec's own word, unless the submission names its runs */
        const char *base = r->name != NULL ? r->name : first->spec.name[0] ? first->spec.name : "run";
        char base_copy[NAME_SIZE];
        snprintf(base_copy, sizeof base_copy, "%s", base);
        int64_t seed = first->spec.train.seed;
        for (int s = 0; s < r->seeds && rc == 0; s++) {
            if (s > 0)
                first[s].spec = first->spec;
            first[s].spec.train.seed = seed + s;
            make_name(r, base_copy, index, seed + s, first[s].name);
            memcpy(first[s].spec.name, first[s].name, NAME_SIZE);
            rc = submission_check_name(first[s].name, "name", err);
            if (rc == 0)
                rc = spec_validate(&first[s].spec, err);
        }
        for (int a = r->axis_count - 1; a >= 0 && ++index[a] == r->axes[a].count; a--)
            index[a] = 0;
    }
    if (rc != 0) {
        free(runs);
        return rc;
    }
    *out = runs;
    return 0;
}
