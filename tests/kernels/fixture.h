/* fixture.h: the arrays of a file written by make_fixtures.py. */
#ifndef BAKA_TESTS_KERNELS_FIXTURE_H
#define BAKA_TESTS_KERNELS_FIXTURE_H

#include <stdint.h>

enum { FIXTURE_ARRAYS = 64 };

struct fixture {
    int count;
    struct fixture_array {
        char name[48];
        int64_t n;
        double *values;
    } arrays[FIXTURE_ARRAYS];
};

/* Reads FOLDER/name.txt (the folder of this test's sources); fails the test when it is not whole. */
void fixture_read(struct fixture *f, const char *name);
void fixture_finish(struct fixture *f);
/* Fails the test when there is no array of that name with n elements (n < 0: any). */
const double *fixture_get(const struct fixture *f, const char *name, int64_t n);

#endif
