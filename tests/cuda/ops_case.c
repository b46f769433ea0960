/* ops_case.c: making of cases: numbers, rounding, tensors. */
#include "tests/cuda/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t draw_bits(struct ops_draw *d)
{
    uint64_t z = d->state += 0x9E3779B97F4A7C15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

double ops_uniform(struct ops_draw *d, double low, double high)
{
    return low + (high - low) * ((double)(draw_bits(d) >> 11) + 0.5) * 0x1p-53;
}

double ops_normal(struct ops_draw *d)
{
    double u = ops_uniform(d, 0, 1), v = ops_uniform(d, 0, 6.28318530717958648);
    return sqrt(-2 * log(u)) * cos(v);
}

int64_t ops_below(struct ops_draw *d, int64_t n)
{
    return (int64_t)(draw_bits(d) % (uint64_t)n);
}

uint16_t ops_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value))
        return 0x7FFF;
    return (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

float ops_from_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double rounded(const struct ops_case *c, enum ops_kind kind, double value)
{
    if (kind == OPS_STORAGE && c->storage == DTYPE_BF16)
        return (double)ops_from_bf16(ops_bf16((float)value));
    return kind == OPS_STORAGE || kind == OPS_WIDE ? (double)(float)value : value;
}

static void add(struct ops_case *c, int slot, const char *name, enum ops_kind kind, enum ops_role role, int64_t n)
{
    if (slot >= OPS_TENSORS || c->tensor[slot].role != OPS_ABSENT || n < 1) {
        fprintf(stderr, "test_ops: %s: slot %d cannot hold %s\n", c->name, slot, name);
        abort();
    }
    c->tensor[slot] = (struct ops_tensor){.name = name, .kind = kind, .role = role, .n = n};
}

static void draw_values(struct ops_case *c, struct ops_draw *d, int slot, double scale)
{
    struct ops_tensor *t = &c->tensor[slot];
    t->values = calloc((size_t)t->n, sizeof *t->values);
    if (!t->values)
        abort();
    for (int64_t i = 0; i < t->n; i++)
        t->values[i] = rounded(c, t->kind, scale * ops_normal(d));
}

void ops_in(struct ops_case *c, struct ops_draw *d, int slot, const char *name, enum ops_kind kind, int64_t n,
            double scale)
{
    add(c, slot, name, kind, OPS_IN, n);
    draw_values(c, d, slot, scale);
}

void ops_changed(struct ops_case *c, struct ops_draw *d, int slot, const char *name, enum ops_kind kind, int64_t n,
                 double scale)
{
    add(c, slot, name, kind, OPS_CHANGED, n);
    draw_values(c, d, slot, scale);
}

void ops_out(struct ops_case *c, int slot, const char *name, enum ops_kind kind, int64_t n)
{
    add(c, slot, name, kind, OPS_OUT, n);
}

void ops_scratch(struct ops_case *c, int slot, const char *name, enum ops_kind kind, int64_t n)
{
    add(c, slot, name, kind, OPS_SCRATCH, n);
}

void ops_set(struct ops_case *c, int slot, int64_t i, double value)
{
    struct ops_tensor *t = &c->tensor[slot];
    t->values[i] = rounded(c, t->kind, value);
}

void ops_finish(struct ops_case *c)
{
    for (int t = 0; t < OPS_TENSORS; t++)
        free(c->tensor[t].values);
}

void ops_result_finish(struct ops_result *r)
{
    for (int t = 0; t < OPS_TENSORS; t++)
        free(r->values[t]);
}

const char *ops_activation(enum activation_kind kind)
{
    static const char *const names[] = {
        [ACT_GELU_ERF] = "gelu_erf", [ACT_GELU_TANH] = "gelu_tanh", [ACT_RELU2] = "relu2",
        [ACT_SILU] = "silu",         [ACT_ELEPHANT] = "elephant",
    };
    return names[kind];
}

void ops_visit(struct ops_visitor *v, ops_make_fn *make, const struct ops_shape *shape)
{
    struct ops_case c = {.storage = v->storage, .shape = *shape, .step = {.step = 1, .lr = 1e-3, .loss_scale = 1}};
    struct ops_draw d = {v->seed += 0x632BE59BD9B4E019u};
    make(&c, &d);
    if (!v->only || strstr(c.name, v->only))
        v->visit(&c, v->arg);
    ops_finish(&c);
}
