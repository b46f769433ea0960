/* ops_rows.c: cases of rows that no token stands for: at places drawn or side by side, from one table or one for each
 * sequence. */
#include "tests/cuda/ops.h"

#include <stdio.h>

enum { X, TABLE, D_TABLE, AT };

static struct rows_args args_of(const struct ops_case *c, void *const *p)
{
    const struct ops_shape *s = &c->shape;
    return (struct rows_args){.batch = s->batch,
                              .seq = s->seq,
                              .dim = s->dim,
                              .count = s->width,
                              .offset = s->seq - s->width,
                              .at = p[AT],
                              .x = p[X],
                              .table_rows = s->vocab,
                              .table_stride = s->two ? s->vocab + 1 : 0,
                              .table = p[TABLE],
                              .d_table = p[D_TABLE],
                              .wide = s->accumulate};
}

static void call_put(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    struct rows_args a = args_of(c, p);
    b->ops->put_rows(b, &a);
}

static void call_take(const struct ops_case *c, struct backend *b, void *const *p, void *keep)
{
    (void)keep;
    struct rows_args a = args_of(c, p);
    b->ops->take_rows(b, &a);
}

static void make_rows(struct ops_case *c, struct ops_draw *d)
{
    const struct ops_shape *s = &c->shape;
    int64_t table = (s->two ? s->batch * (s->vocab + 1) : s->vocab) * s->dim;
    c->operator_name = s->gradient ? "take_rows" : "put_rows";
    snprintf(c->name, sizeof c->name, "%s %lld of %lldx%lld, dim %lld, table of %lld%s%s%s", c->operator_name,
             (long long)s->width, (long long)s->batch, (long long)s->seq, (long long)s->dim, (long long)s->vocab,
             s->two ? " each" : "", s->documents ? ", places" : "", s->accumulate ? ", wide" : "");
    ops_changed(c, d, X, "x", OPS_STORAGE, s->batch * s->seq * s->dim, 1);
    if (!s->gradient)
        ops_in(c, d, TABLE, "table", OPS_STORAGE, table, 1);
    else if (s->bias)
        ops_changed(c, d, D_TABLE, "d_table", s->accumulate ? OPS_WIDE : OPS_STORAGE, table, 1);
    if (s->documents) {
        ops_in(c, d, AT, "at", OPS_INT, s->batch * s->width, 0);
        for (int64_t i = 0; i < s->batch * s->width; i++)
            ops_set(c, AT, i, (double)(i % s->width * (s->seq / s->width) + ops_below(d, s->seq / s->width)));
    }
    c->call = s->gradient ? call_take : call_put;
}

void ops_each_rows(struct ops_visitor *v)
{
    static const int64_t shapes[][5] = {
        /* batch, seq, dim, rows, rows of the table */
        {2, 9, 5, 3, 3}, {1, 1, 1, 1, 1}, {3, 40, 64, 8, 8}, {24, 70, 33, 17, 1}, {5, 128, 768, 10, 10},
    };
    for (size_t i = 0; i < (v->small ? 1 : sizeof shapes / sizeof *shapes); i++)
        for (int k = 0; k < 32; k++) {
            struct ops_shape s = {.batch = shapes[i][0],
                                  .seq = shapes[i][1],
                                  .dim = shapes[i][2],
                                  .width = shapes[i][3],
                                  .vocab = shapes[i][4],
                                  .documents = k & 1,
                                  .two = k & 2,
                                  .gradient = k & 4,
                                  .bias = k & 8,
                                  .accumulate = k & 16};
            if (s.gradient ? s.bias || !s.accumulate : !s.bias && !s.accumulate)
                ops_visit(v, make_rows, &s);
        }
}
