#include "problem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double *numbers(int64_t n)
{
    double *p = calloc((size_t)n + 1, sizeof *p);
    if (!p)
        fail_msg("out of memory");
    return p;
}

int problem_input(struct problem *p, struct draw *d, const char *name, int64_t n, double scale, bool accumulated)
{
    int i = p->inputs++;
    p->input_name[i] = name;
    p->input_n[i] = n;
    p->input[i] = numbers(n);
    p->accumulated[i] = accumulated;
    for (int64_t j = 0; j < n; j++)
        p->input[i][j] = (double)(float)(scale * draw_normal(d));
    return i;
}

int problem_output(struct problem *p, struct draw *d, int64_t n)
{
    int i = p->outputs++;
    p->output_n[i] = n;
    p->weight[i] = numbers(n);
    for (int64_t j = 0; j < n; j++)
        p->weight[i][j] = draw_normal(d);
    return i;
}

void answer_init(struct answer *a, const struct problem *p)
{
    memset(a, 0, sizeof *a);
    for (int i = 0; i < p->outputs; i++)
        a->output[i] = numbers(p->output_n[i]);
    for (int i = 0; i < p->inputs; i++)
        a->gradient[i] = numbers(p->input_n[i]);
}

void answer_finish(struct answer *a)
{
    for (int i = 0; i < PROBLEM_OUTPUTS; i++)
        free(a->output[i]);
    for (int i = 0; i < PROBLEM_INPUTS; i++)
        free(a->gradient[i]);
}

const char *activation_name(enum activation_kind kind)
{
    static const char *const names[] = {
        [ACT_GELU_ERF] = "gelu_erf", [ACT_GELU_TANH] = "gelu_tanh", [ACT_RELU2] = "relu2",
        [ACT_SILU] = "silu",         [ACT_ELEPHANT] = "elephant",
    };
    return names[kind];
}

struct visitor {
    void (*visit)(struct problem *p, void *arg);
    void *arg;
    uint64_t seed;
};

static void visit(struct visitor *v, void (*make)(struct problem *, struct draw *), struct problem_shape shape)
{
    struct problem p = {.shape = shape};
    struct draw d = {++v->seed};
    make(&p, &d);
    v->visit(&p, v->arg);
    for (int i = 0; i < p.inputs; i++)
        free(p.input[i]);
    for (int i = 0; i < p.outputs; i++)
        free(p.weight[i]);
    free(p.ints);
}

static void visit_norms(struct visitor *v, int64_t rows, int64_t dim)
{
    for (int i = 0; i < 8; i++)
        visit(v, problem_norm,
              (struct problem_shape){
                  .rows = rows,
                  .dim = dim,
                  .norm = i & 1 ? NORM_RMSNORM : NORM_LAYERNORM,
                  .two = i & 2,
                  .bias = !(i & 4),
                  .residual = i & 4,
              });
}

static void visit_linears(struct visitor *v, int64_t rows, int64_t dim, int64_t width)
{
    for (int i = 0; i < 2; i++)
        visit(v, problem_linear,
              (struct problem_shape){
                  .rows = rows,
                  .dim = dim,
                  .width = width,
                  .bias = i,
                  .accumulate = i,
              });
}

static void visit_ffns(struct visitor *v, int64_t rows, int64_t dim, int64_t width)
{
    static const struct activation acts[] = {
        {ACT_GELU_ERF, 0, 0}, {ACT_GELU_TANH, 0, 0},  {ACT_RELU2, 0, 0},    {ACT_SILU, 0, 0},
        {ACT_ELEPHANT, 1, 8}, {ACT_ELEPHANT, 0.7, 4}, {ACT_ELEPHANT, 2, 3}, {ACT_ELEPHANT, 1.3, 2.5},
    };
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        for (int gated = 0; gated < 2; gated++)
            visit(v, problem_ffn,
                  (struct problem_shape){
                      .rows = rows,
                      .dim = dim,
                      .width = width,
                      .act = acts[i],
                      .gated = gated,
                      .bias = (i + (size_t)gated) % 2,
                      .accumulate = gated,
                      .composed = i % 3 == 1,
                  });
}

static void visit_attention(struct visitor *v, int64_t batch, int64_t seq, int64_t heads, int64_t head_dim,
                            int64_t rotary, int64_t memory, bool documents)
{
    visit(v, problem_attention,
          (struct problem_shape){
              .batch = batch,
              .seq = seq,
              .heads = heads,
              .head_dim = head_dim,
              .rotary = rotary,
              .memory = memory,
              .documents = documents,
              .bias = !documents,
          });
}

static void visit_elephants(struct visitor *v, int64_t rows, int64_t width)
{
    static const double powers[] = {8, 4, 3, 2.5};
    for (int i = 0; i < 8; i++)
        visit(v, problem_elephant,
              (struct problem_shape){
                  .rows = rows,
                  .width = width,
                  .act = {ACT_ELEPHANT, 0.8, powers[i / 2]},
                  .gated = i & 1,
                  .two = i / 2 != 2,
              });
}

static void visit_units(struct visitor *v, int64_t rows, int64_t units, int64_t width)
{
    visit(v, problem_unit_gate, (struct problem_shape){.rows = rows, .heads = units, .width = width});
    visit(v, problem_unit_sum, (struct problem_shape){.rows = rows * width, .heads = units});
}

static void visit_lookup(struct visitor *v, int64_t rows, int64_t keys, int64_t heads, int64_t head_dim)
{
    visit(v, problem_lookup, (struct problem_shape){.rows = rows, .width = keys, .heads = heads, .head_dim = head_dim});
}

static void visit_classifier(struct visitor *v, int64_t rows, int64_t dim, int64_t vocab, int64_t chunk)
{
    for (int i = 0; i < 2; i++)
        visit(v, problem_classifier,
              (struct problem_shape){.rows = rows, .dim = dim, .vocab = vocab, .chunk = chunk, .accumulate = i});
}

void problem_each(bool tiny, void (*on_problem)(struct problem *p, void *arg), void *arg)
{
    struct visitor v = {on_problem, arg, tiny ? 1000 : 2000};
    if (tiny) {
        visit(&v, problem_embed, (struct problem_shape){.rows = 7, .dim = 3, .vocab = 5});
        visit_norms(&v, 3, 7);
        visit_linears(&v, 5, 3, 4);
        visit_ffns(&v, 3, 4, 5);
        visit_attention(&v, 2, 5, 2, 3, 0, 0, false);
        visit_attention(&v, 1, 9, 2, 6, 4, 0, true);
        visit_attention(&v, 1, 70, 1, 4, 2, 0, true); /* more than one tile */
        visit_attention(&v, 2, 5, 2, 4, 2, 3, true);
        visit_attention(&v, 1, 4, 1, 4, 4, 66, false);
        visit_attention(&v, 1, 70, 1, 4, 2, 70, true);
        visit_elephants(&v, 5, 3);
        visit_units(&v, 3, 2, 4);
        visit_lookup(&v, 4, 5, 2, 3);
        visit_lookup(&v, 65, 2, 1, 2);  /* more than one tile of rows, */
        visit_lookup(&v, 2, 257, 1, 2); /* and of keys */
        visit_classifier(&v, 5, 3, 7, 2);
        return;
    }
    visit(&v, problem_embed, (struct problem_shape){.rows = 129, .dim = 33, .vocab = 17});
    visit(&v, problem_embed, (struct problem_shape){.rows = 1, .dim = 1, .vocab = 1});
    static const int64_t sides[][2] = {{1, 1}, {1, 128}, {3, 17}, {17, 3}, {129, 65}, {300, 128}};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        visit_norms(&v, sides[i][0], sides[i][1] < 3 ? 3 : sides[i][1]);
    static const int64_t products[][3] = {{1, 1, 1},     {1, 17, 129}, {3, 1, 17},      {17, 129, 3},  {129, 17, 1},
                                          {129, 64, 65}, {2, 300, 3},  {257, 48, 1100}, {64, 1100, 33}};
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        visit_linears(&v, products[i][0], products[i][1], products[i][2]);
    visit_ffns(&v, 1, 3, 17);
    visit_ffns(&v, 17, 1, 3);
    visit_ffns(&v, 129, 33, 300);
    static const int64_t heads[][5] = {{1, 1, 1, 1, 0},    {2, 3, 3, 17, 16},   {1, 64, 2, 32, 8},  {2, 65, 1, 16, 16},
                                       {1, 129, 2, 33, 2}, {1, 200, 2, 64, 16}, {3, 128, 2, 32, 32}};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        for (int documents = 0; documents < 2; documents++)
            visit_attention(&v, heads[i][0], heads[i][1], heads[i][2], heads[i][3], heads[i][4], 0, documents);
    static const int64_t memories[][6] = {{2, 1, 1, 8, 0, 1},
                                          {2, 33, 2, 17, 16, 64},
                                          {1, 64, 2, 32, 8, 127},
                                          {1, 65, 1, 16, 16, 63},
                                          {1, 130, 2, 16, 4, 300}};
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++)
        for (int documents = 0; documents < 2; documents++)
            visit_attention(&v, memories[i][0], memories[i][1], memories[i][2], memories[i][3], memories[i][4],
                            memories[i][5], documents);
    static const int64_t shaped[][2] = {{1, 1}, {3, 17}, {129, 65}, {200, 300}};
    for (size_t i = 0; i < sizeof shaped / sizeof *shaped; i++) {
        visit_elephants(&v, shaped[i][0], shaped[i][1]);
        visit_units(&v, shaped[i][0], 1 + (int64_t)i, shaped[i][1]);
    }
    static const int64_t lookups[][4] = {{1, 1, 1, 1},     {3, 17, 3, 5},     {65, 257, 2, 16},
                                         {129, 64, 2, 33}, {130, 600, 3, 32}, {64, 256, 1, 64}};
    for (size_t i = 0; i < sizeof lookups / sizeof *lookups; i++)
        visit_lookup(&v, lookups[i][0], lookups[i][1], lookups[i][2], lookups[i][3]);
    visit_classifier(&v, 1, 17, 3, 1);
    visit_classifier(&v, 129, 33, 257, 50);
    visit_classifier(&v, 130, 16, 1100, 128);
    visit_classifier(&v, 3, 1, 17, 3);
}
