/* bench_ingest: journals into the store, and out of it again. Prints one JSON object.
 *
 *     bench_ingest [--steps N] [--dir DIR]
 *
 * Writes a journal of N steps (default 1,000,000) to DIR (default: a new directory under $TMPDIR or /tmp), ingests it
 * twice, into two runs, in the daemon's way (reads of INGEST_BUFFER_BYTES, a synced transaction each, reader attached),
 * then loads what compare needs of both from a reader's connection, pages through a list of 10,000 runs, and follows a
 * live run with one step a transaction. Rates are of one thread; times are wall-clock.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/path.h"
#include "daemon/ingest.h"
#include "daemon/store_attempt.h"
#include "daemon/store_curve.h"

static struct err err;

static void check(int rc)
{
    if (rc) {
        fprintf(stderr, "bench_ingest: %s\n", err.message);
        exit(1);
    }
}

static double since_s(int64_t start_us)
{
    return (double)(clock_monotonic_us() - start_us) / 1e6;
}

static int64_t write_journal(const char *path, int64_t steps)
{
    char line[JOURNAL_LINE_MAX];
    FILE *f = fopen(path, "w");
    if (!f)
        check(err_set_errno(&err, errno, "cannot write %s", path));
    struct journal_record r = {.kind = JOURNAL_START};
    r.start = (struct journal_start){.attempt = 1,
                                     .threads = 1,
                                     .micro_batch = 8,
                                     .params = 1573376,
                                     .tokens_per_epoch = steps * 1024 / 3,
                                     .steps_per_epoch = steps / 3,
                                     .total_steps = steps,
                                     .memory_bytes = 1 << 20,
                                     .pid = 1,
                                     .time_ms = 1};
    memset(r.start.numerics_id, 'a', SHA256_HEX_SIZE - 1);
    memset(r.start.spec_hash, 'b', SHA256_HEX_SIZE - 1);
    memset(r.start.data_hash, 'c', SHA256_HEX_SIZE - 1);
    strcpy(r.start.build, "bench");
    strcpy(r.start.backend, "cpu");
    strcpy(r.start.device, "cpu-bench");
    fwrite(line, 1, journal_print(&r, line), f);
    for (int64_t s = 1; s <= steps; s++) {
        double x = (double)s;
        r = (struct journal_record){.kind = JOURNAL_STEP};
        r.step = (struct journal_step){.step = s,
                                       .tokens = s * 1024,
                                       .epoch = x * 3 / (double)steps,
                                       .loss = 5.545 / (1 + x * 1e-4) + 0.1 * sin(x),
                                       .lr = 1e-3 * cos(x / (double)steps),
                                       .grad_norm = 1 + 0.3 * sin(0.7 * x),
                                       .ms = 61.2 + 0.1 * sin(3 * x),
                                       .tok_s = 16732.0 + 10 * cos(x)};
        fwrite(line, 1, journal_print(&r, line), f);
    }
    int64_t size = ftell(f);
    if (fclose(f))
        check(err_set_errno(&err, errno, "cannot write %s", path));
    return size;
}

static int64_t make_run(struct store_conn *c, const char *name)
{
    struct store_new_run r = {.name = name,
                              .spec = "{}",
                              .spec_hash = "",
                              .data = "d",
                              .cpus = 1,
                              .total_steps = STORE_UNKNOWN,
                              .params = STORE_UNKNOWN};
    int64_t id, n;
    bool repeated;
    check(store_begin(c, &err));
    check(store_submit(c, NULL, &r, 1, NULL, 0, 1, &id, &repeated, &err));
    check(store_attempt_claim(c, id, "", 0, 0, 1, &n, &err));
    check(store_commit(c, &err));
    return id;
}

static double ingest_file(struct store_conn *c, const char *path, int64_t run)
{
    char *buffer = malloc(INGEST_BUFFER_BYTES);
    struct ingest *g = ingest_create(run, 1);
    struct ingest_news news = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int64_t start = clock_monotonic_us();
    for (;;) {
        ssize_t got = pread(fd, buffer, INGEST_BUFFER_BYTES, news.offset);
        if (got <= 0)
            break;
        check(store_begin(c, &err));
        check(ingest_feed(c, g, news.offset, buffer, (size_t)got, 1, &news, &err));
        check(store_commit(c, &err));
        if (news.damaged)
            check(err_set(&err, ERR_DAMAGED, "the journal is damaged"));
    }
    double seconds = since_s(start);
    close(fd);
    ingest_destroy(g);
    free(buffer);
    return seconds;
}

static double load_both(struct store_conn *c, const int64_t runs[2], int64_t steps)
{
    int64_t start = clock_monotonic_us();
    struct store_curve v[2];
    for (int i = 0; i < 2; i++) {
        check(store_curve_load(c, runs[i], 0, INT64_MAX, 0, COLUMNS_COMPARE, &v[i], &err));
        if ((int64_t)v[i].n != steps)
            check(err_set(&err, ERR_INTERNAL, "%zu steps came back, not %lld", v[i].n, (long long)steps));
    }
    double seconds = since_s(start);
    store_curve_finish(&v[0]);
    store_curve_finish(&v[1]);
    return seconds;
}

static double list_page(struct store_conn *writer, struct store_conn *reader, double *all)
{
    enum { RUNS = 10000 };
    char spec[2000];
    memset(spec, ' ', sizeof spec);
    spec[sizeof spec - 1] = '\0';
    struct store_new_run r = {.name = "listed",
                              .spec = spec,
                              .spec_hash = "",
                              .data = "d",
                              .cpus = 1,
                              .total_steps = STORE_UNKNOWN,
                              .params = STORE_UNKNOWN};
    const char *const tags[] = {"one", "two"};
    check(store_begin(writer, &err));
    for (int i = 0; i < RUNS; i++) {
        int64_t id;
        bool repeated;
        check(store_submit(writer, NULL, &r, 1, tags, 2, 1, &id, &repeated, &err));
    }
    check(store_commit(writer, &err));
    struct store_filter f = {.limit = STORE_PAGE_MAX};
    double first = 0;
    int64_t start = clock_monotonic_us();
    do {
        struct store_run *rows;
        size_t n;
        check(store_run_list(reader, &f, &rows, &n, &f.after, &err));
        store_runs_free(rows, n);
        if (first == 0)
            first = since_s(start);
    } while (f.after);
    *all = since_s(start);
    return first;
}

static double follow(struct store_conn *c, int64_t run, int count)
{
    char line[JOURNAL_LINE_MAX];
    struct ingest *g = ingest_create(run, 1);
    struct ingest_news news = {0};
    int64_t start = clock_monotonic_us();
    for (int s = 1; s <= count; s++) {
        struct journal_record r = {.kind = JOURNAL_STEP,
                                   .step = {.step = s, .tokens = s, .loss = 1, .ms = 1, .tok_s = 1}};
        size_t size = journal_print(&r, line);
        check(store_begin(c, &err));
        check(ingest_feed(c, g, news.offset, line, size, 1, &news, &err));
        check(store_commit(c, &err));
    }
    ingest_destroy(g);
    return since_s(start) / count;
}

int main(int argc, char **argv)
{
    int64_t steps = 1000000, runs[2];
    char dir[PATH_SIZE], journal[PATH_SIZE], db[PATH_SIZE];
    const char *tmp = getenv("TMPDIR"), *given = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--steps") == 0)
            steps = strtoll(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--dir") == 0)
            given = argv[i + 1];
    }
    check(path_format(dir, &err, "%s/baka-bench-XXXXXX", given ? given : tmp && *tmp ? tmp : "/tmp"));
    if (steps < 100 || !mkdtemp(dir)) {
        fprintf(stderr, "usage: bench_ingest [--steps N (at least 100)] [--dir DIR]\n");
        return 2;
    }
    check(path_format(journal, &err, "%s/journal", dir));
    check(path_format(db, &err, "%s/baka.db", dir));
    int64_t bytes = write_journal(journal, steps);

    struct store_conn *writer, *reader;
    check(store_conn_open(db, STORE_WRITER, &writer, &err));
    check(store_conn_open(db, STORE_READER, &reader, &err));
    double ingest_s[2], load_s[3], all_s;
    for (int i = 0; i < 2; i++) {
        runs[i] = make_run(writer, "bench");
        ingest_s[i] = ingest_file(writer, journal, runs[i]);
    }
    for (int i = 0; i < 3; i++)
        load_s[i] = load_both(reader, runs, steps);
    double page_s = list_page(writer, reader, &all_s);
    double step_s = follow(writer, make_run(writer, "live"), 2000);
    printf("{\"steps\":%lld,\"journal_bytes\":%lld,\"ingest_steps_per_s\":[%.0f,%.0f],"
           "\"load_two_runs_ms\":[%.2f,%.2f,%.2f],\"list_page_of_200_ms\":%.3f,\"list_10000_ms\":%.2f,"
           "\"one_step_transaction_us\":%.1f}\n",
           (long long)steps, (long long)bytes, (double)steps / ingest_s[0], (double)steps / ingest_s[1],
           load_s[0] * 1e3, load_s[1] * 1e3, load_s[2] * 1e3, page_s * 1e3, all_s * 1e3, step_s * 1e6);
    store_conn_close(reader);
    store_conn_close(writer);
    check(file_remove_tree(dir, &err));
    return 0;
}
