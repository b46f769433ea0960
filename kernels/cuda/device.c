/* device.c: opens and closes the CUDA backend and owns its memory. libbaka_cuda.so exports cuda_backend_ops alone.
 *
 * The driver's first GPU is taken: CUDA_VISIBLE_DEVICES says which that is. All memory is asked for at opening
 * (workspace) and by arena(); nothing is allocated on the GPU afterwards.
 */
#include "kernels/cuda/device.h"

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cuda/backend.h"
#include "kernels/cuda/gemm_tune.h"
#include "kernels/cuda/peak.h"
#include "kernels/cuda/table.h"

enum { ALIGNMENT = 256, GEMM_WORKSPACE = 32 << 20 /* a lane's */ };

bool cuda_ok(struct cuda_backend *c, cudaError_t code, const char *what)
{
    if (code == cudaSuccess)
        return true;
    if (!c->failed) {
        char text[256];
        snprintf(text, sizeof text, "%s: %s (%s)", what, cudaGetErrorString(code), cudaGetErrorName(code));
        cuda_fail(&c->base, code == cudaErrorMemoryAllocation ? ERR_NO_MEMORY : ERR_IO, c->operator_name, text);
    }
    return false;
}

void cuda_fail(struct backend *b, enum err_code code, const char *operator_name, const char *text)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    if (c->failed)
        return;
    c->failed = true;
    err_set(&c->error, code, "%s at step %lld: %s", operator_name, (long long)c->step, text);
}

void cuda_check(struct backend *b, const char *operator_name)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    c->operator_name = operator_name;
    cuda_ok(c, cudaGetLastError(), "launch");
}

cudaStream_t cuda_stream(struct backend *b)
{
    const struct cuda_backend *c = (const struct cuda_backend *)b;
    return c->lanes[c->branch][c->lane];
}

/* `other` waits for what `stream` has to do now. */
static void follow(struct cuda_backend *c, cudaStream_t other, cudaStream_t stream, cudaEvent_t event, const char *what)
{
    cuda_ok(c, cudaEventRecord(event, stream), what);
    cuda_ok(c, cudaStreamWaitEvent(other, event, 0), what);
}

void cuda_lanes_fork(struct backend *b)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    cudaStream_t *lanes = c->lanes[c->branch];
    cuda_ok(c, cudaEventRecord(c->forked[c->branch], lanes[0]), "fork");
    for (int i = 1; i < CUDA_LANES; i++)
        cuda_ok(c, cudaStreamWaitEvent(lanes[i], c->forked[c->branch], 0), "fork");
}

void cuda_lane(struct backend *b, int lane)
{
    ((struct cuda_backend *)b)->lane = lane;
}

int cuda_gemm_lane(const struct backend *b)
{
    const struct cuda_backend *c = (const struct cuda_backend *)b;
    return c->branch * CUDA_GEMM_LANES + c->lane;
}

/* After an error too: a capture must end with all its streams joined. */
void cuda_lanes_join(struct backend *b)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    c->lane = 0;
    for (int i = 1; i < CUDA_LANES; i++)
        follow(c, c->lanes[c->branch][0], c->lanes[c->branch][i], c->joined[c->branch][i], "join");
}

/* The branch that comes first takes the lanes and the workspace that are there for it; what was enqueued so far comes
 * before both. */
void cuda_branches_begin(struct backend *b)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    if (c->scratch_bytes[1] == 0)
        return;
    follow(c, c->lanes[1][0], c->stream, c->forked[0], "branches");
    c->branch = 1;
}

void cuda_branches_next(struct backend *b)
{
    ((struct cuda_backend *)b)->branch = 0;
}

void cuda_branches_end(struct backend *b)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    if (c->scratch_bytes[1] > 0)
        follow(c, c->stream, c->lanes[1][0], c->joined[1][0], "branches");
}

bool cuda_failed(const struct backend *b)
{
    return ((const struct cuda_backend *)b)->failed;
}

void *cuda_workspace(struct backend *b, size_t bytes)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    const size_t there = c->scratch_bytes[c->branch];
    if (bytes <= there)
        return c->scratch[c->branch];
    char text[128];
    snprintf(text, sizeof text, "this shape needs %zu bytes of workspace, there are %zu", bytes, there);
    cuda_fail(b, ERR_TOO_LARGE, c->operator_name, text);
    return NULL;
}

void *cuda_keep(struct backend *b, uint64_t key, size_t bytes, bool *fresh)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    *fresh = c->kept_bytes == 0;
    if (*fresh && bytes > 0 && bytes <= CUDA_KEPT_BYTES) {
        c->kept_key = key;
        c->kept_bytes = bytes;
    }
    return c->kept_bytes >= bytes && c->kept_key == key ? c->scratch[0] - CUDA_KEPT_BYTES : NULL;
}

size_t cuda_workspace_size(const struct backend *b)
{
    const struct cuda_backend *c = (const struct cuda_backend *)b;
    return c->scratch_bytes[c->branch];
}

const struct cuda_step_values *cuda_values(struct backend *b)
{
    return ((struct cuda_backend *)b)->values;
}

int cuda_multiprocessors(const struct backend *b)
{
    return ((const struct cuda_backend *)b)->multiprocessors;
}

int cuda_compute_capability(const struct backend *b)
{
    return ((const struct cuda_backend *)b)->capability;
}

struct cuda_gemm_state *cuda_gemms(struct backend *b)
{
    return ((struct cuda_backend *)b)->gemms;
}

static const char *device_kind(const struct backend *b)
{
    return ((const struct cuda_backend *)b)->kind;
}

static const char *library_versions(const struct backend *b)
{
    return ((const struct cuda_backend *)b)->libraries;
}

static double peak_flops(const struct backend *b)
{
    return ((const struct cuda_backend *)b)->peak_flops;
}

static bool health(struct backend *b, struct gpu_health *out)
{
    return cuda_health_sample(&((struct cuda_backend *)b)->health, out);
}

static int arena(struct backend *b, size_t bytes, void **base, struct err *err)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    size_t available = 0, total = 0;
    void *p = NULL;
    if (c->arena)
        return err_set(err, ERR_CONFLICT, "the backend has its arena already");
    cudaError_t rc = cudaMalloc(&p, bytes ? bytes : ALIGNMENT);
    if (rc == cudaErrorMemoryAllocation) {
        cudaMemGetInfo(&available, &total);
        cudaGetLastError(); /* not sticky: the run may wait or be made smaller */
        return err_set(err, ERR_NO_MEMORY, "the GPU has %.1f MiB free of %.1f, the arena needs %.1f",
                       (double)available / 0x1p20, (double)total / 0x1p20, (double)bytes / 0x1p20);
    }
    if (rc == cudaSuccess)
        rc = cudaMemsetAsync(p, 0, bytes, c->stream);
    if (rc != cudaSuccess) {
        cudaFree(p);
        return err_set(err, ERR_IO, "the arena: %s", cudaGetErrorString(rc));
    }
    c->arena = p;
    *base = p;
    return 0;
}

static void cuda_close(struct backend *b)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    if (!c)
        return;
    if (c->stream)
        cudaStreamSynchronize(c->stream);
    cuda_health_close(&c->health);
    cuda_steps_finish(&c->steps);
    cuda_gemm_destroy(c->gemms);
    cudaFree(c->arena);
    cudaFree(c->workspace);
    for (int i = 0; i < CUDA_BRANCHES * CUDA_LANES; i++) {
        const int branch = i / CUDA_LANES, lane = i % CUDA_LANES;
        if (c->lanes[branch][lane])
            cudaStreamDestroy(c->lanes[branch][lane]);
        if (c->joined[branch][lane])
            cudaEventDestroy(c->joined[branch][lane]);
        if (lane == 0 && c->forked[branch])
            cudaEventDestroy(c->forked[branch]);
    }
    free(c);
}

/* The name that the linker gave this plug-in by its content: with it in the numerics id, other kernels are another id.
 */
struct build_id {
    char hex[41];
};

static int find_build_id(struct dl_phdr_info *info, size_t size, void *out)
{
    (void)size;
    const char *here = (const char *)&find_build_id;
    bool ours = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        const char *begin = (const char *)info->dlpi_addr + h->p_vaddr;
        ours = ours || (h->p_type == PT_LOAD && here >= begin && here < begin + h->p_memsz);
    }
    for (int i = 0; ours && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        const unsigned char *at = (const unsigned char *)info->dlpi_addr + h->p_vaddr, *end = at + h->p_memsz;
        while (h->p_type == PT_NOTE && at + sizeof(ElfW(Nhdr)) <= end) {
            ElfW(Nhdr) note;
            memcpy(&note, at, sizeof note);
            const unsigned char *name = at + sizeof note, *content = name + (note.n_namesz + 3) / 4 * 4;
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(name, "GNU", 4) == 0) {
                struct build_id *id = out;
                for (unsigned j = 0; j < note.n_descsz && j < 20; j++)
                    snprintf(id->hex + 2 * j, 3, "%02x", content[j]);
                return 1;
            }
            at = content + (note.n_descsz + 3) / 4 * 4;
        }
    }
    return ours;
}

static int find_device(struct cudaDeviceProp *properties, struct err *err)
{
    int count = 0, driver = 0, runtime = 0;
    cudaError_t rc = cudaGetDeviceCount(&count);
    if (rc == cudaErrorInsufficientDriver || rc == cudaErrorNoDevice || (rc == cudaSuccess && count == 0)) {
        cudaGetLastError();
        cudaDriverGetVersion(&driver);
        cudaRuntimeGetVersion(&runtime);
        if (rc == cudaErrorInsufficientDriver && driver > 0)
            return err_set(err, ERR_UNAVAILABLE, "no GPU: the driver speaks CUDA %d.%d, this build needs %d.%d",
                           driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
        return err_set(err, ERR_UNAVAILABLE, "no GPU: %s",
                       rc == cudaErrorInsufficientDriver ? "no NVIDIA driver is loaded" : "the driver shows none");
    }
    if (rc == cudaSuccess)
        rc = cudaGetDeviceProperties(properties, 0);
    if (rc != cudaSuccess)
        return err_set(err, ERR_UNAVAILABLE, "no GPU: %s", cudaGetErrorString(rc));
    if (properties->major < 8)
        return err_set(err, ERR_UNAVAILABLE,
                       "no GPU that serves: %s has compute capability %d.%d, at least 8.0 is needed", properties->name,
                       properties->major, properties->minor);
    return 0;
}

static int cuda_probe(struct backend_device *out, struct err *err)
{
    struct cudaDeviceProp properties;
    int rc = find_device(&properties, err);
    if (rc != 0)
        return rc;
    *out = (struct backend_device){.memory_bytes = properties.totalGlobalMem};
    snprintf(out->kind, sizeof out->kind, "%.127s", properties.name);
    return 0;
}

static int take_memory(struct cuda_backend *c, const struct backend_options *options, struct err *err)
{
    const size_t gemms = (size_t)CUDA_GEMM_LANES * GEMM_WORKSPACE, all = options->workspace_bytes;
    const size_t branch = options->branch_bytes > gemms ? (options->branch_bytes - gemms) / ALIGNMENT * ALIGNMENT : 0;
    const size_t before = gemms + (branch > 0 ? gemms : 0) + CUDA_KEPT_BYTES, least = before + branch + 2 * ALIGNMENT;
    if (all < least)
        return err_set(err, ERR_INVALID, "the cuda backend needs %zu bytes of workspace, got %zu", least, all);
    cudaError_t rc = cudaMalloc((void **)&c->workspace, all);
    if (rc != cudaSuccess)
        return err_set(err, rc == cudaErrorMemoryAllocation ? ERR_NO_MEMORY : ERR_UNAVAILABLE,
                       "%.1f MiB of workspace are not to be had on the GPU: %s", (double)all / 0x1p20,
                       cudaGetErrorString(rc));
    c->scratch[0] = c->workspace + before;
    c->scratch_bytes[0] = (all - before - branch - ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    c->scratch[1] = c->scratch[0] + c->scratch_bytes[0];
    c->scratch_bytes[1] = branch;
    c->values = (struct cuda_step_values *)(void *)(c->scratch[1] + branch);
    return cuda_gemm_create(c->workspace, GEMM_WORKSPACE, &c->gemms, err);
}

static cudaError_t make_lanes(struct cuda_backend *c)
{
    cudaError_t rc = cudaSuccess;
    for (int i = 0; i < CUDA_BRANCHES * CUDA_LANES && rc == cudaSuccess; i++) {
        const int branch = i / CUDA_LANES, lane = i % CUDA_LANES;
        rc = cudaStreamCreateWithFlags(&c->lanes[branch][lane], cudaStreamNonBlocking);
        if (rc == cudaSuccess)
            rc = cudaEventCreateWithFlags(&c->joined[branch][lane], cudaEventDisableTiming);
        if (rc == cudaSuccess && lane == 0)
            rc = cudaEventCreateWithFlags(&c->forked[branch], cudaEventDisableTiming);
    }
    c->stream = c->lanes[0][0];
    return rc;
}

/* What is known of the GPU beside its name; nothing of it can fail the opening. */
static void describe(struct cuda_backend *c, const struct cudaDeviceProp *properties)
{
    char pci_bus_id[32];
    int clock_khz = 0;
    c->multiprocessors = properties->multiProcessorCount;
    c->capability = 10 * properties->major + properties->minor;
    snprintf(c->kind, sizeof c->kind, "%.127s", properties->name);
    if (cudaDeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, 0) == cudaSuccess)
        c->peak_flops =
            cuda_peak_flops(c->kind, c->capability, c->multiprocessors, clock_khz, c->base.storage == DTYPE_BF16);
    if (cudaDeviceGetPCIBusId(pci_bus_id, sizeof pci_bus_id, 0) == cudaSuccess)
        cuda_health_open(&c->health, pci_bus_id);
    cudaGetLastError();
}

static int set_up(struct cuda_backend *c, const struct backend_options *options, struct err *err)
{
    struct cudaDeviceProp properties;
    int rc = find_device(&properties, err);
    if (rc != 0)
        return rc;
    cudaError_t started = cudaSetDevice(0);
    if (started == cudaSuccess)
        started = make_lanes(c);
    if (started != cudaSuccess)
        return err_set(err, started == cudaErrorMemoryAllocation ? ERR_NO_MEMORY : ERR_UNAVAILABLE,
                       "%s does not start: %s", properties.name, cudaGetErrorString(started));
    describe(c, &properties);
    rc = take_memory(c, options, err);
    if (rc == 0)
        rc = cuda_steps_init(&c->steps, err);
    if (rc != 0)
        return rc;
    int runtime = 0;
    struct build_id id = {"unknown"};
    cudaRuntimeGetVersion(&runtime);
    dl_iterate_phdr(find_build_id, &id);
    snprintf(c->libraries, sizeof c->libraries, "cuda %d.%d, %s, kernels %.16s", runtime / 1000, runtime % 1000 / 10,
             cuda_gemm_versions(c->gemms), id.hex);
    return 0;
}

static int tune(struct backend *b, const char *path, void (*report)(void *context, const char *line), void *context,
                struct err *err)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    int rc = cuda_sync(b, err);
    return rc ? rc : cuda_gemm_tune(c->gemms, c->stream, path, report, context, err);
}

static int cuda_open(const struct backend_options *options, struct backend **out, struct err *err)
{
    if (options->storage != DTYPE_BF16 && options->storage != DTYPE_F32)
        return err_set(err, ERR_INVALID, "the cuda backend computes in bf16 or fp32");
    struct cuda_backend *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, ERR_NO_MEMORY, "no memory for the cuda backend");
    c->operator_name = "open";
    c->base.ops = &c->ops;
    c->base.storage = options->storage;
    c->ops = (struct backend_ops){
        .name = "cuda",
        .close = cuda_close,
        .device_kind = device_kind,
        .library_versions = library_versions,
        .peak_flops = peak_flops,
        .health = health,
        .arena = arena,
        .tune = tune,
    };
    cuda_fill(&c->ops);
    int rc = set_up(c, options, err);
    if (rc != 0) {
        cuda_close(&c->base);
        return rc;
    }
    *out = &c->base;
    return 0;
}

__attribute__((visibility("default")))
const struct backend_ops cuda_backend_ops = {.name = "cuda", .probe = cuda_probe, .open = cuda_open};
/* Of the table that this plug-in was built with. */
__attribute__((visibility("default"))) const size_t cuda_backend_ops_bytes = sizeof(struct backend_ops);
