/* dense_frame.cuh: what test_dense.cu and its times stand on: device functions in place of device.c, an activation in
 * place of activation.cu, buffers between guards, references in double, and verdicts. Included once. */
#ifndef BAKA_TESTS_CUDA_DENSE_FRAME_CUH
#define BAKA_TESTS_CUDA_DENSE_FRAME_CUH

#include "kernels/cuda/gemm_plan.cuh"

#include <cuda_bf16.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <functional>
#include <vector>
#include "kernels/cuda/activation.h"
#include "kernels/cuda/classifier.cuh"
#include "kernels/cuda/column_sum.cuh"
#include "kernels/cuda/gemm_tune.h"
#include "kernels/cuda/operators.h"

struct test_backend {
    struct backend base;
    cudaStream_t stream;
    void *scratch, *gemm_scratch;
    struct cuda_step_values *values;
    struct cuda_gemm_state *gemms;
    bool failed;
};

enum { SCRATCH = 64 << 20, GEMM_SCRATCH = 32 << 20 };

static struct test_backend the_backend;
static struct backend *const B = &the_backend.base;

static void must(cudaError_t rc, const char *what)
{
    if (rc == cudaSuccess)
        return;
    printf("FAIL %s: %s\n", what, cudaGetErrorString(rc));
    exit(1);
}

cudaStream_t cuda_stream(struct backend *)
{
    return the_backend.stream;
}

/* One stream is every lane. */
void cuda_lanes_fork(struct backend *)
{
}

void cuda_lane(struct backend *, int)
{
}

void cuda_lanes_join(struct backend *)
{
}

int cuda_current_lane(const struct backend *)
{
    return 0;
}

bool cuda_failed(const struct backend *)
{
    return the_backend.failed;
}

size_t cuda_workspace_size(const struct backend *)
{
    return SCRATCH;
}

void cuda_fail(struct backend *, enum err_code code, const char *operator_name, const char *text)
{
    if (!the_backend.failed)
        printf("FAIL %s: error %d: %s\n", operator_name, (int)code, text);
    the_backend.failed = true;
}

void *cuda_workspace(struct backend *b, size_t bytes)
{
    if (bytes <= SCRATCH)
        return the_backend.scratch;
    cuda_fail(b, ERR_TOO_LARGE, "workspace", "too small");
    return NULL;
}

void cuda_check(struct backend *b, const char *operator_name)
{
    cudaError_t rc = cudaGetLastError();
    if (rc != cudaSuccess)
        cuda_fail(b, ERR_IO, operator_name, cudaGetErrorString(rc));
}

const struct cuda_step_values *cuda_values(struct backend *)
{
    return the_backend.values;
}

struct cuda_gemm_state *cuda_gemms(struct backend *)
{
    return the_backend.gemms;
}

/* relu2, gated or not, in place of activation.cu: what is tested here is how ffn.cu composes. */
template <typename T> static __global__ void up(int64_t rows, int64_t width, bool gated, const T *pre, T *h)
{
    for (int64_t e = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; e < rows * width; e += gridDim.x * blockDim.x) {
        const T *p = pre + e / width * (gated ? 2 * width : width) + e % width;
        float x = fmaxf((float)*p, 0);
        h[e] = (T)(x * x * (gated ? (float)p[width] : 1.0f));
    }
}

template <typename T> static __global__ void down(int64_t rows, int64_t width, bool gated, T *pre, const T *dh)
{
    for (int64_t e = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; e < rows * width; e += gridDim.x * blockDim.x) {
        T *p = pre + e / width * (gated ? 2 * width : width) + e % width;
        float x = fmaxf((float)*p, 0), u = gated ? (float)p[width] : 1.0f, d = (float)dh[e];
        p[0] = (T)(d * u * 2 * x);
        if (gated)
            p[width] = (T)(d * x * x);
    }
}

extern "C" void cuda_activation_forward(struct backend *b, const struct ffn_up_args *a)
{
    if (cuda_is_bf16(b))
        up<<<256, 256, 0, cuda_stream(b)>>>(a->rows, a->width, a->gated, (const __nv_bfloat16 *)a->pre,
                                            (__nv_bfloat16 *)a->h);
    else
        up<<<256, 256, 0, cuda_stream(b)>>>(a->rows, a->width, a->gated, (const float *)a->pre, (float *)a->h);
}

extern "C" void cuda_activation_backward(struct backend *b, const struct ffn_up_backward_args *a)
{
    if (cuda_is_bf16(b))
        down<<<256, 256, 0, cuda_stream(b)>>>(a->rows, a->width, a->gated, (__nv_bfloat16 *)a->pre,
                                              (const __nv_bfloat16 *)a->dh);
    else
        down<<<256, 256, 0, cuda_stream(b)>>>(a->rows, a->width, a->gated, (float *)a->pre, (const float *)a->dh);
}

extern "C" bool cuda_activation_backward_sums(struct backend *, const struct ffn_up_backward_args *)
{
    return false;
}

enum type { STORE, WIDE, DOUBLE };

static uint64_t random_state = 88172645463325252u;

static double uniform()
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) * 0x1p-53 * 2 - 1;
}

static double as_bf16(double x)
{
    return (double)__bfloat162float(__float2bfloat16((float)x));
}

static double as_stored(double x)
{
    return cuda_is_bf16(B) ? as_bf16(x) : (double)(float)x;
}

static unsigned char *arena;
static size_t arena_used;
enum : size_t { ARENA = (size_t)2 << 30, GUARD = 256 };

/* A matrix on both sides: `x` what the device began with, rounded as it is there; `ref` what it should end as. */
struct buffer {
    enum type type;
    size_t n, width, bytes;
    unsigned char *device;
    std::vector<unsigned char> start, first;
    std::vector<double> x, ref;

    /* shift: elements away from 256-byte alignment. */
    buffer(enum type t, int64_t count, double scale, int shift = 0) : type(t), n((size_t)count), x((size_t)count)
    {
        bool bf16 = t == STORE && cuda_is_bf16(B);
        width = t == DOUBLE ? 8 : bf16 ? 2 : 4;
        bytes = n * width;
        device = arena + arena_used + GUARD + (size_t)shift * width;
        arena_used += (bytes + 2 * GUARD + 64 + 255) / 256 * 256;
        if (arena_used > ARENA) {
            printf("FAIL the test's arena is too small\n");
            exit(1);
        }
        start.resize(bytes);
        for (size_t i = 0; i < n; i++) {
            double v = scale * uniform();
            x[i] = bf16 ? as_bf16(v) : t == DOUBLE ? v : (double)(float)v;
            put(i, x[i]);
        }
        ref = x;
    }

    void put(size_t i, double v)
    {
        if (width == 2) {
            __nv_bfloat16 r = __float2bfloat16((float)v);
            memcpy(&start[i * 2], &r, 2);
        } else if (width == 4) {
            float r = (float)v;
            memcpy(&start[i * 4], &r, 4);
        } else {
            memcpy(&start[i * 8], &v, 8);
        }
    }

    /* An output that is overwritten: all bits set is a NaN in every type. */
    void poison()
    {
        memset(start.data(), 0xff, bytes);
    }

    void send()
    {
        must(cudaMemset(device - GUARD, 0xab, GUARD), "guard");
        must(cudaMemset(device + bytes, 0xab, GUARD), "guard");
        must(cudaMemcpy(device, start.data(), bytes, cudaMemcpyHostToDevice), "upload");
    }

    static double value(const std::vector<unsigned char> &from, size_t width, size_t i)
    {
        if (width == 2) {
            __nv_bfloat16 r;
            memcpy(&r, &from[i * 2], 2);
            return (double)__bfloat162float(r);
        }
        if (width == 4) {
            float r;
            memcpy(&r, &from[i * 4], 4);
            return (double)r;
        }
        double r;
        memcpy(&r, &from[i * 8], 8);
        return r;
    }

    std::vector<unsigned char> fetch()
    {
        std::vector<unsigned char> all(bytes + 2 * GUARD), out(bytes);
        must(cudaMemcpy(all.data(), device - GUARD, all.size(), cudaMemcpyDeviceToHost), "download");
        for (size_t i = 0; i < GUARD; i++)
            if (all[i] != 0xab || all[GUARD + bytes + i] != 0xab) {
                printf("FAIL written outside a buffer\n");
                the_backend.failed = true;
                break;
            }
        memcpy(out.data(), all.data() + GUARD, bytes);
        return out;
    }

    double relative_error()
    {
        double difference = 0, norm = 0;
        for (size_t i = 0; i < n; i++) {
            double got = value(first, width, i);
            difference += (got - ref[i]) * (got - ref[i]);
            norm += ref[i] * ref[i];
        }
        return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
    }
};

struct group {
    const char *name;
    int cases, bad;
    double worst;
};

static std::vector<struct group> groups;

static void begin(const char *name)
{
    groups.push_back({name, 0, 0, 0});
}

static void verdict(bool good, const char *what, double error)
{
    struct group &g = groups.back();
    g.cases++;
    if (!(error <= g.worst))
        g.worst = error;
    if (good)
        return;
    g.bad++;
    if (g.bad <= 8)
        printf("FAIL %s %s %s: %.3g\n", g.name, cuda_is_bf16(B) ? "bf16" : "fp32", what, error);
}

/* Runs twice from the same start; compares `outputs` with their ref, and the two runs with each other. */
static void check(const char *what, std::vector<struct buffer *> all, std::vector<struct buffer *> outputs,
                  const std::function<void()> &work)
{
    double worst = 0;
    bool same = true;
    for (int run = 0; run < 2 && !the_backend.failed; run++) {
        for (struct buffer *p : all)
            p->send();
        work();
        must(cudaStreamSynchronize(the_backend.stream), what);
        for (struct buffer *p : outputs) {
            std::vector<unsigned char> got = p->fetch();
            if (run == 0)
                p->first = got;
            else
                same = same && got == p->first;
        }
    }
    if (!the_backend.failed)
        for (struct buffer *p : outputs) {
            double limit = cuda_is_bf16(B) ? 1e-2 : 1e-5, e = p->relative_error();
            if (!(e <= worst))
                worst = e;
            if (!(e <= limit))
                same = same && (e <= limit);
        }
    verdict(same && !the_backend.failed, what, worst);
    if (the_backend.failed) {
        the_backend.failed = false;
        must(cudaDeviceSynchronize(), what); /* a broken context ends the test here */
    }
    arena_used = 0;
}

/* c := (c or 0) + op(a) op(b) + bias in double. */
static void multiply(std::vector<double> &c, bool accumulate, bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                     const std::vector<double> &a, int64_t lda, const std::vector<double> &b, int64_t ldb, int64_t ldc,
                     const std::vector<double> *bias)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double s = (accumulate ? c[(size_t)(i * ldc + j)] : 0) + (bias ? (*bias)[(size_t)j] : 0);
            for (int64_t l = 0; l < k; l++)
                s += a[(size_t)(ta ? l * lda + i : i * lda + l)] * b[(size_t)(tb ? j * ldb + l : l * ldb + j)];
            c[(size_t)(i * ldc + j)] = s;
        }
}

static int64_t pick(std::vector<int64_t> from)
{
    return from[(size_t)((uniform() + 1) / 2 * (double)from.size())];
}

static bool coin()
{
    return uniform() > 0;
}

static void print_plans()
{
    int plans = 0, simt = 0, table = 0;
    char text[GEMM_KEY_TEXT];
    for (struct gemm_plan *head : the_backend.gemms->buckets)
        for (struct gemm_plan *p = head; p; p = p->next) {
            plans++;
            table += p->from_table;
            simt += p->simt;
            gemm_key_text(&p->key, text);
            if (p->simt && simt <= 6)
                printf("without cuBLASLt: %s\n", text);
        }
    printf("%d products, %d without cuBLASLt, %d from the table; %s\n", plans, simt, table,
           cuda_gemm_versions(the_backend.gemms));
}

#endif
