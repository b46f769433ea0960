/* device.c: opens and closes the CPU backend, owns its memory, and moves bytes.
 *
 * Opening picks the best compiled copy of the operators that this CPU runs, loads oneDNN, makes the workspace, and
 * counts the threads that a parallel region really gets (a limit set from outside is obeyed, results do not change).
 */
#include "kernels/cpu/device.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 256 };
static const size_t PARALLEL_BYTES = 1 << 20; /* smaller blocks are filled by one thread */

void cpu_fail(struct cpu_backend *c, enum err_code code, const char *format, ...)
{
    if (c->failed)
        return;
    char text[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    c->failed = true;
    err_set(&c->error, code, "%s at step %lld: %s", c->operator_name, (long long)c->values.step, text);
}

void *cpu_scratch(struct cpu_backend *c, size_t bytes)
{
    if (bytes <= c->scratch_bytes)
        return c->scratch;
    cpu_fail(c, ERR_TOO_LARGE, "this shape needs %zu bytes of workspace, there are %zu", bytes, c->scratch_bytes);
    return NULL;
}

void *cpu_scratch_slots(struct cpu_backend *c, size_t slot_bytes, int *team)
{
    size_t fit = c->scratch_bytes / slot_bytes;
    *team = fit < (size_t)c->threads ? (int)fit : c->threads;
    return cpu_scratch(c, slot_bytes);
}

static void *allocate(size_t bytes)
{
    size_t whole = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return whole < bytes ? NULL : aligned_alloc(ALIGNMENT, whole ? whole : ALIGNMENT);
}

static void cpu_close(struct backend *b)
{
    struct cpu_backend *c = (struct cpu_backend *)b;
    if (!c)
        return;
    free(c->arena);
    free(c->table);
    free(c);
}

static const char *cpu_device_kind(const struct backend *b)
{
    return ((const struct cpu_backend *)b)->kind;
}

static const char *cpu_library_versions(const struct backend *b)
{
    return ((const struct cpu_backend *)b)->libraries;
}

static void cpu_zero(struct backend *b, void *dst, size_t bytes)
{
    struct cpu_backend *c = (struct cpu_backend *)b;
    if (bytes < PARALLEL_BYTES) {
        memset(dst, 0, bytes);
        return;
    }
    size_t piece = PARALLEL_BYTES / 4, pieces = (bytes + piece - 1) / piece;
#pragma omp parallel for num_threads(c->threads) schedule(static)
    for (size_t i = 0; i < pieces; i++) {
        size_t left = bytes - i * piece;
        memset((char *)dst + i * piece, 0, left < piece ? left : piece);
    }
}

static int cpu_arena(struct backend *b, size_t bytes, void **base, struct err *err)
{
    struct cpu_backend *c = (struct cpu_backend *)b;
    if (c->arena)
        return err_set(err, ERR_CONFLICT, "the backend has its arena already");
    void *p = allocate(bytes);
    if (!p)
        return err_set(err, ERR_NO_MEMORY, "%zu bytes of memory for the run are not to be had", bytes);
    cpu_zero(b, p, bytes);
    c->arena = p;
    c->arena_bytes = bytes;
    *base = p;
    return 0;
}

static void cpu_copy(struct backend *b, void *dst, const void *src, size_t bytes)
{
    (void)b;
    memcpy(dst, src, bytes);
}

static int cpu_sync(struct backend *b, struct err *err)
{
    struct cpu_backend *c = (struct cpu_backend *)b;
    if (!c->failed)
        return 0;
    if (err)
        *err = c->error;
    return -(int)c->error.code;
}

static void cpu_step_begin(struct backend *b, const struct step_values *values)
{
    ((struct cpu_backend *)b)->values = *values;
}

static void cpu_step_end(struct backend *b)
{
    (void)b; /* calls run as they come: nothing is pending */
}

static int cpu_probe(struct backend_device *out, struct err *err)
{
    (void)err;
    const struct cpu_isa *isa = cpu_isas;
    while (!isa->runs_here())
        isa++;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    *out = (struct backend_device){.memory_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0};
    snprintf(out->kind, sizeof out->kind, "%s", isa->kind);
    return 0;
}

int cpu_create(const struct backend_options *options, const char *name, const char *kind,
               void (*fill)(struct backend_ops *ops), struct cpu_backend **out, struct err *err)
{
    if (options->threads < 1)
        return err_set(err, ERR_INVALID, "the cpu backend needs at least one thread, got %d", options->threads);
    struct cpu_backend *c = calloc(1, sizeof *c);
    unsigned char *workspace = allocate(options->workspace_bytes);
    if (!c || !workspace) {
        free(c);
        free(workspace);
        return err_set(err, ERR_NO_MEMORY, "%zu bytes of workspace are not to be had", options->workspace_bytes);
    }
    c->table = workspace;
    c->table_bytes = options->workspace_bytes / 4 / ALIGNMENT * ALIGNMENT;
    c->scratch = workspace + c->table_bytes;
    c->scratch_bytes = options->workspace_bytes - c->table_bytes;
    c->kind = kind;
    c->operator_name = "open";
    c->ops = (struct backend_ops){
        .name = name,
        .close = cpu_close,
        .device_kind = cpu_device_kind,
        .library_versions = cpu_library_versions,
        .arena = cpu_arena,
        .upload = cpu_copy,
        .download = cpu_copy,
        .zero = cpu_zero,
        .sync = cpu_sync,
        .step_begin = cpu_step_begin,
        .step_end = cpu_step_end,
        .step_wait = cpu_sync,
        .steps_in_flight = 1,
    };
    fill(&c->ops);
    backend_fill_composed(&c->ops);
    c->base.ops = &c->ops;
    c->base.storage = options->storage;

    /* With dynamic teams a region may get fewer threads from call to call. */
    omp_set_dynamic(0);
    int got = 1;
#pragma omp parallel num_threads(options->threads)
#pragma omp single
    got = omp_get_num_threads();
    c->threads = got;
    *out = c;
    return 0;
}

int cpu_open_isa(const struct cpu_isa *isa, const struct backend_options *options, struct backend **out,
                 struct err *err)
{
    if (options->storage != DTYPE_F32)
        return err_set(err, ERR_INVALID, "the cpu backend computes in fp32 only");
    cpu_sgemm_fn *sgemm;
    char libraries[64];
    int rc = cpu_load_onednn(&sgemm, libraries, sizeof libraries, err);
    if (rc)
        return rc;
    struct cpu_backend *c;
    rc = cpu_create(options, "cpu", isa->kind, isa->fill, &c, err);
    if (rc)
        return rc;
    c->sgemm = sgemm;
    memcpy(c->libraries, libraries, sizeof libraries);
    *out = &c->base;
    return 0;
}

void cpu_fill_f32(struct backend_ops *ops);
static bool runs_anywhere(void)
{
    return true;
}

#if defined(__x86_64__)
void cpu_fill_f32_avx2(struct backend_ops *ops);
void cpu_fill_f32_avx512(struct backend_ops *ops);

static bool runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}

static bool runs_avx512(void)
{
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

const struct cpu_isa cpu_isas[] = {
#if defined(__x86_64__)
    {"cpu-avx512", cpu_fill_f32_avx512, runs_avx512},
    {"cpu-avx2", cpu_fill_f32_avx2, runs_avx2},
#endif
    {"cpu-generic", cpu_fill_f32, runs_anywhere},
};
const int cpu_isa_count = sizeof cpu_isas / sizeof *cpu_isas;

static int cpu_open(const struct backend_options *options, struct backend **out, struct err *err)
{
    const struct cpu_isa *isa = cpu_isas;
    while (!isa->runs_here())
        isa++;
    return cpu_open_isa(isa, options, out, err);
}

const struct backend_ops cpu_backend_ops = {.name = "cpu", .probe = cpu_probe, .open = cpu_open};
