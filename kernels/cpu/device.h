/* device.h: the CPU as a device: opening, the choice of instruction set, and what every operator shares.
 *
 * Threads of an operator are an OpenMP team of at most `threads`; results do not depend on how many of them there are.
 * A backend is used from the thread that opened it.
 */
#ifndef BAKA_KERNELS_CPU_DEVICE_H
#define BAKA_KERNELS_CPU_DEVICE_H

#include <stdbool.h>
#include "base/err.h"
#include "kernels/backend.h"

/* oneDNN's row-major product, dnnl.h: C = alpha op(A) op(B) + beta C; returns dnnl_success = 0. */
typedef int cpu_sgemm_fn(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                         int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

struct cpu_backend {
    struct backend base;
    struct backend_ops ops; /* base.ops points here */
    int threads;
    cpu_sgemm_fn *sgemm; /* NULL with F64 storage */
    const char *kind;
    char libraries[64];

    void *arena;
    size_t arena_bytes;
    /* The workspace: the first quarter keeps the rotary table from call to call, the rest is one operator's scratch. */
    unsigned char *table, *scratch;
    size_t table_bytes, scratch_bytes;
    int64_t table_seq, table_dims; /* what the rotary table holds now; 0 rows at first */
    double table_base;

    struct step_values values;
    const char *operator_name; /* the operator that runs now */
    bool failed;
    struct err error; /* the first one, named after operator and step */
};

/* One compiled copy of the operators. */
struct cpu_isa {
    const char *kind; /* "cpu-avx512": enters the numerics id */
    void (*fill)(struct backend_ops *ops);
    bool (*runs_here)(void);
};

/* Best first; the last one runs everywhere. */
extern const struct cpu_isa cpu_isas[];
extern const int cpu_isa_count;

/* Opens with a given copy, for tests that compare them: cpu_backend_ops.open takes the first that runs here.
 * ERR_INVALID for other storage than F32, ERR_UNAVAILABLE without oneDNN, ERR_NO_MEMORY. */
int cpu_open_isa(const struct cpu_isa *isa, const struct backend_options *options, struct backend **out,
                 struct err *err);
/* The parts of opening that do not depend on the storage type. */
int cpu_create(const struct backend_options *options, const char *name, const char *kind,
               void (*fill)(struct backend_ops *ops), struct cpu_backend **out, struct err *err);

extern const struct backend_ops cpu_backend_ops;

/* At the top of each operator: names it; NULL after an earlier error: what would follow has no meaning any more. */
static inline struct cpu_backend *cpu_begin(struct backend *b, const char *operator_name)
{
    struct cpu_backend *c = (struct cpu_backend *)b;
    c->operator_name = operator_name;
    return c->failed ? NULL : c;
}

/* Keeps the first error. Not from inside a parallel region. */
void cpu_fail(struct cpu_backend *c, enum err_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Scratch for one operator call, 256-byte aligned, not cleared; NULL (and a sticky error) when it does not fit. */
void *cpu_scratch(struct cpu_backend *c, size_t bytes);
/* The same as equal slots, one for each thread of a team of *team threads: as many as fit, at most c->threads. */
void *cpu_scratch_slots(struct cpu_backend *c, size_t slot_bytes, int *team);

/* Loads oneDNN: *sgemm and "onednn 2.6.3" in name[size]. ERR_UNAVAILABLE when there is none. */
int cpu_load_onednn(cpu_sgemm_fn **sgemm, char *name, size_t size, struct err *err);

#endif
