/* submission.c: see submission.h. */
#include "schema/submission.h"

#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/path.h"
#include "schema/spec_fields.h"

bool name_looks_like_id(const char *name)
{
    if (name[0] != 'b')
        return false;
    size_t digits = strspn(name + 1, "0123456789");
    return digits >= 5 && name[1 + digits] == '\0';
}

int submission_check_name(const char *name, const char *path, struct err *err)
{
    if (!name_is_valid(name))
        return err_set_at(
            err, ERR_INVALID, path,
            "not a name: letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 64");
    if (name_looks_like_id(name))
        return err_set_at(err, ERR_INVALID, path, "\"%s\" has the form of a run's id; choose another name", name);
    return 0;
}

enum { MEANING_SIZE = 96 }; /* holds a name and a pair of numbers */

struct value {
    char meaning[MEANING_SIZE];
    int index;
};

static int compare_values(const void *a, const void *b)
{
    const struct value *x = a, *y = b;
    int order = strcmp(x->meaning, y->meaning);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* Sorted, since an axis may have as many values as a submission has runs. */
int submission_check_axis(const char *field, const char *const *values, int count, const char *path, struct err *err)
{
    const struct spec_field *f = spec_field_find(field);
    if (!f || count < 2)
        return 0;
    struct value *read = calloc((size_t)count, sizeof *read);
    if (!read)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    int n = 0, rc = 0;
    for (int i = 0; i < count; i++) {
        struct spec scratch;
        memset(&scratch, 0, sizeof scratch);
        if (spec_value_from_text(f, values[i], &scratch, NULL) < 0)
            continue;
        spec_value_to_text(f, &scratch, read[n].meaning, sizeof read[n].meaning);
        read[n++].index = i;
    }
    qsort(read, (size_t)n, sizeof *read, compare_values);
    for (int i = 1; i < n && rc == 0; i++) {
        if (strcmp(read[i - 1].meaning, read[i].meaning) != 0)
            continue;
        const char *first = values[read[i - 1].index], *again = values[read[i].index];
        if (strcmp(first, again) == 0)
            rc = err_set_at(err, ERR_INVALID, path, "%s has the value %.64s twice: each value once", field, again);
        else
            rc = err_set_at(err, ERR_INVALID, path, "%s has the value %s twice, as %.64s and %.64s: each value once",
                            field, read[i].meaning, first, again);
    }
    free(read);
    return rc;
}
