/* gemm_rate.c: the yardstick of CPU training: the rate of dnnl_sgemm itself on the products of one training step
 * (dim 128, 4 layers, 4 heads of 32, vocabulary 4096, 8 x 128 tokens, SwiGLU of width 512), and the time of each
 * operator of that step, in the order of its share.
 *
 *   gemm_rate [--threads N] [--repeat N] [--json]
 *
 * gflops: FLOPs of all products of a step over the sum of their median times, oneDNN threading as it does by itself.
 */
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/err.h"
#include "kernels/backend.h"
#include "kernels/cpu/device.h"

enum { DIM = 128, LAYERS = 4, HEADS = 4, VOCAB = 4096, SEQ = 128, BATCH = 8, WIDTH = 512, ROWS = SEQ * BATCH };
enum { CHUNK = 512, MAX_REPEAT = 1000 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct timing {
    int repeat;
    double seconds[MAX_REPEAT];
};

static double median(struct timing *t)
{
    qsort(t->seconds, (size_t)t->repeat, sizeof *t->seconds, by_size);
    return t->seconds[t->repeat / 2];
}

/* Forward y = x w^T, dx = dy w, dw += dy^T x for each weight [out,in] of the step. */
static double measure_products(cpu_sgemm_fn *sgemm, float *memory, int repeat, double *seconds)
{
    static const struct {
        int64_t out, in;
        int count;
    } weights[] = {
        {3 * DIM, DIM, LAYERS}, {DIM, DIM, LAYERS}, {2 * WIDTH, DIM, LAYERS}, {DIM, WIDTH, LAYERS}, {VOCAB, DIM, 1}};
    float *a = memory, *b = a + ROWS * VOCAB, *c = b + ROWS * VOCAB;
    double flops = 0;
    *seconds = 0;
    static struct timing t;
    t.repeat = repeat;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        int64_t out = weights[i].out, in = weights[i].in;
        for (int kind = 0; kind < 3; kind++) {
            for (int r = -1; r < repeat; r++) {
                double start = now();
                if (kind == 0)
                    sgemm('N', 'T', ROWS, out, in, 1, a, in, b, in, 0, c, out);
                else if (kind == 1)
                    sgemm('N', 'N', ROWS, in, out, 1, a, out, b, in, 0, c, in);
                else
                    sgemm('T', 'N', out, in, ROWS, 1, a, out, b, in, 1, c, in);
                if (r >= 0)
                    t.seconds[r] = now() - start;
            }
            *seconds += weights[i].count * median(&t);
            flops += weights[i].count * 2.0 * ROWS * (double)out * (double)in;
        }
    }
    return flops;
}

/* What the operators of a step work on; each buffer is as large as its largest use. */
struct step {
    struct backend *b;
    const struct backend_ops *ops;
    float *x, *y, *wide, *h, *dy, *weight, *d_weight, *qkv, *d_qkv, *lse, *mean, *rstd, *logits, *bias, *d_bias;
    int32_t *tokens;
    double *scalar;
    struct optimizer_tensor tensor;
};

static void embed_forward(struct step *s)
{
    s->ops->embed_forward(s->b, &(struct embed_args){ROWS, DIM, VOCAB, s->tokens, s->weight, s->x, NULL, NULL});
}

static void embed_backward(struct step *s)
{
    s->ops->embed_backward(s->b, &(struct embed_args){ROWS, DIM, VOCAB, s->tokens, NULL, NULL, s->x, s->d_weight});
}

static void norm_forward(struct step *s)
{
    s->ops->norm_forward(s->b, &(struct norm_forward_args){NORM_LAYERNORM,
                                                           ROWS,
                                                           DIM,
                                                           1e-5,
                                                           s->x,
                                                           {s->dy, s->h},
                                                           s->y,
                                                           s->mean,
                                                           s->rstd,
                                                           {s->bias, s->bias},
                                                           {s->bias, s->bias},
                                                           {s->wide, s->wide + ROWS * DIM}});
}

static void norm_backward(struct step *s)
{
    s->ops->norm_backward(s->b, &(struct norm_backward_args){NORM_LAYERNORM,
                                                             ROWS,
                                                             DIM,
                                                             s->x,
                                                             s->mean,
                                                             s->rstd,
                                                             {s->bias, s->bias},
                                                             {s->h, s->dy},
                                                             s->y,
                                                             s->y,
                                                             {s->d_bias, s->d_bias},
                                                             {s->d_bias, s->d_bias},
                                                             {s->d_bias, s->d_bias}});
}

static void linear_forward(struct step *s, int64_t in, int64_t out)
{
    s->ops->linear_forward(s->b, &(struct linear_args){ROWS, in, out, s->h, s->weight, s->bias, s->y});
}

/* d_bias NULL: the next norm makes it. */
static void linear_backward(struct step *s, int64_t in, int64_t out, void *d_bias)
{
    s->ops->linear_backward(s->b, &(struct linear_backward_args){ROWS, in, out, s->h, s->weight, s->dy, s->y, false,
                                                                 s->d_weight, true, d_bias});
}

static void qkv_forward(struct step *s)
{
    linear_forward(s, DIM, 3 * DIM);
}

static void qkv_backward(struct step *s)
{
    linear_backward(s, DIM, 3 * DIM, s->d_bias);
}

static void projection_forward(struct step *s)
{
    linear_forward(s, DIM, DIM);
}

static void projection_backward(struct step *s)
{
    linear_backward(s, DIM, DIM, NULL);
}

static void down_forward(struct step *s)
{
    linear_forward(s, WIDTH, DIM);
}

static void down_backward(struct step *s)
{
    linear_backward(s, WIDTH, DIM, NULL);
}

static void up_forward(struct step *s)
{
    s->ops->ffn_up_forward(
        s->b, &(struct ffn_up_args){ROWS, DIM, WIDTH, {ACT_SILU, 0, 0}, true, s->x, s->weight, s->bias, s->wide, s->h});
}

static void up_backward(struct step *s)
{
    s->ops->ffn_up_backward(s->b, &(struct ffn_up_backward_args){ROWS,
                                                                 DIM,
                                                                 WIDTH,
                                                                 {ACT_SILU, 0, 0},
                                                                 true,
                                                                 s->x,
                                                                 s->weight,
                                                                 s->bias,
                                                                 s->wide,
                                                                 s->h,
                                                                 s->y,
                                                                 false,
                                                                 s->d_weight,
                                                                 true,
                                                                 s->d_bias});
}

static struct attention_args attention_of(const struct step *s)
{
    return (struct attention_args){.batch = BATCH,
                                   .seq = SEQ,
                                   .heads = HEADS,
                                   .head_dim = DIM / HEADS,
                                   .rotary_dims = DIM / HEADS / 4,
                                   .rotary_base = 10000,
                                   .scale = 0.1767766952966369,
                                   .qkv = s->qkv,
                                   .out = s->y,
                                   .lse = s->lse,
                                   .d_out = s->dy,
                                   .d_qkv = s->d_qkv};
}

static void attention_forward(struct step *s)
{
    struct attention_args a = attention_of(s);
    s->ops->attention_forward(s->b, &a);
}

static void attention_backward(struct step *s)
{
    struct attention_args a = attention_of(s);
    s->ops->attention_backward(s->b, &a);
}

static void classifier(struct step *s)
{
    s->ops->classifier(s->b, &(struct classifier_args){ROWS, DIM, VOCAB, CHUNK, s->x, s->weight, s->tokens, s->logits,
                                                       s->scalar, s->y, s->d_weight, true});
}

static void grad_squares(struct step *s)
{
    s->ops->grad_squares(s->b, &(struct grad_squares_args){&s->tensor, 1, s->scalar});
}

static void adamw(struct step *s)
{
    int64_t updates = 9;
    *s->scalar = 1;
    s->ops->adamw(s->b, &(struct adamw_args){&s->tensor, 1, s->scalar, &updates, 1, 0.9, 0.95, 1e-8, 0.1, 1});
}

static void zero_gradients(struct step *s)
{
    s->ops->zero(s->b, s->tensor.grad, (size_t)s->tensor.n * sizeof(float));
}

static const struct {
    const char *name;
    int count; /* a step */
    void (*run)(struct step *s);
} operators[] = {
    {"embed_forward", 1, embed_forward},
    {"embed_backward", 1, embed_backward},
    {"norm_forward", LAYERS + 1, norm_forward},
    {"norm_backward", LAYERS + 1, norm_backward},
    {"qkv_forward", LAYERS, qkv_forward},
    {"qkv_backward", LAYERS, qkv_backward},
    {"attention_forward", LAYERS, attention_forward},
    {"attention_backward", LAYERS, attention_backward},
    {"projection_forward", LAYERS, projection_forward},
    {"projection_backward", LAYERS, projection_backward},
    {"ffn_up_forward", LAYERS, up_forward},
    {"ffn_up_backward", LAYERS, up_backward},
    {"ffn_down_forward", LAYERS, down_forward},
    {"ffn_down_backward", LAYERS, down_backward},
    {"classifier", 1, classifier},
    {"grad_squares", 1, grad_squares},
    {"adamw", 1, adamw},
    {"zero_gradients", 1, zero_gradients},
};
enum { OPERATORS = sizeof operators / sizeof *operators };

static float *take(float **next, int64_t n)
{
    float *p = *next;
    *next += (n + 63) / 64 * 64;
    return p;
}

static int measure_operators(int threads, int repeat, double ms[OPERATORS], char kind[32], struct err *err)
{
    struct step s = {0};
    const struct backend_options options = {.storage = DTYPE_F32, .threads = threads, .workspace_bytes = 32 << 20};
    int rc = backend_open("cpu", &options, &s.b, err);
    if (rc)
        return rc;
    s.ops = s.b->ops;
    snprintf(kind, 32, "%s", s.ops->device_kind(s.b));
    int64_t params = 2 * VOCAB * DIM + LAYERS * 16 * DIM * DIM;
    void *base;
    rc = s.ops->arena(s.b, 256 << 20, &base, err);
    if (rc) {
        s.ops->close(s.b);
        return rc;
    }
    float *next = base, *start = base;
    s.x = take(&next, ROWS * 2 * WIDTH);
    s.y = take(&next, ROWS * 2 * WIDTH);
    s.wide = take(&next, ROWS * 2 * WIDTH);
    s.h = take(&next, ROWS * 2 * WIDTH);
    s.dy = take(&next, ROWS * 2 * WIDTH);
    s.qkv = take(&next, ROWS * 3 * DIM);
    s.d_qkv = take(&next, ROWS * 3 * DIM);
    s.weight = take(&next, VOCAB * DIM);
    s.d_weight = take(&next, VOCAB * DIM);
    s.lse = take(&next, ROWS * HEADS);
    s.mean = take(&next, ROWS);
    s.rstd = take(&next, ROWS);
    s.bias = take(&next, VOCAB);
    s.d_bias = take(&next, VOCAB);
    s.logits = take(&next, CHUNK * VOCAB);
    s.tensor = (struct optimizer_tensor){.param = take(&next, params),
                                         .grad = take(&next, params),
                                         .m = take(&next, params),
                                         .v = take(&next, params),
                                         .n = params,
                                         .decay = true};
    uint32_t state = 12345;
    for (float *p = start; p < next; p++)
        *p = (float)((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-24f * 0.1f;
    s.tokens = (int32_t *)(void *)take(&next, ROWS);
    for (int i = 0; i < ROWS; i++)
        s.tokens[i] = (int32_t)((state = state * 1664525u + 1013904223u) >> 20);
    s.scalar = (double *)(void *)take(&next, 2);
    s.ops->step_begin(s.b, &(struct step_values){1, 1e-4, 1.0 / ROWS});
    static struct timing t;
    t.repeat = repeat;
    for (int i = 0; i < OPERATORS; i++) {
        for (int r = -1; r < repeat; r++) {
            double begin = now();
            operators[i].run(&s);
            if (r >= 0)
                t.seconds[r] = now() - begin;
        }
        ms[i] = 1e3 * operators[i].count * median(&t);
    }
    rc = s.ops->sync(s.b, err);
    s.ops->close(s.b);
    return rc;
}

int main(int argc, char **argv)
{
    int threads = 2, repeat = 25, json = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = 1;
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
            threads = atoi(argv[++i]);
        else if (strcmp(argv[i], "--repeat") == 0 && i + 1 < argc)
            repeat = atoi(argv[++i]);
        else
            threads = 0;
    }
    if (threads < 1 || repeat < 1 || repeat > MAX_REPEAT) {
        fprintf(stderr, "usage: gemm_rate [--threads N] [--repeat 1..%d] [--json]\n", MAX_REPEAT);
        return 2;
    }
    struct err err = {0};
    cpu_sgemm_fn *sgemm;
    char library[64], kind[32];
    float *memory = aligned_alloc(256, sizeof(float) * ROWS * VOCAB * 3);
    if (!memory || cpu_load_onednn(&sgemm, library, sizeof library, &err)) {
        fprintf(stderr, "gemm_rate: %s\n", memory ? err.message : "out of memory");
        return 1;
    }
    for (int64_t i = 0; i < (int64_t)ROWS * VOCAB * 3; i++)
        memory[i] = (float)(i % 97) * 0.01f - 0.4f;
    omp_set_dynamic(0);
    omp_set_num_threads(threads);
    double seconds, flops = measure_products(sgemm, memory, repeat, &seconds);
    free(memory);
    double ms[OPERATORS], sum = 0;
    if (measure_operators(threads, repeat, ms, kind, &err)) {
        fprintf(stderr, "gemm_rate: %s\n", err.message);
        return 1;
    }
    if (!json) {
        printf("%s on %d threads: %.1f GFLOP in %.3f ms, %.1f GFLOP/s\n", library, threads, flops * 1e-9, seconds * 1e3,
               flops / seconds * 1e-9);
        for (int i = 0; i < OPERATORS; i++) {
            printf("%-20s %8.3f ms a step\n", operators[i].name, ms[i]);
            sum += ms[i];
        }
        printf("%-20s %8.3f ms, %.1f GFLOP/s of products, %.0f tokens/s (%s)\n", "all operators", sum,
               flops / sum * 1e-6, ROWS / sum * 1e3, kind);
        return 0;
    }
    printf("{\"gflops\":%.17g,\"gflop\":%.17g,\"ms\":%.17g,\"threads\":%d,\"library\":\"%s\",\"device\":\"%s\","
           "\"operator_ms\":{",
           flops / seconds * 1e-9, flops * 1e-9, seconds * 1e3, threads, library, kind);
    for (int i = 0; i < OPERATORS; i++)
        printf("%s\"%s\":%.17g", i ? "," : "", operators[i].name, ms[i]);
    printf("}}\n");
    return 0;
}
