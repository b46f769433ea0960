/* dense_times.cuh: times of the linear layers and the classifier at the shapes of one step of 65,536 tokens: width 768,
 * gated feed-forward of 3,072, vocabulary 50,304. Included once, by test_dense.cu. */
#ifndef BAKA_TESTS_CUDA_DENSE_TIMES_CUH
#define BAKA_TESTS_CUDA_DENSE_TIMES_CUH

#include "tests/cuda/dense_frame.cuh"

static float time_ms(const std::function<void()> &work, int runs)
{
    cudaEvent_t from, to;
    float ms = 0;
    must(cudaEventCreate(&from), "event");
    must(cudaEventCreate(&to), "event");
    for (int i = 0; i < 5; i++)
        work();
    must(cudaEventRecord(from, the_backend.stream), "event");
    for (int i = 0; i < runs; i++)
        work();
    must(cudaEventRecord(to, the_backend.stream), "event");
    must(cudaEventSynchronize(to), "times");
    must(cudaEventElapsedTime(&ms, from, to), "times");
    must(cudaEventDestroy(from), "event");
    must(cudaEventDestroy(to), "event");
    return ms / (float)runs;
}

template <typename T> static __global__ void noise(T *p, int64_t n, uint32_t seed)
{
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
        uint32_t h = ((uint32_t)i ^ seed) * 0x9e3779b1u;
        h = (h ^ h >> 15) * 0x85ebca77u;
        h = (h ^ h >> 13) * 0xc2b2ae3du;
        p[i] = (T)((float)(h >> 8) * 0x1p-23f - 1.0f);
    }
}

static void *make(int64_t n, size_t width)
{
    void *p;
    must(cudaMalloc(&p, (size_t)n * width), "memory for times");
    if (width == 2)
        noise<<<1024, 256, 0, the_backend.stream>>>((__nv_bfloat16 *)p, n, (uint32_t)n);
    else
        noise<<<1024, 256, 0, the_backend.stream>>>((float *)p, n, (uint32_t)n);
    return p;
}

static void time_linears(int64_t rows, double *step_ms)
{
    const struct {
        const char *name;
        int64_t in, out, times;
    } layers[] = {{"qkv", 768, 2304, 12},
                  {"attention out", 768, 768, 12},
                  {"gate and up", 768, 6144, 12},
                  {"down", 3072, 768, 12}};
    for (const auto &l : layers) {
        size_t width = cuda_is_bf16(B) ? 2 : 4;
        struct linear_args f = {};
        struct linear_backward_args g = {};
        void *d_bias = make(l.out, 4), *d_w = make(l.out * l.in, 4), *dx = make(rows * l.in, width);
        f.rows = g.rows = rows;
        f.in = g.in = l.in;
        f.out = g.out = l.out;
        f.x = g.x = make(rows * l.in, width);
        f.w = g.w = make(l.out * l.in, width);
        f.bias = make(l.out, width);
        f.y = make(rows * l.out, width);
        g.dy = make(rows * l.out, width);
        float forward = time_ms([&] { cuda_linear_forward(B, &f); }, 20);
        g.dx = dx;
        float input = time_ms([&] { cuda_linear_backward(B, &g); }, 20);
        g.dx_accumulate = true;
        float input_add = time_ms([&] { cuda_linear_backward(B, &g); }, 20);
        g.dx = NULL;
        g.d_w = d_w;
        float weight = time_ms([&] { cuda_linear_backward(B, &g); }, 20);
        g.d_w = NULL;
        g.d_bias = d_bias;
        float bias = time_ms([&] { cuda_linear_backward(B, &g); }, 20);
        double flops = 2e-9 * (double)rows * (double)l.in * (double)l.out;
        printf("%-14s y %.4f ms %.0f | dx %.4f ms %.0f, += %.4f ms %.0f | d_w %.4f ms %.0f TFLOP/s | d_bias %.4f ms "
               "%.0f GB/s\n",
               l.name, forward, flops / forward, input, flops / input, input_add, flops / input_add, weight,
               flops / weight, bias, 1e-6 * (double)(rows * l.out) * (double)width / bias);
        *step_ms += (double)l.times * (forward + input + weight);
        for (const void *p :
             {f.x, f.w, f.bias, (const void *)f.y, g.dy, (const void *)d_bias, (const void *)d_w, (const void *)dx})
            must(cudaFree((void *)p), "free");
    }
}

static void time_classifier(int64_t rows, double *step_ms)
{
    const int64_t dim = 768, vocab = 50304, most = 16384;
    struct classifier_args a = {};
    double *loss = (double *)make(2, 4), *losses = (double *)make(2 * most, 4);
    std::vector<int32_t> targets((size_t)rows);
    for (int32_t &t : targets)
        t = (int32_t)((uniform() + 1) / 2 * (double)vocab);
    int32_t *device_targets = (int32_t *)make(rows, 4);
    must(cudaMemcpy(device_targets, targets.data(), (size_t)rows * 4, cudaMemcpyHostToDevice), "targets");
    must(cudaMemset(loss, 0, 8), "loss");
    struct cuda_step_values values = {1, 1.0 / (double)rows};
    must(cudaMemcpy(the_backend.values, &values, sizeof values, cudaMemcpyHostToDevice), "values");
    a.rows = rows;
    a.dim = dim;
    a.vocab = vocab;
    a.x = make(rows * dim, 2);
    a.w = make(vocab * dim, 2);
    a.targets = device_targets;
    a.logits = make(most * vocab, 2);
    a.loss_sum = loss;
    void *dx = make(rows * dim, 2), *d_w = make(vocab * dim, 4);
    for (int64_t n : {(int64_t)4096, most})
        for (int how = CLASSIFIER_KEEP; how <= CLASSIFIER_REREAD; how++) {
            float ms = time_ms(
                [&] {
                    cuda_classifier_rows(B, n, vocab, a.logits, device_targets, losses, true, (enum classifier_row)how);
                },
                20);
            printf("classifier, %lld rows, %s: %.4f ms, %.0f GB/s read and written\n", (long long)n,
                   how == CLASSIFIER_KEEP ? "kept" : "read again", ms, 4e-6 * (double)(n * vocab) / ms);
        }
    float only = time_ms(
        [&] { cuda_classifier_rows(B, most, vocab, a.logits, device_targets, losses, false, CLASSIFIER_CHOOSE); }, 20);
    printf("classifier, %lld rows, loss only: %.4f ms, %.0f GB/s read\n", (long long)most, only,
           2e-6 * (double)(most * vocab) / only);
    float best = 0;
    for (int64_t chunk : {(int64_t)4096, (int64_t)8192, most}) {
        a.chunk_rows = chunk;
        a.dx = NULL;
        a.d_w = NULL;
        float loss_only = time_ms([&] { cuda_classifier(B, &a); }, 5);
        a.dx = dx;
        a.d_w = d_w;
        float ms = time_ms([&] { cuda_classifier(B, &a); }, 5);
        best = ms < best || best == 0 ? ms : best;
        printf(
            "classifier whole, chunks of %lld: %.3f ms (products %.0f TFLOP/s if they were all), loss only %.3f ms\n",
            (long long)chunk, ms, 6e-9 * (double)rows * (double)vocab * (double)dim / ms, loss_only);
    }
    *step_ms += best;
    for (const void *p : {(const void *)loss, (const void *)losses, (const void *)device_targets, a.x, a.w,
                          (const void *)a.logits, (const void *)dx, (const void *)d_w})
        must(cudaFree((void *)p), "free");
}

static void run_times()
{
    double step_ms = 0, unused = 0;
    B->storage = DTYPE_F32;
    printf("\nfp32, 4,096 rows\n");
    time_linears(4096, &unused);
    B->storage = DTYPE_BF16;
    printf("\nbf16, 3,072 rows\n");
    time_linears(3072, &unused);
    printf("\nbf16, 65,536 rows\n");
    time_linears(65536, &step_ms);
    time_classifier(65536, &step_ms);
    printf("linear products and classifier of one step: %.1f ms\n", step_ms);
    print_plans();
}

#endif
