/* test_ops.c: every operator of a backend against the double precision reference, on fresh random inputs, outside
 * steps and inside, eager, captured and replayed. Plain C: it runs on machines that have nothing but a GPU. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "tests/cuda/ops.h"

enum { SKIPPED = 77, OPERATORS = 64 };

struct summary {
    const char *operator_name;
    double distance, worst, seconds;
};

struct results {
    const char *backend, *storage;
    bool verbose;
    int64_t passed, failed;
    uint64_t seed;
    struct summary of[OPERATORS];
    cJSON *failures, *operators;
};

static void check(struct ops_case *c, void *arg)
{
    struct results *r = arg;
    struct ops_verdict v;
    int64_t begin = clock_monotonic_us();
    ops_check(c, r->backend, &v);
    int64_t taken = clock_monotonic_us() - begin;
    struct summary *s = r->of;
    while (s->operator_name && strcmp(s->operator_name, c->operator_name) != 0)
        s++;
    if (s == &r->of[OPERATORS - 1]) { /* the end of the list */
        fprintf(stderr, "test_ops: there are more than %d operators\n", OPERATORS - 1);
        abort();
    }
    s->operator_name = c->operator_name;
    s->seconds += (double)taken / 1e6;
    if (v.distance > s->distance)
        s->distance = v.distance;
    if (v.worst > s->worst)
        s->worst = v.worst;
    if (r->verbose && v.ok)
        printf("ok   %s %s: %.2g\n", r->storage, c->name, v.distance);
    if (v.ok) {
        r->passed++;
        return;
    }
    r->failed++;
    printf("FAIL %s %s: %s\n", r->storage, c->name, v.text);
    cJSON *f = cJSON_CreateObject();
    cJSON_AddStringToObject(f, "storage", r->storage);
    cJSON_AddStringToObject(f, "case", c->name);
    cJSON_AddStringToObject(f, "text", v.text);
    cJSON_AddItemToArray(r->failures, f);
}

static void run_storage(struct results *r, enum dtype storage, bool small, const char *only)
{
    struct ops_visitor v = {
        .storage = storage, .small = small, .seed = r->seed, .only = only, .visit = check, .arg = r};
    r->storage = storage == DTYPE_BF16 ? "bf16" : "fp32";
    memset(r->of, 0, sizeof r->of);
    ops_each_dense(&v);
    ops_each_ffn(&v);
    ops_each_attention(&v);
    ops_each_rows(&v);
    ops_each_loss(&v);
    ops_each_optimizer(&v);
    for (struct summary *s = r->of; s->operator_name; s++) {
        printf("     %s %-20s largest error %.2e, %3.0f %% of what is allowed, in %.1f s\n", r->storage,
               s->operator_name, s->distance, 100 * s->worst, s->seconds);
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "storage", r->storage);
        cJSON_AddStringToObject(o, "operator", s->operator_name);
        json_add_double(o, "distance", s->distance);
        json_add_double(o, "share_of_tolerance", s->worst);
        json_add_double(o, "seconds", s->seconds);
        cJSON_AddItemToArray(r->operators, o);
    }
}

static int write_json(const struct results *r, const char *path)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "stage", "ops");
    json_add_int64(json, "passed", r->passed);
    json_add_int64(json, "failed", r->failed);
    json_add_int64(json, "skipped", 0);
    json_add_int64(json, "seed", (int64_t)r->seed);
    cJSON_AddItemToObject(json, "operators", r->operators);
    cJSON_AddItemToObject(json, "failures", r->failures);
    char *text = cJSON_Print(json);
    FILE *f = path ? fopen(path, "w") : NULL;
    bool bad = path && (!f || !text || fputs(text, f) < 0);
    if (f && fclose(f) != 0)
        bad = true;
    free(text);
    cJSON_Delete(json);
    if (bad)
        fprintf(stderr, "test_ops: cannot write %s\n", path);
    return bad;
}

static void usage(FILE *out)
{
    fputs("usage: test_ops [--small] [--storage fp32|bf16] [--only PART] [--seed N] [--json FILE] [--verbose]\n"
          "                [--backend cuda] [--threads N] | --probe\n"
          "\n"
          "  --small    few and tiny shapes, for compute-sanitizer\n"
          "  --only     the cases with PART in their name\n"
          "  --backend  cuda, or cpu to try the test itself\n"
          "  --probe    print the GPU's name and leave\n"
          "\n"
          "Exit status: 0 all good, 1 not, 2 usage, 77 there is no GPU.\n",
          out);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* a run that is cut tells how far it came */
    enum { SMALL = 256, STORAGE, ONLY, SEED, JSON, VERBOSE, BACKEND, THREADS, PROBE };
    static const struct option options[] = {
        {"small", no_argument, NULL, SMALL},
        {"storage", required_argument, NULL, STORAGE},
        {"only", required_argument, NULL, ONLY},
        {"seed", required_argument, NULL, SEED},
        {"json", required_argument, NULL, JSON},
        {"verbose", no_argument, NULL, VERBOSE},
        {"backend", required_argument, NULL, BACKEND},
        {"threads", required_argument, NULL, THREADS},
        {"probe", no_argument, NULL, PROBE},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct results r = {.backend = "cuda", .seed = (uint64_t)clock_wall_ms()};
    const char *storage = NULL, *only = NULL, *json = NULL;
    bool small = false, probe = false;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    ops_threads = cores > 0 && cores < 256 ? (int)cores : 1;
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (c) {
        case SMALL:
            small = true;
            break;
        case STORAGE:
            storage = optarg;
            break;
        case ONLY:
            only = optarg;
            break;
        case SEED:
            r.seed = strtoull(optarg, NULL, 10);
            break;
        case JSON:
            json = optarg;
            break;
        case VERBOSE:
            r.verbose = true;
            break;
        case BACKEND:
            r.backend = optarg;
            break;
        case THREADS:
            ops_threads = atoi(optarg) > 0 ? atoi(optarg) : 1;
            break;
        case PROBE:
            probe = true;
            break;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    struct backend_device device;
    struct err err = {0};
    if (backend_probe(r.backend, &device, &err) != 0) {
        printf("skip: %s\n", err.message);
        return SKIPPED;
    }
    printf("%s, %.0f MiB, seed %llu\n", device.kind, (double)device.memory_bytes / 0x1p20, (unsigned long long)r.seed);
    if (probe)
        return 0;
    r.failures = cJSON_CreateArray();
    r.operators = cJSON_CreateArray();
    if (!storage || strcmp(storage, "fp32") == 0)
        run_storage(&r, DTYPE_F32, small, only);
    if ((!storage && strcmp(r.backend, "cpu") != 0) || (storage && strcmp(storage, "bf16") == 0))
        run_storage(&r, DTYPE_BF16, small, only);
    printf("%lld passed, %lld failed, 0 skipped\n", (long long)r.passed, (long long)r.failed);
    bool unwritten = write_json(&r, json);
    return r.failed > 0 || r.passed == 0 || unwritten;
}
