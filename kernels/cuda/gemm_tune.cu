/* gemm_tune.cu: measures the heuristic's best algorithms for each product that ran, and writes the table.
 *
 * The card's clock wanders under load, so the algorithms of a product are timed in turn, ROUNDS times, and their
 * medians compared; the heuristic's first is kept unless another is 1 % faster. Products whose operands fit the L2
 * cache are timed one by one with the cache flushed before each, as a step would find it. Operands are random: zeros
 * draw less power and would flatter.
 */
#include "kernels/cuda/gemm_plan.cuh"
#include "kernels/cuda/gemm_tune.h"

#include <cuda_bf16.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALGORITHMS = 32, ROUNDS = 5, FLUSH_BYTES = 192 << 20, ROUND_MS = 8, MOST_RUNS = 200 };

struct bench {
    cudaStream_t stream;
    cudaEvent_t begin, end;
    void *a, *b, *c, *bias, *flush;
    bool cold;
};

template <typename T> static __global__ void fill(T *p, int64_t n, uint32_t seed)
{
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
        uint32_t h = ((uint32_t)i ^ seed) * 0x9e3779b1u;
        h = (h ^ h >> 15) * 0x85ebca77u;
        h = (h ^ h >> 13) * 0xc2b2ae3du;
        p[i] = (T)((float)(h >> 8) * 0x1p-23f - 1.0f);
    }
}

/* Device memory of n random elements that has the alignment of the key, and no better. */
static cudaError_t make_operand(const struct bench *t, bool bf16, int64_t n, int64_t alignment, uint32_t seed,
                                void **base, void **operand)
{
    int64_t shift = alignment < 256 ? alignment : 0;
    cudaError_t rc = cudaMalloc(base, (size_t)n * (bf16 ? 2 : 4) + 256);
    if (rc != cudaSuccess)
        return rc;
    *operand = (char *)*base + shift;
    if (bf16)
        fill<<<1024, 256, 0, t->stream>>>((__nv_bfloat16 *)*operand, n, seed);
    else
        fill<<<1024, 256, 0, t->stream>>>((float *)*operand, n, seed);
    return cudaGetLastError();
}

static bool run(const struct cuda_gemm_state *g, struct gemm_plan *plan, const cublasLtMatmulAlgo_t *algorithm,
                const struct bench *t)
{
    return gemm_launch(g, plan, algorithm, t->a, t->b, t->c, t->bias, 0, t->stream) == CUBLAS_STATUS_SUCCESS;
}

/* Milliseconds a run; negative when the algorithm does not run. */
static float time_runs(const struct cuda_gemm_state *g, struct gemm_plan *plan, const cublasLtMatmulAlgo_t *algorithm,
                       const struct bench *t, int runs)
{
    float total = 0, ms = 0;
    int stretches = t->cold ? runs : 1;
    for (int i = 0; i < stretches; i++) {
        if (t->cold)
            cudaMemsetAsync(t->flush, i, FLUSH_BYTES, t->stream);
        cudaEventRecord(t->begin, t->stream);
        for (int j = 0; j < runs / stretches; j++)
            if (!run(g, plan, algorithm, t))
                return -1;
        cudaEventRecord(t->end, t->stream);
        if (cudaEventSynchronize(t->end) != cudaSuccess || cudaEventElapsedTime(&ms, t->begin, t->end) != cudaSuccess)
            return -1;
        total += ms;
    }
    return total / (float)runs;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The best of `count` algorithms; medians of the first and of the best in ms. -1 when none runs. */
static int measure(const struct cuda_gemm_state *g, struct gemm_plan *plan, const cublasLtMatmulAlgo_t *algorithms,
                   int count, const struct bench *t, float *first, float *best)
{
    float times[ALGORITHMS][ROUNDS], median[ALGORITHMS];
    int runs[ALGORITHMS], winner = -1;
    for (int i = 0; i < count; i++) {
        time_runs(g, plan, &algorithms[i], t, 1); /* loads the kernel */
        float ms = time_runs(g, plan, &algorithms[i], t, 3);
        runs[i] = ms < 0 ? 0 : ms * MOST_RUNS < ROUND_MS ? MOST_RUNS : 1 + (int)(ROUND_MS / ms);
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < count; i++) {
            times[i][round] = runs[i] ? time_runs(g, plan, &algorithms[i], t, runs[i]) : -1;
            if (times[i][round] < 0)
                runs[i] = 0;
        }
    for (int i = 0; i < count; i++) {
        if (!runs[i])
            continue;
        qsort(times[i], ROUNDS, sizeof(float), compare_floats);
        median[i] = times[i][ROUNDS / 2];
        /* The first that runs is the one to beat by 1 %; among the others the fastest. */
        if (winner < 0) {
            winner = i;
            *first = median[i];
            *best = median[i];
        } else if (median[i] < *best && median[i] < 0.99f * *first) {
            winner = i;
            *best = median[i];
        }
    }
    return winner;
}

static int tune_plan(const struct cuda_gemm_state *g, struct gemm_plan *plan, struct bench *t,
                     struct gemm_table_row *row, char *line, size_t room, struct err *err)
{
    const struct gemm_key *k = &plan->key;
    cublasLtMatmulAlgo_t algorithms[ALGORITHMS];
    int64_t size_a = (k->ta ? k->k : k->m) * k->lda, size_b = (k->tb ? k->n : k->k) * k->ldb, size_c = k->m * k->ldc;
    int64_t width = k->bf16 ? 2 : 4;
    void *bases[4] = {NULL, NULL, NULL, NULL};
    char text[GEMM_KEY_TEXT];
    float first = 0, best = 0;
    int winner = -1, count = 0;
    gemm_key_text(k, text);
    t->cold = (size_a + size_b) * width + size_c * (k->c_float ? 4 : width) < FLUSH_BYTES;
    t->bias = NULL;
    cudaError_t rc = make_operand(t, k->bf16, size_a, k->align_a, 1, &bases[0], &t->a);
    if (rc == cudaSuccess)
        rc = make_operand(t, k->bf16, size_b, k->align_b, 2, &bases[1], &t->b);
    if (rc == cudaSuccess)
        rc = make_operand(t, !k->c_float, size_c, k->align_c, 3, &bases[2], &t->c);
    if (rc == cudaSuccess && k->align_bias)
        rc = make_operand(t, k->bf16, k->n, k->align_bias, 4, &bases[3], &t->bias);
    if (rc == cudaSuccess) {
        count = gemm_candidates(g, plan, algorithms, ALGORITHMS);
        winner = measure(g, plan, algorithms, count, t, &first, &best);
        rc = cudaStreamSynchronize(t->stream);
    }
    for (void *base : bases)
        cudaFree(base);
    if (rc != cudaSuccess)
        return err_set(err, rc == cudaErrorMemoryAllocation ? ERR_NO_MEMORY : ERR_IO, "tuning %s: %s", text,
                       cudaGetErrorString(rc));
    if (winner < 0) {
        snprintf(line, room, "%s: no algorithm runs", text);
        return 0;
    }
    snprintf(line, room, "%s: %.4f ms, the heuristic's first %.4f ms, number %d of %d, %.1f TFLOP/s", text,
             (double)best, (double)first, winner + 1, count, 2e-9 * (double)k->m * (double)k->n * (double)k->k / best);
    row->key = strdup(text);
    row->algorithm = algorithms[winner];
    return row->key ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for the table of algorithms");
}

static int tune_all(struct cuda_gemm_state *g, struct bench *t, struct gemm_table_row *rows, int *count,
                    void (*report)(void *context, const char *line), void *context, struct err *err)
{
    char line[GEMM_KEY_TEXT + 160];
    for (struct gemm_plan *head : g->buckets)
        for (struct gemm_plan *plan = head; plan; plan = plan->next) {
            if (plan->simt)
                continue;
            int rc = tune_plan(g, plan, t, &rows[*count], line, sizeof line, err);
            if (rc != 0)
                return rc;
            *count += rows[*count].key != NULL;
            if (report)
                report(context, line);
        }
    return 0;
}

int cuda_gemm_tune(struct cuda_gemm_state *g, cudaStream_t stream, const char *path,
                   void (*report)(void *context, const char *line), void *context, struct err *err)
{
    char beside[4096];
    struct bench t = {};
    int plans = 0, count = 0;
    int rc = path ? 0 : gemm_table_path(beside, sizeof beside, err);
    if (rc != 0)
        return rc;
    for (struct gemm_plan *head : g->buckets)
        for (struct gemm_plan *plan = head; plan; plan = plan->next)
            plans++;
    struct gemm_table_row *rows = (struct gemm_table_row *)calloc((size_t)plans + 1, sizeof *rows);
    if (!rows)
        return err_set(err, ERR_NO_MEMORY, "no memory for the table of algorithms");
    t.stream = stream;
    cudaError_t started = cudaEventCreate(&t.begin);
    if (started == cudaSuccess)
        started = cudaEventCreate(&t.end);
    if (started == cudaSuccess)
        started = cudaMalloc(&t.flush, FLUSH_BYTES);
    rc = started == cudaSuccess ? tune_all(g, &t, rows, &count, report, context, err)
                                : err_set(err, started == cudaErrorMemoryAllocation ? ERR_NO_MEMORY : ERR_IO,
                                          "tuning: %s", cudaGetErrorString(started));
    if (rc == 0)
        rc = gemm_table_save(path ? path : beside, g->device, g->version, rows, count, err);
    cudaFree(t.flush);
    if (t.begin)
        cudaEventDestroy(t.begin);
    if (t.end)
        cudaEventDestroy(t.end);
    for (int i = 0; i < count; i++)
        free(rows[i].key);
    free(rows);
    return rc;
}
