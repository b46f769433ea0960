/* bench_tokenize: a text through a tokenizer, from memory, nothing written. Prints one JSON object.
 *
 *     bench_tokenize TOKENIZER.json TEXT [THREADS [ROUNDS]]
 *
 * mb_s is 10^6 bytes a second of wall-clock, mb_cpu_s of processor time of all threads together, both of the fastest
 * round (default: 3 rounds, the first of which fills the caches of words).
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "text/tokenizer.h"

static struct err err;

static void check(int rc)
{
    if (rc) {
        fprintf(stderr, "bench_tokenize: %s\n", err.message);
        exit(1);
    }
}

static int count(void *arg, const int32_t *ids, size_t n, uint64_t text_bytes, bool last, struct err *e)
{
    (void)ids, (void)text_bytes, (void)last, (void)e;
    *(uint64_t *)arg += n;
    return 0;
}

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_tokenize TOKENIZER.json TEXT [THREADS [ROUNDS]]\n");
        return 2;
    }
    int threads = argc > 3 ? atoi(argv[3]) : 1, rounds = argc > 4 ? atoi(argv[4]) : 3;
    struct tokenizer *t;
    char *text;
    size_t size;
    check(file_read_all(argv[2], SIZE_MAX / 2, &text, &size, &err));
    int64_t begin_us = clock_monotonic_us();
    check(tokenizer_open(argv[1], threads, &t, &err));
    double open_s = (double)(clock_monotonic_us() - begin_us) / 1e6, best_s = 0, best_cpu_s = 0;
    uint64_t tokens = 0;
    for (int i = 0; i < rounds; i++) {
        double cpu = cpu_s();
        tokens = 0;
        begin_us = clock_monotonic_us();
        check(tokenizer_feed(t, (unsigned char *)text, size, count, &tokens, &err));
        check(tokenizer_end_document(t, count, &tokens, &err));
        check(tokenizer_flush(t, count, &tokens, &err));
        double seconds = (double)(clock_monotonic_us() - begin_us) / 1e6;
        cpu = cpu_s() - cpu;
        if (i == 0 || seconds < best_s)
            best_s = seconds;
        if (i == 0 || cpu < best_cpu_s)
            best_cpu_s = cpu;
    }
    printf("{\"bytes\":%zu,\"tokens\":%llu,\"threads\":%d,\"open_s\":%.3f,\"mb_s\":%.1f,\"mb_cpu_s\":%.1f}\n", size,
           (unsigned long long)tokens, threads, open_s, (double)size / best_s / 1e6, (double)size / best_cpu_s / 1e6);
    tokenizer_close(t);
    free(text);
    return 0;
}
