/* pointwise_rates.cuh: the speed of norm, embed, activation and optimizer at the usual shapes, as shares of a copy's
 * measured in the same run. Bytes are those that an operator must move. */
#ifndef BAKA_TESTS_CUDA_POINTWISE_RATES_CUH
#define BAKA_TESTS_CUDA_POINTWISE_RATES_CUH

#include "tests/cuda/case.cuh"

static double copy_rate; /* bytes read and written a second */

static double seconds_of(const std::function<void()> &operation)
{
    enum { WARM = 5, ROUNDS = 9, CALLS = 10 };
    cudaEvent_t begin, end;
    MUST(cudaEventCreate(&begin));
    MUST(cudaEventCreate(&end));
    for (int i = 0; i < WARM; i++)
        operation();
    std::vector<float> ms(ROUNDS);
    for (float &t : ms) {
        MUST(cudaEventRecord(begin, stream));
        for (int i = 0; i < CALLS; i++)
            operation();
        MUST(cudaEventRecord(end, stream));
        MUST(cudaEventSynchronize(end));
        MUST(cudaEventElapsedTime(&t, begin, end));
    }
    std::sort(ms.begin(), ms.end());
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return (double)ms[ROUNDS / 2] * 1e-3 / CALLS;
}

static void timing(const char *name, double bytes, const std::function<void()> &operation)
{
    const double s = seconds_of(operation);
    printf("%-44s %9.4f ms %8.0f GB/s %6.1f %% of copy\n", name, s * 1e3, bytes / s * 1e-9,
           100 * bytes / s / copy_rate);
    fflush(stdout);
}

static void timings()
{
    const int64_t rows = 65536, dim = 768, width = 3072, vocab = 50304;
    const size_t sheet = (size_t)(rows * dim) * 2, total = (size_t)6 << 30;
    char *base, *next;
    MUST(cudaMalloc((void **)&base, total));
    MUST(cudaMemset(base, 0, total));
    const double copied = (double)(1 << 30);
    copy_rate = 2 * copied / seconds_of([&] {
                    cudaMemcpyAsync(base + (3l << 30), base, 1 << 30, cudaMemcpyDeviceToDevice, stream);
                });
    printf("copy %.0f GB/s read and written\n", copy_rate * 1e-9);
    backend.storage = DTYPE_BF16;
    next = base;
    auto take = [&](size_t bytes) {
        char *p = next;
        next += (bytes + 255) / 256 * 256;
        if (next > base + total)
            exit(2);
        return (void *)p;
    };
    void *x = take(sheet), *p = take(sheet), *q = take(sheet), *sum = take(sheet), *y0 = take(sheet), *y1 = take(sheet);
    void *mean = take(rows * 4), *rstd = take(rows * 4), *w = take(dim * 2), *dw[4];
    for (void *&d : dw)
        d = take(dim * 4);
    struct norm_forward_args f = {NORM_LAYERNORM, rows, dim,    1e-5,   x,       {p, q}, sum,
                                  mean,           rstd, {w, w}, {w, w}, {y0, y1}};
    timing("norm forward, 2 adds, 2 outputs", 6.0 * (double)sheet, [&] { cuda_norm_forward(&backend, &f); });
    struct norm_backward_args g = {NORM_LAYERNORM, rows,     dim, sum, mean,           rstd,
                                   {w, w},         {y0, y1}, x,   x,   {dw[0], dw[1]}, {dw[2], dw[3]}};
    timing("norm backward, 2 outputs, in place", 5.0 * (double)sheet, [&] { cuda_norm_backward(&backend, &g); });
    f.add[1] = NULL, f.weight[1] = NULL, f.bias[1] = NULL, f.y[1] = NULL;
    timing("norm forward, 1 add, 1 output", 4.0 * (double)sheet, [&] { cuda_norm_forward(&backend, &f); });
    g.dy[1] = NULL, g.weight[1] = NULL, g.d_weight[1] = NULL, g.d_bias[1] = NULL;
    timing("norm backward, 1 output, in place", 4.0 * (double)sheet, [&] { cuda_norm_backward(&backend, &g); });

    next = base;
    const double wide = (double)(rows * width) * 2;
    void *pre = take((size_t)wide * 2), *h = take((size_t)wide);
    MUST(cudaMemset(pre, 0x3f, (size_t)wide * 2)); /* numbers near 0.75: backward runs leave smaller ones */
    const struct activation kinds[] = {{ACT_GELU_ERF, 1, 1}, {ACT_GELU_TANH, 1, 1}, {ACT_RELU2, 1, 1},
                                       {ACT_SILU, 1, 1},     {ACT_ELEPHANT, 1, 8},  {ACT_ELEPHANT, 1, 2.5}};
    const char *names[] = {"gelu_erf", "gelu_tanh", "relu2", "silu", "elephant 8", "elephant 2.5"};
    for (int i = 0; i < 6; i++)
        for (int gated = 0; gated < 2; gated++) {
            struct ffn_up_args af = {};
            af.rows = rows, af.width = width, af.act = kinds[i], af.gated = gated, af.pre = pre, af.h = h;
            struct ffn_up_backward_args ab = {};
            ab.rows = rows, ab.width = width, ab.act = kinds[i], ab.gated = gated, ab.pre = pre, ab.dh = h;
            timing(text("%s%s forward", names[i], gated ? " gated" : "").c_str(), wide * (gated ? 3 : 2),
                   [&] { cuda_activation_forward(&backend, &af); });
            timing(text("%s%s backward", names[i], gated ? " gated" : "").c_str(), wide * (gated ? 5 : 3),
                   [&] { cuda_activation_backward(&backend, &ab); });
        }

    next = base;
    for (int64_t words : {(int64_t)256, vocab}) {
        std::vector<int32_t> tokens((size_t)rows);
        for (int32_t &t : tokens)
            t = (int32_t)std::min((double)(words - 1), exp(uniform() * log((double)words + 1)) - 1);
        std::vector<int32_t> distinct = tokens;
        std::sort(distinct.begin(), distinct.end());
        const double different = (double)(std::unique(distinct.begin(), distinct.end()) - distinct.begin());
        next = base;
        void *ids = take(rows * 4), *table = take(vocab * dim * 2), *out = take(sheet),
             *d_table = take(vocab * dim * 4);
        MUST(cudaMemcpy(ids, tokens.data(), (size_t)rows * 4, cudaMemcpyHostToDevice));
        struct embed_args a = {rows, dim, words, (int32_t *)ids, table, out, out, d_table};
        timing(text("embed forward, vocab %lld", (long long)words).c_str(), (double)sheet + different * (double)dim * 2,
               [&] { cuda_embed_forward(&backend, &a); });
        timing(text("embed backward, vocab %lld", (long long)words).c_str(),
               (double)sheet + different * (double)dim * 8, [&] { cuda_embed_backward(&backend, &a); });
    }

    next = base;
    std::vector<struct optimizer_tensor> tensors;
    double parameters = 0;
    auto add = [&](int64_t n) {
        void *param = take(n * 4), *grad = take(n * 4), *m = take(n * 4), *v = take(n * 4), *copy = take(n * 2);
        tensors.push_back({param, grad, m, v, copy, n, true});
        parameters += (double)n;
    };
    add(vocab * dim);
    add(vocab * dim);
    for (int layer = 0; layer < 12; layer++)
        for (int64_t n :
             {dim, dim, dim, dim, 3 * dim * dim, 3 * dim, dim * dim, dim, 4 * dim * dim, 4 * dim, 4 * dim * dim, dim})
            add(n);
    MUST(cudaMemset(base, 0, (size_t)(next - base)));
    next = (char *)(((uintptr_t)next + 255) / 256 * 256);
    double *norm = (double *)take(8), *squares = (double *)take(8 * (int)tensors.size());
    int64_t *updates = (int64_t *)take(8);
    MUST(cudaMemset(norm, 0, 256));
    MUST(cudaMemset(updates, 0, 256));
    struct grad_squares_args sa = {tensors.data(), (int)tensors.size(), squares};
    struct adamw_args aa = {tensors.data(), (int)tensors.size(), norm, updates, 1, 0.9, 0.95, 1e-8, 0.1, 1};
    struct copy_parameters_args ca = {tensors.data(), (int)tensors.size()};
    printf("%.1f M parameters\n", parameters * 1e-6);
    timing("grad_squares", parameters * 4, [&] { cuda_grad_squares(&backend, &sa); });
    timing("adamw with bf16 copies, 30 B a parameter", parameters * 30, [&] { cuda_adamw(&backend, &aa); });
    timing("copy_parameters", parameters * 6, [&] { cuda_copy_parameters(&backend, &ca); });
    cudaFree(base);
}

#endif
