/* test_attention.cu: every path of the CUDA attention against double precision on the host, then its speed.
 *
 *   nvcc -std=c++17 -O3 -I. -gencode arch=compute_90a,code=sm_90a tests/cuda/test_attention.cu \
 *       kernels/cuda/attention*.cu kernels/cuda/rotary.cu -o test_attention && ./test_attention [cases|bench]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <algorithm>
#include <vector>
#include <cuda_bf16.h>
#include "kernels/cuda/attention.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operators.h"

static void *workspace;
static size_t workspace_bytes;
static bool failed;

static void check(cudaError_t e, const char *what)
{
    if (e != cudaSuccess) {
        printf("FATAL %s: %s\n", what, cudaGetErrorString(e));
        exit(1);
    }
}

/* The device that attention expects, in place of kernels/cuda/device.c. */
cudaStream_t cuda_stream(struct backend *)
{
    return 0;
}
bool cuda_failed(const struct backend *)
{
    return failed;
}
void *cuda_workspace(struct backend *b, size_t bytes)
{
    if (bytes > workspace_bytes)
        cuda_fail(b, ERR_TOO_LARGE, "workspace", "too small");
    return bytes > workspace_bytes ? nullptr : workspace;
}
void *cuda_keep(struct backend *, uint64_t, size_t, bool *fresh)
{
    *fresh = true;
    return nullptr;
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
int cuda_multiprocessors(const struct backend *)
{
    return 132;
}
void cuda_check(struct backend *, const char *name)
{
    check(cudaGetLastError(), name);
}
void cuda_fail(struct backend *, enum err_code, const char *name, const char *text)
{
    failed = true;
    printf("  error from %s: %s\n", name, text);
}

static uint64_t seed = 1;
static float uniform()
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (float)((double)(seed >> 40) / (1 << 23) - 1.0);
}

struct test_case {
    const char *name;
    bool f32;
    enum attention_algorithm algorithm;
    int batch, heads, dim, seq_q, seq_k;
    bool first, interleaved; /* interleaved: through cuda_attention_forward, with rotary */
    int rotary;
    bool all = false; /* every query sees every key */
};

struct tensor {
    std::vector<float> host;
    void *device;
};

static float rounded(float x, bool f32)
{
    return f32 ? x : __bfloat162float(__float2bfloat16_rn(x));
}

static void upload(tensor &t, bool f32)
{
    std::vector<__nv_bfloat16> half(t.host.size());
    for (size_t i = 0; i < t.host.size(); i++)
        half[i] = __float2bfloat16_rn(t.host[i]);
    size_t bytes = t.host.size() * (f32 ? 4 : 2);
    check(cudaMemcpy(t.device, f32 ? (void *)t.host.data() : (void *)half.data(), bytes, cudaMemcpyHostToDevice), "up");
}

static tensor make(size_t n, bool f32, bool poison)
{
    tensor t = {std::vector<float>(n), nullptr};
    for (float &x : t.host)
        x = poison ? NAN : rounded(uniform(), f32);
    check(cudaMalloc(&t.device, n * 4 + 256), "malloc");
    upload(t, f32);
    return t;
}

static std::vector<float> download(const tensor &t, bool f32)
{
    std::vector<float> r(t.host.size());
    std::vector<__nv_bfloat16> half(t.host.size());
    check(cudaDeviceSynchronize(), "run");
    check(cudaMemcpy(f32 ? (void *)r.data() : (void *)half.data(), t.device, r.size() * (f32 ? 4 : 2),
                     cudaMemcpyDeviceToHost),
          "down");
    for (size_t i = 0; !f32 && i < r.size(); i++)
        r[i] = __bfloat162float(half[i]);
    return r;
}

static int failures;

/* Relative norm; where it is over the tolerance, the first element that is off. */
static bool compare(const char *what, const std::vector<float> &got, const std::vector<double> &want, double tolerance,
                    double *norm)
{
    double error = 0, size = 0, greatest = 0;
    for (size_t i = 0; i < want.size(); i++) {
        double d = got[i] - want[i];
        error += d * d;
        size += want[i] * want[i];
        greatest = std::max(greatest, fabs(want[i]));
    }
    *norm = size > 0 ? sqrt(error / size) : sqrt(error);
    if (*norm <= tolerance)
        return true;
    size_t bad = 0, at = want.size();
    for (size_t i = 0; i < want.size(); i++)
        if (!(fabs(got[i] - want[i]) <= 4 * tolerance * (greatest + 1e-30))) {
            at = std::min(at, i);
            bad++;
        }
    printf("  %s: relative norm %.3g, %zu of %zu elements off, first [%zu] got %.6g want %.6g\n", what, *norm, bad,
           want.size(), at, at < want.size() ? got[at] : 0.0, at < want.size() ? want[at] : 0.0);
    return false;
}

/* Element (b, t, h, i) of a host tensor laid out as `row` elements a position from `base`. */
struct layout {
    int64_t base, batch, row;
    int dim;
    size_t at(int b, int t, int h, int i) const
    {
        return (size_t)(base + b * batch + t * row + h * dim + i);
    }
};

static void turn(std::vector<double> &x, const layout &l, const test_case &c, int seq, double sign)
{
    int pairs = c.rotary / 2;
    for (int b = 0; b < c.batch; b++)
        for (int t = 0; t < seq; t++)
            for (int h = 0; h < c.heads; h++)
                for (int i = 0; i < pairs; i++) {
                    double angle = t * pow(10000.0, -2.0 * i / c.rotary), s = sign * sin(angle), k = cos(angle);
                    double &u = x[l.at(b, t, h, i)], &v = x[l.at(b, t, h, i + pairs)], u0 = u;
                    u = u0 * k - v * s;
                    v = v * k + u0 * s;
                }
}

static bool run_case(const test_case &c)
{
    int width = c.heads * c.dim, offset = c.all ? c.seq_k : c.seq_k - c.seq_q;
    bool f32 = c.f32;
    int64_t row = c.interleaved ? 3 * width : width;
    layout lq = {0, c.seq_q * row, row, c.dim}, lo = {0, (int64_t)c.seq_q * width, width, c.dim};
    layout lk = {c.interleaved ? width : 0, c.seq_k * row, row, c.dim}, lv = lk;
    lv.base *= 2;
    /* Interleaved: one tensor serves q, k and v. */
    tensor q = make((size_t)(c.batch * c.seq_q * row), f32, false), dq = make(q.host.size(), f32, true);
    tensor k = q, v = q, dk = dq, dv = dq;
    if (!c.interleaved) {
        k = make((size_t)(c.batch * c.seq_k * row), f32, false), dk = make(k.host.size(), f32, true);
        v = make(k.host.size(), f32, false), dv = make(k.host.size(), f32, true);
    }
    tensor out = make((size_t)(c.batch * c.seq_q * width), f32, true), d_out = make(out.host.size(), f32, false);
    tensor lse = make((size_t)(c.batch * c.heads * c.seq_q), true, true);
    std::vector<int32_t> first((size_t)(c.batch * c.seq_q), 0);
    int32_t *first_device = nullptr;
    if (c.first) {
        for (int b = 0; b < c.batch; b++)
            for (int t = 0, start = 0; t < c.seq_q; t++) {
                if (fabsf(uniform()) < 0.04f)
                    start = t + offset;
                first[(size_t)(b * c.seq_q + t)] = start;
            }
        check(cudaMalloc((void **)&first_device, first.size() * 4), "malloc");
        check(cudaMemcpy(first_device, first.data(), first.size() * 4, cudaMemcpyHostToDevice), "up");
    }
    double scale = 1.0 / sqrt((double)c.dim);
    struct backend b = {nullptr, f32 ? DTYPE_F32 : DTYPE_BF16};
    struct attention_args a = {c.batch,      c.seq_q,  c.heads,    c.dim,      c.rotary,     10000.0,   scale,
                               first_device, q.device, out.device, lse.device, d_out.device, dq.device, nullptr,
                               0,            nullptr,  nullptr,    nullptr};
    struct attention_kv_args kv = {c.batch,
                                   c.heads,
                                   c.dim,
                                   c.seq_q,
                                   c.seq_k,
                                   scale,
                                   first_device,
                                   {q.device, lq.batch, row},
                                   {k.device, lk.batch, row},
                                   {v.device, lv.batch, row},
                                   {out.device, lo.batch, width},
                                   (float *)lse.device,
                                   {d_out.device, lo.batch, width},
                                   {dq.device, lq.batch, row},
                                   {dk.device, lk.batch, row},
                                   {dv.device, lv.batch, row},
                                   c.algorithm,
                                   c.all};
    std::vector<float> got[2][5];
    for (int run = 0; run < 2; run++) {
        upload(q, f32);
        for (tensor *t : {&out, &dq, &dk, &dv})
            upload(*t, f32);
        upload(lse, true);
        if (c.interleaved)
            cuda_attention_forward(&b, &a), cuda_attention_backward(&b, &a);
        else
            cuda_attention_kv_forward(&b, &kv), cuda_attention_kv_backward(&b, &kv);
        if (failed) {
            failed = false;
            failures++;
            printf("FAIL %-10s refused\n", c.name);
            return false;
        }
        got[run][0] = download(out, f32), got[run][1] = download(lse, true), got[run][2] = download(dq, f32);
        got[run][3] = download(dk, f32), got[run][4] = download(dv, f32);
    }
    /* The reference. */
    std::vector<double> rq(q.host.begin(), q.host.end()), rk(k.host.begin(), k.host.end()),
        rv(v.host.begin(), v.host.end());
    if (c.rotary) {
        turn(rq, lq, c, c.seq_q, 1);
        turn(rk, lk, c, c.seq_k, 1);
    }
    std::vector<double> want[5];
    want[0].resize(out.host.size());
    want[1].resize(lse.host.size());
    want[2].resize(q.host.size());
    want[3].resize(k.host.size());
    want[4].resize(v.host.size());
    std::vector<double> p((size_t)c.seq_k), dp((size_t)c.seq_k);
    for (int s = 0; s < c.batch; s++)
        for (int h = 0; h < c.heads; h++)
            for (int t = 0; t < c.seq_q; t++) {
                int low = first[(size_t)(s * c.seq_q + t)], high = std::min(t + offset, c.seq_k - 1);
                double top = -INFINITY, sum = 0, delta = 0;
                for (int j = low; j <= high; j++) {
                    double x = 0;
                    for (int i = 0; i < c.dim; i++)
                        x += rq[lq.at(s, t, h, i)] * rk[lk.at(s, j, h, i)];
                    p[(size_t)j] = x * scale;
                    top = std::max(top, p[(size_t)j]);
                }
                for (int j = low; j <= high; j++)
                    sum += exp(p[(size_t)j] - top);
                want[1][(size_t)((s * c.heads + h) * c.seq_q + t)] = top + log(sum);
                for (int j = low; j <= high; j++) {
                    p[(size_t)j] = exp(p[(size_t)j] - top) / sum;
                    dp[(size_t)j] = 0;
                    for (int i = 0; i < c.dim; i++) {
                        want[0][lo.at(s, t, h, i)] += p[(size_t)j] * rv[lv.at(s, j, h, i)];
                        dp[(size_t)j] += d_out.host[lo.at(s, t, h, i)] * rv[lv.at(s, j, h, i)];
                    }
                    delta += p[(size_t)j] * dp[(size_t)j];
                }
                for (int j = low; j <= high; j++)
                    for (int i = 0; i < c.dim; i++) {
                        double ds = p[(size_t)j] * (dp[(size_t)j] - delta) * scale;
                        want[2][lq.at(s, t, h, i)] += ds * rk[lk.at(s, j, h, i)];
                        want[3][lk.at(s, j, h, i)] += ds * rq[lq.at(s, t, h, i)];
                        want[4][lv.at(s, j, h, i)] += p[(size_t)j] * d_out.host[lo.at(s, t, h, i)];
                    }
            }
    if (c.rotary) {
        turn(want[2], lq, c, c.seq_q, -1);
        turn(want[3], lk, c, c.seq_k, -1);
    }
    if (c.interleaved) {
        for (size_t i = 0; i < want[2].size(); i++)
            want[2][i] += want[3][i] + want[4][i];
        want[3] = want[4] = want[2];
    }
    static const char *const names[] = {"out", "lse", "dq", "dk", "dv"};
    double norms[5], tolerance = f32 ? 1e-5 : 1e-2;
    bool good = true;
    for (int i = 0; i < 5; i++) {
        good = compare(names[i], got[0][i], want[i], tolerance, &norms[i]) && good;
        if (memcmp(got[0][i].data(), got[1][i].data(), got[0][i].size() * 4)) {
            size_t at = 0;
            while (!memcmp(&got[0][i][at], &got[1][i][at], 4))
                at++;
            printf("  %s: two runs differ, first [%zu] %.8g %.8g\n", names[i], at, got[0][i][at], got[1][i][at]);
            good = false;
        }
    }
    printf("%s %-8s %s D %3d Tq %3d Tk %3d%s%s rotary %2d  out %.1e lse %.1e dq %.1e dk %.1e dv %.1e\n",
           good ? "PASS" : "FAIL", c.name, f32 ? "f32 " : "bf16", c.dim, c.seq_q, c.seq_k,
           c.first ? " first"
           : c.all ? " all"
                   : "",
           c.interleaved ? " qkv" : "", c.rotary, norms[0], norms[1], norms[2], norms[3], norms[4]);
    fflush(stdout);
    failures += !good;
    for (tensor *t : {&q, &dq, &out, &d_out, &lse})
        cudaFree(t->device);
    if (!c.interleaved)
        for (tensor *t : {&k, &v, &dk, &dv})
            cudaFree(t->device);
    cudaFree(first_device);
    return good;
}

static void cases(const char *only, bool small)
{
    static const int lengths[] = {1, 7, 63, 64, 65, 129, 300}, dims[] = {8, 16, 32, 40, 64, 80, 96, 128};
    static const struct {
        const char *name;
        bool f32;
        enum attention_algorithm algorithm;
    } paths[] = {{"generic", true, ATTENTION_GENERIC},
                 {"generic", false, ATTENTION_GENERIC},
                 {"mma", false, ATTENTION_MMA},
                 {"hopper", false, ATTENTION_HOPPER},
                 {"auto", false, ATTENTION_AUTO}};
    for (auto &path : paths) {
        if (only && strcmp(only, path.name))
            continue;
        bool any = path.algorithm == ATTENTION_GENERIC || path.algorithm == ATTENTION_AUTO;
        for (int dim : dims)
            for (int length : lengths) {
                if (small && (length > 129 || (length < 64 && dim != 64)))
                    continue;
                run_case({path.name, path.f32, path.algorithm, 2, 2, dim, length, length, length % 2 == 0, false, 0});
            }
        for (int dim : {32, 64, 128}) {
            run_case({path.name, path.f32, path.algorithm, 2, 2, dim, 70, 200, false, false, 0});
            run_case({path.name, path.f32, path.algorithm, 1, 3, dim, 129, 258, true, false, 0});
        }
        for (int dim : {32, 64, 80, 128})
            for (int keys : {64, 320})
                for (int queries : {1, 65, 400})
                    run_case({path.name, path.f32, path.algorithm, 2, 2, dim, queries, keys, false, false, 0, true});
        if (any) /* the general path alone masks what lies behind the last key */
            for (int keys : {1, 63, 100})
                run_case({path.name, path.f32, path.algorithm, 1, 3, 64, 130, keys, false, false, 0, true});
        if (any)
            for (int dim : {20, 33, 160})
                run_case({path.name, path.f32, path.algorithm, 2, 3, dim, 65, 130, true, false, 0});
        if (any && (path.f32 || path.algorithm == ATTENTION_AUTO))
            for (int rotary : {0, 4, 16, 64})
                run_case({"qkv", path.f32, ATTENTION_AUTO, 2, 2, 64, 150, 150, rotary == 4, true, rotary});
    }
}

struct timing {
    const char *name;
    int batch, seq_q, seq_k;
    double cudnn[2], flops;
};

static void bench(enum attention_algorithm algorithm, const char *name)
{
    static const timing works[] = {{"T 1024", 64, 1024, 1024, {0.310, 1.030}, 0},
                                   {"T 512", 128, 512, 512, {0.203, 0.774}, 0},
                                   {"XL Q 512 K 1024", 128, 512, 1024, {0.420, 1.615}, 0},
                                   {"XL Q 1024 K 2048", 64, 1024, 2048, {0.738, 2.690}, 0}};
    for (const timing &w : works) {
        int heads = 12, dim = 64;
        int64_t width = heads * dim, nq = (int64_t)w.batch * w.seq_q * width, nk = (int64_t)w.batch * w.seq_k * width;
        tensor t[8];
        for (int i = 0; i < 8; i++) {
            int64_t n = i < 4 ? nq : nk;
            std::vector<float> values(1 << 20);
            for (float &x : values)
                x = uniform() * 1.7f;
            t[i].host = values;
            check(cudaMalloc(&t[i].device, (size_t)n * 2), "malloc");
            for (int64_t at = 0; at < n; at += 1 << 20) {
                tensor part = {values, (char *)t[i].device + at * 2};
                part.host.resize((size_t)std::min<int64_t>(1 << 20, n - at));
                upload(part, false);
            }
        }
        float *lse;
        check(cudaMalloc((void **)&lse, (size_t)(w.batch * heads * w.seq_q) * 4), "malloc");
        int64_t bq = w.seq_q * width, bk = w.seq_k * width;
        struct backend b = {nullptr, DTYPE_BF16};
        struct attention_kv_args a = {w.batch,
                                      heads,
                                      dim,
                                      w.seq_q,
                                      w.seq_k,
                                      0.125,
                                      nullptr,
                                      {t[0].device, bq, width},
                                      {t[4].device, bk, width},
                                      {t[5].device, bk, width},
                                      {t[1].device, bq, width},
                                      lse,
                                      {t[2].device, bq, width},
                                      {t[3].device, bq, width},
                                      {t[6].device, bk, width},
                                      {t[7].device, bk, width},
                                      algorithm,
                                      false};
        double offset = w.seq_k - w.seq_q, seen = w.seq_q * (offset + 0.5 * w.seq_q);
        for (int backward = 0; backward < 2; backward++) {
            std::vector<float> ms;
            cudaEvent_t start, stop;
            check(cudaEventCreate(&start), "event");
            check(cudaEventCreate(&stop), "event");
            for (int i = 0; i < 25; i++) {
                float x = 0;
                if (i == 0 && backward)
                    cuda_attention_kv_forward(&b, &a);
                check(cudaEventRecord(start, 0), "event");
                backward ? cuda_attention_kv_backward(&b, &a) : cuda_attention_kv_forward(&b, &a);
                check(cudaEventRecord(stop, 0), "event");
                check(cudaEventSynchronize(stop), name);
                check(cudaEventElapsedTime(&x, start, stop), "event");
                if (i >= 5)
                    ms.push_back(x);
            }
            std::sort(ms.begin(), ms.end());
            double flops = (backward ? 10.0 : 4.0) * w.batch * heads * dim * seen;
            printf("%-8s %-17s %-8s %7.3f ms %6.1f TFLOP/s  cuDNN %.3f ms  speed against it %.2f%s\n", name, w.name,
                   backward ? "backward" : "forward", ms[10], flops / ms[10] * 1e-9, w.cudnn[backward],
                   w.cudnn[backward] / ms[10], failed ? "  REFUSED" : "");
            failed = false;
        }
        for (tensor &x : t)
            cudaFree(x.device);
        cudaFree(lse);
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "all", *only = argc > 2 ? argv[2] : nullptr;
    workspace_bytes = (size_t)256 << 20;
    check(cudaMalloc(&workspace, workspace_bytes), "malloc");
    if (strcmp(what, "bench"))
        cases(only, !strcmp(what, "small"));
    if (!strcmp(what, "bench") || !strcmp(what, "all")) {
        bench(ATTENTION_MMA, "mma");
        bench(ATTENTION_HOPPER, "hopper");
    }
    printf("%s: %d failed\n", failures ? "FAIL" : "PASS", failures);
    return failures != 0;
}
