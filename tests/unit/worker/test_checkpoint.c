/* Checkpoints: what was written comes back; whatever is torn, flipped, missing or foreign is refused before the model
 * is touched; failures leave no trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/err.h"
#include "base/file.h"
#include "base/path.h"
#include "base/philox.h"
#include "fake_model.h"
#include "worker/checkpoint.h"

static const char *const files[] = {"manifest.json", "state.json", "model.safetensors"};
static char run[PATH_SIZE];

static void make_model(struct model *m)
{
    *m = (struct model){.rows = {4, 4, 9}, .cols = {8, 8, 1}, .updates = 41};
    for (int i = 0; i < FAKE_TENSORS; i++)
        for (int j = 0; j < FAKE_FLOATS; j++)
            m->data[i][j] = (float)(i * 1000 + j) / 7.0f;
}

static struct checkpoint_state make_state(void)
{
    struct checkpoint_state s = {
        .step = 42, .epoch = 2, .step_in_epoch = 2, .tokens = 43008, .seed = -5, .micro_batch = 4};
    s.updates = 41;
    memset(s.spec_hash, 'a', 64);
    memset(s.data_hash, 'b', 64);
    memset(s.numerics_id, 'c', 64);
    return s;
}

static int setup(void **state)
{
    (void)state;
    struct err err;
    snprintf(run, sizeof run, "/tmp/test_checkpoint.XXXXXX");
    if (!mkdtemp(run))
        return 1;
    struct model m;
    make_model(&m);
    struct checkpoint_state s = make_state();
    struct journal_checkpoint r;
    return checkpoint_write(run, 1, &s, &m, NULL, &r, &err);
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(run, NULL);
}

static char *file_path(const char *name)
{
    static char path[PATH_SIZE + 64];
    snprintf(path, sizeof path, "%s/checkpoints/42-a1/%s", run, name);
    return path;
}

static int open_it(struct checkpoint **c, struct err *err)
{
    return checkpoint_open(run, "checkpoints/42-a1", c, err);
}

static void assert_refused(const char *what)
{
    struct checkpoint *c = NULL;
    struct err err = {0};
    int rc = open_it(&c, &err);
    if (rc == 0) {
        checkpoint_close(c);
        fail_msg("accepted: %s", what);
    }
    if (!strstr(err.message, "checkpoints/42-a1"))
        fail_msg("the message does not name the checkpoint: %s", err.message);
}

static int count_entries(const char *below)
{
    char path[PATH_SIZE + 64];
    snprintf(path, sizeof path, "%s/%s", run, below);
    DIR *d = opendir(path);
    int n = 0;
    if (!d)
        return 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct checkpoint *c;
    struct err err;
    struct model want, got;
    make_model(&want);
    make_model(&got);
    memset(got.data, 0, sizeof got.data);
    got.updates = 0;
    assert_int_equal(open_it(&c, &err), 0);
    const struct checkpoint_state *s = checkpoint_get_state(c);
    struct checkpoint_state w = make_state();
    assert_int_equal(s->step, w.step);
    assert_int_equal(s->seed, w.seed);
    assert_int_equal(s->tokens, w.tokens);
    assert_int_equal(s->micro_batch, w.micro_batch);
    assert_string_equal(s->data_hash, w.data_hash);
    assert_int_equal(checkpoint_restore(c, &got, &err), 0);
    for (int i = 0; i < FAKE_TENSORS; i++)
        assert_memory_equal(got.data[i], want.data[i], (size_t)(want.rows[i] * want.cols[i]) * sizeof(float));
    assert_int_equal(got.updates, 41);
    checkpoint_close(c);
}

static void test_record_and_sync(void **state)
{
    (void)state;
    struct model m;
    make_model(&m);
    struct checkpoint_state s = make_state();
    struct journal_checkpoint r;
    struct err err;
    s.step = 43;
    int before = fake_journal_syncs;
    assert_int_equal(checkpoint_write(run, 7, &s, &m, NULL, &r, &err), 0);
    assert_int_equal(fake_journal_syncs, before + 1);
    assert_int_equal(r.step, 43);
    assert_string_equal(r.path, "checkpoints/43-a7");
    int64_t sum = 0;
    for (size_t i = 0; i < 3; i++) {
        char path[PATH_SIZE + 64];
        struct stat st;
        snprintf(path, sizeof path, "%s/checkpoints/43-a7/%s", run, files[i]);
        assert_int_equal(stat(path, &st), 0);
        sum += st.st_size;
    }
    assert_int_equal(r.bytes, sum);
}

/* Every prefix of every file, and one byte more. */
static void test_torn(void **state)
{
    (void)state;
    struct err err;
    for (size_t f = 0; f < 3; f++) {
        char *whole;
        size_t size;
        const char *path = file_path(files[f]);
        assert_int_equal(file_read_all(path, 1 << 20, &whole, &size, &err), 0);
        for (size_t cut = 0; cut <= size + 1; cut++) {
            if (cut == size)
                continue;
            FILE *out = fopen(path, "we");
            fwrite(whole, 1, cut, out); /* size + 1: the NUL behind the content goes along */
            fclose(out);
            assert_refused(files[f]);
        }
        assert_int_equal(unlink(path), 0);
        assert_refused(files[f]);
        assert_int_equal(file_write_atomic(path, whole, size, 0644, &err), 0);
        free(whole);
    }
    struct checkpoint *c;
    assert_int_equal(open_it(&c, &err), 0);
    checkpoint_close(c);
}

/* Every single bit of the small files, and of the tensor file. */
static void test_flipped(void **state)
{
    (void)state;
    struct err err;
    for (size_t f = 0; f < 3; f++) {
        char *whole;
        size_t size;
        const char *path = file_path(files[f]);
        assert_int_equal(file_read_all(path, 1 << 20, &whole, &size, &err), 0);
        FILE *file = fopen(path, "r+e");
        for (size_t bit = 0; bit < size * 8; bit++) {
            char turned = (char)(whole[bit / 8] ^ (1 << (bit % 8)));
            fseek(file, (long)(bit / 8), SEEK_SET);
            fputc(turned, file);
            fflush(file);
            assert_refused(files[f]);
            fseek(file, (long)(bit / 8), SEEK_SET);
            fputc(whole[bit / 8], file);
            fflush(file);
        }
        fclose(file);
        free(whole);
    }
}

/* Runs of random bytes, as a bad disk leaves them. */
static void test_overwritten(void **state)
{
    (void)state;
    struct philox random;
    struct err err;
    philox_init(&random, 1, "test", "overwritten");
    for (int round = 0; round < 300; round++) {
        const char *path = file_path(files[philox_below(&random, 3)]);
        char *whole, *hurt;
        size_t size;
        assert_int_equal(file_read_all(path, 1 << 20, &whole, &size, &err), 0);
        hurt = malloc(size);
        memcpy(hurt, whole, size);
        size_t at = philox_below(&random, size), n = 1 + philox_below(&random, 64);
        for (size_t i = at; i < size && i < at + n; i++)
            hurt[i] = (char)philox_u32(&random);
        if (memcmp(hurt, whole, size) != 0) {
            assert_int_equal(file_write_atomic(path, hurt, size, 0644, &err), 0);
            assert_refused(path);
            assert_int_equal(file_write_atomic(path, whole, size, 0644, &err), 0);
        }
        free(hurt);
        free(whole);
    }
}

static void test_foreign(void **state)
{
    (void)state;
    struct checkpoint *c;
    struct err err;
    assert_int_equal(open_it(&c, &err), 0);
    struct model m;
    make_model(&m);
    m.rows[1] = 8; /* another shape of equal size */
    m.cols[1] = 4;
    assert_int_equal(checkpoint_restore(c, &m, &err), -ERR_DAMAGED);
    assert_int_equal(m.writes, 0);
    assert_non_null(strstr(err.message, "checkpoints/42-a1"));
    make_model(&m);
    m.rows[2] = 10;
    assert_int_equal(checkpoint_restore(c, &m, &err), -ERR_DAMAGED);
    assert_int_equal(m.writes, 0);
    checkpoint_close(c);
}

static void test_paths(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "42-a1",
                                      "checkpoints/42",
                                      "checkpoints/../42-a1",
                                      "checkpoints/042-a1",
                                      "checkpoints/42-a1/",
                                      "checkpoints/-42-a1",
                                      "/checkpoints/42-a1",
                                      "checkpoints/99999999999999999999-a1"};
    struct checkpoint *c;
    struct err err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(checkpoint_open(run, bad[i], &c, &err), -ERR_INVALID);
    assert_int_equal(checkpoint_open(run, "checkpoints/41-a1", &c, &err), -ERR_NOT_FOUND);
    /* A checkpoint under another step's name is refused too. */
    char from[PATH_SIZE + 64], to[PATH_SIZE + 64];
    snprintf(from, sizeof from, "%s/checkpoints/42-a1", run);
    snprintf(to, sizeof to, "%s/checkpoints/41-a1", run);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(checkpoint_open(run, "checkpoints/41-a1", &c, &err), -ERR_DAMAGED);
}

static void test_failures_leave_nothing(void **state)
{
    (void)state;
    struct model m;
    make_model(&m);
    struct checkpoint_state s = make_state();
    struct journal_checkpoint r = {.step = -1};
    struct err err;
    fake_journal_fails = 1;
    s.step = 50;
    assert_int_equal(checkpoint_write(run, 1, &s, &m, NULL, &r, &err), -ERR_IO);
    assert_int_equal(count_entries("checkpoints"), 1);
    assert_int_equal(r.step, -1);

    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    for (rlim_t limit = 0; limit <= 500; limit += 100) {
        small = (struct rlimit){.rlim_cur = limit, .rlim_max = old.rlim_max};
        setrlimit(RLIMIT_FSIZE, &small);
        int rc = checkpoint_write(run, 1, &s, &m, NULL, &r, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(rc, -ERR_NO_SPACE);
        assert_int_equal(count_entries("checkpoints"), 1);
    }
    assert_int_equal(checkpoint_write(run, 1, &s, &m, NULL, &r, &err), 0);
    assert_int_equal(count_entries("checkpoints"), 2);
}

/* A run whose directory was deleted or moved away does not make it again. */
static void test_vanished_run(void **state)
{
    (void)state;
    struct model m;
    make_model(&m);
    struct checkpoint_state s = make_state();
    struct journal_checkpoint r;
    struct err err;
    char gone[PATH_SIZE + 8];
    snprintf(gone, sizeof gone, "%s/gone", run);
    assert_true(checkpoint_write(gone, 1, &s, &m, NULL, &r, &err) < 0);
    assert_false(file_exists(gone));
}

static void test_leftovers(void **state)
{
    (void)state;
    struct err err;
    static const char *const names[] = {".tmp-7-a1", ".tmp-7-a11", ".tmp-8-a2"};
    for (size_t i = 0; i < 3; i++) {
        char path[PATH_SIZE + 64];
        snprintf(path, sizeof path, "%s/checkpoints/%s", run, names[i]);
        assert_int_equal(file_make_dirs(path, 0755, &err), 0);
    }
    assert_int_equal(checkpoint_remove_leftovers(run, 1, &err), 0);
    assert_int_equal(count_entries("checkpoints"), 3); /* 42-a1 and those of other attempts */
    assert_int_equal(checkpoint_remove_leftovers("/nonexistent", 1, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record_and_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flipped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overwritten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
        cmocka_unit_test_setup_teardown(test_paths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures_leave_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vanished_run, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leftovers, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
