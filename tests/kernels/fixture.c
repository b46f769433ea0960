#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "harness.h"

void fixture_read(struct fixture *f, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.txt", FIXTURE_FOLDER, name);
    FILE *file = fopen(path, "r");
    if (!file)
        fail_msg("cannot read %s", path);
    f->count = 0;
    struct fixture_array *a = f->arrays;
    long long n;
    while (f->count < FIXTURE_ARRAYS && fscanf(file, "%47s %lld", a->name, &n) == 2) {
        a->n = n;
        a->values = calloc((size_t)n + 1, sizeof *a->values);
        for (int64_t i = 0; i < n; i++)
            if (fscanf(file, "%lf", &a->values[i]) != 1)
                fail_msg("%s: %s is not whole", path, a->name);
        f->count++;
        a++;
    }
    if (!feof(file) || f->count == 0)
        fail_msg("%s: not a fixture, or over %d arrays", path, FIXTURE_ARRAYS);
    fclose(file);
}

void fixture_finish(struct fixture *f)
{
    for (int i = 0; i < f->count; i++)
        free(f->arrays[i].values);
}

const double *fixture_get(const struct fixture *f, const char *name, int64_t n)
{
    for (int i = 0; i < f->count; i++)
        if (strcmp(f->arrays[i].name, name) == 0) {
            if (n >= 0 && f->arrays[i].n != n)
                fail_msg("fixture %s has %lld elements, not %lld", name, (long long)f->arrays[i].n, (long long)n);
            return f->arrays[i].values;
        }
    fail_msg("there is no fixture %s", name);
    return NULL;
}
