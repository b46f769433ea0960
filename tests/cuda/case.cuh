/* case.cuh: what tests of the CUDA operators share: the parts of a backend that operators call, device buffers with
 * margins, cases that run twice, and the comparison with a reference. Included by one source of a program. */
#ifndef BAKA_TESTS_CUDA_CASE_CUH
#define BAKA_TESTS_CUDA_CASE_CUH

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>
#include "kernels/cuda/operators.h"
#include "kernels/cuda/pointwise.h"

#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        cudaError_t status_ = (call);                                                                                  \
        if (status_ != cudaSuccess) {                                                                                  \
            printf("%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(status_));                                    \
            exit(2);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The parts of the backend that operators call. */
static struct backend backend;
static cudaStream_t stream;
static void *workspace;
static const size_t WORKSPACE = 32 << 20;
static size_t workspace_most;
static struct cuda_step_values *values;
static int multiprocessors;

cudaStream_t cuda_stream(struct backend *)
{
    return stream;
}
bool cuda_failed(const struct backend *)
{
    return false;
}
void *cuda_workspace(struct backend *b, size_t bytes)
{
    workspace_most = std::max(workspace_most, bytes);
    if (bytes > WORKSPACE)
        cuda_fail(b, ERR_TOO_LARGE, "workspace", "does not fit");
    return workspace;
}
size_t cuda_workspace_size(const struct backend *)
{
    return WORKSPACE;
}
void cuda_check(struct backend *, const char *name)
{
    cudaError_t status = cudaGetLastError();
    if (status == cudaSuccess)
        return;
    printf("%s: %s\n", name, cudaGetErrorString(status));
    exit(2);
}
void cuda_fail(struct backend *, enum err_code, const char *name, const char *text)
{
    printf("%s: %s\n", name, text);
    exit(2);
}
const struct cuda_step_values *cuda_values(struct backend *)
{
    return values;
}
int cuda_multiprocessors(const struct backend *)
{
    return multiprocessors;
}
int cuda_compute_capability(const struct backend *)
{
    return 90;
}

static std::mt19937_64 generator;
static int checks, failures;
typedef std::vector<double> numbers;

static double uniform()
{
    return (double)(generator() >> 11) * 0x1p-53;
}

static numbers normals(size_t n, double scale, double shift)
{
    std::normal_distribution<double> normal(shift, scale);
    numbers x(n);
    for (double &v : x)
        v = normal(generator);
    return x;
}

static uint16_t bf16_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (isnan(x))
        return 0x7fff;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float bf16_value(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* Device memory of one test case, with a margin that must stay untouched. */
struct buffer {
    enum { MARGIN = 256 };
    size_t bytes, skip = 0;
    std::vector<unsigned char> image, seen[2];
    char *base;
    buffer(const void *data, size_t size, size_t skip_bytes = 0) : bytes(size), skip(skip_bytes)
    {
        image.assign(size, 0xff);
        if (data)
            memcpy(image.data(), data, size);
        MUST(cudaMalloc((void **)&base, skip + bytes + MARGIN));
    }
    buffer(const buffer &) = delete;
    ~buffer()
    {
        cudaFree(base);
    }
    void *at() const
    {
        return base + skip;
    }
    void reset()
    {
        MUST(cudaMemset(base, 0xa5, skip + bytes + MARGIN));
        MUST(cudaMemcpy(at(), image.data(), bytes, cudaMemcpyHostToDevice));
    }
    bool fetch(int run) /* false: something wrote before or behind it */
    {
        std::vector<unsigned char> all(skip + bytes + MARGIN);
        MUST(cudaMemcpy(all.data(), base, all.size(), cudaMemcpyDeviceToHost));
        seen[run].assign(all.begin() + (long)skip, all.begin() + (long)(skip + bytes));
        bool clean = true;
        for (size_t i = 0; i < all.size(); i++)
            if ((i < skip || i >= skip + bytes) && all[i] != 0xa5)
                clean = false;
        return clean;
    }
};

/* Numbers in storage or wide; `exact` is what the device sees. */
struct array : buffer {
    bool half;
    numbers exact;
    static std::vector<unsigned char> encode(const numbers &x, bool half)
    {
        std::vector<unsigned char> raw(x.size() * (half ? 2 : 4));
        for (size_t i = 0; i < x.size(); i++) {
            float f = (float)x[i];
            uint16_t h = bf16_bits(f);
            memcpy(raw.data() + i * (half ? 2 : 4), half ? (void *)&h : (void *)&f, half ? 2 : 4);
        }
        return raw;
    }
    array(const numbers &x, bool is_half, size_t skip_bytes = 0)
        : buffer(encode(x, is_half).data(), x.size() * (is_half ? 2 : 4), skip_bytes), half(is_half),
          exact(decode(image))
    {
    }
    array(size_t n, bool is_half) : buffer(NULL, n * (is_half ? 2 : 4)), half(is_half) /* an output */
    {
    }
    numbers decode(const std::vector<unsigned char> &raw) const
    {
        numbers x(raw.size() / (half ? 2 : 4));
        for (size_t i = 0; i < x.size(); i++) {
            if (half) {
                uint16_t h;
                memcpy(&h, raw.data() + 2 * i, 2);
                x[i] = bf16_value(h);
            } else {
                float f;
                memcpy(&f, raw.data() + 4 * i, 4);
                x[i] = f;
            }
        }
        return x;
    }
};

static void report(const std::string &name, double error, double allowed)
{
    bool good = error <= allowed; /* NaN is not */
    checks++;
    failures += !good;
    if (!good || getenv("VERBOSE"))
        printf("%s  %-72s %.3g (allowed %.3g)\n", good ? "PASS" : "FAIL", name.c_str(), error, allowed);
}

static void compare(const std::string &name, const array &a, const numbers &reference)
{
    numbers x = a.decode(a.seen[0]);
    double error = 0, norm = 0;
    for (size_t i = 0; i < x.size(); i++) {
        error += (x[i] - reference[i]) * (x[i] - reference[i]);
        norm += reference[i] * reference[i];
    }
    report(name, sqrt(error) / (norm > 0 ? sqrt(norm) : 1), a.half ? 1e-2 : 1e-5);
}

static void run_twice(const std::string &name, const std::vector<buffer *> &all, const std::function<void()> &operation)
{
    bool equal = true, clean = true;
    for (int run = 0; run < 2; run++) {
        for (buffer *b : all)
            b->reset();
        MUST(cudaMemset(workspace, run ? 0xff : 0x3c, WORKSPACE)); /* nothing may depend on what lay there */
        MUST(cudaDeviceSynchronize());
        operation();
        MUST(cudaStreamSynchronize(stream));
        for (buffer *b : all)
            clean = b->fetch(run) && clean;
    }
    for (buffer *b : all)
        equal = equal && b->seen[0] == b->seen[1];
    report(name + " bits of two runs", equal ? 0 : 1, 0);
    report(name + " margins", clean ? 0 : 1, 0);
}

static std::string text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static std::string text(const char *format, ...)
{
    char line[256];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    return line;
}

#endif
