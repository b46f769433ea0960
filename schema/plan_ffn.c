/* plan_ffn.c: one function a kind of feed-forward layer, and the table of them. Formulas: docs/models/. */
#include "schema/plan_ffn.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include "base/err.h"

double plan_std(int64_t dim)
{
    return sqrt(2.0 / (5.0 * (double)dim));
}

double plan_output_std(int64_t dim, int64_t layers)
{
    return 2.0 / ((double)layers * sqrt((double)dim));
}

static void add_parameter(struct plan_ffn *f, struct plan_tensor parameter)
{
    f->parameters[f->parameter_count++] = parameter;
}

static void add_matrix(struct plan_ffn *f, const char *name, int64_t rows, int64_t cols, int64_t parts, double std)
{
    add_parameter(f, (struct plan_tensor){.name = name,
                                          .rows = rows,
                                          .cols = cols,
                                          .parts = parts,
                                          .product = true,
                                          .init = INIT_NORMAL,
                                          .init_scale = std});
}

static void add_vector(struct plan_ffn *f, const char *name, int64_t n, enum plan_init init, double scale)
{
    add_parameter(f, (struct plan_tensor){.name = name, .rows = n, .cols = 1, .init = init, .init_scale = scale});
}

static void add_linear(struct plan_ffn *f, const struct spec *s, const char *weight, const char *bias, int64_t out,
                       int64_t in, int64_t parts, double std)
{
    add_matrix(f, weight, out, in, parts, std);
    if (s->model.bias)
        add_vector(f, bias, out, INIT_ZERO, 0);
}

static void add_buffer(struct plan_ffn *f, const char *name, int64_t width, bool cheap)
{
    f->buffers[f->buffer_count++] = (struct plan_ffn_buffer){.name = name, .width = width, .cheap = cheap};
}

static void add_statistics(struct plan_ffn *f, const char *name, int64_t width, bool cheap)
{
    f->buffers[f->buffer_count++] =
        (struct plan_ffn_buffer){.name = name, .width = width, .statistics = true, .cheap = cheap};
}

/* Parameters of a layer, biases apart: products, and so many more for each of its width; others are in no product. */
struct cost {
    double products, products_per_width, others_per_width;
};

/* The width with which the layer, of so many units of it, is nearest to a gelu layer of width d_ff, which has
 * 2*dim*d_ff parameters and as many multiplications: d_ff itself, or a multiple of 8. */
static int match_width(const struct spec *s, int64_t d_ff, struct cost cost, int64_t units, int64_t *out,
                       struct err *err)
{
    double budget = 2 * (double)s->model.dim * (double)d_ff - cost.products;
    double each = cost.products_per_width + (s->model.ffn.match == MATCH_PARAMS ? cost.others_per_width : 0);
    if (budget <= 0)
        return err_set_at(err, ERR_INVALID, "model.d_ff",
                          "a gelu layer of width %" PRId64 " is no match: this layer's other parameters are more",
                          d_ff);
    if (budget == each * (double)units * (double)d_ff) { /* nothing to round */
        *out = d_ff;
        return 0;
    }
    double per_eight = 8 * each * (double)units;
    double eights = floor((budget + per_eight / 2) / per_eight);
    *out = eights < 1 ? 8 : 8 * (int64_t)eights;
    return 0;
}

static void add_dense(struct plan_ffn *f, const struct spec *s)
{
    int64_t up = (f->gated ? 2 : 1) * f->width, d = s->model.dim;
    add_linear(f, s, "ffn.up.weight", "ffn.up.bias", up, d, f->gated ? 2 : 1, plan_std(d));
    add_linear(f, s, "ffn.down.weight", "ffn.down.bias", d, f->width, 1, plan_output_std(d, s->model.layers));
    add_buffer(f, "pre", up, false);
    add_buffer(f, "hidden", f->width, true);
    f->scratch = f->width;
}

static int find_width(struct plan_ffn *f, const struct spec *s, int64_t d_ff, double others, struct err *err)
{
    f->width = d_ff;
    if (s->model.ffn.match == MATCH_NONE)
        return 0;
    struct cost cost = {.products_per_width = (f->gated ? 3 : 2) * (double)s->model.dim, .others_per_width = others};
    return match_width(s, d_ff, cost, 1, &f->width, err);
}

static int find_dense(struct plan_ffn *f, const struct spec *s, int64_t d_ff, struct err *err)
{
    int rc = find_width(f, s, d_ff, 0, err);
    if (rc == 0)
        add_dense(f, s);
    return rc;
}

/* With a shape that is learned or a norm, gate and up stand apart, as one matrix each, and so do their rows. */
static int find_elephant(struct plan_ffn *f, const struct spec *s, int64_t d_ff, struct err *err)
{
    bool learned = s->model.ffn.elephant.learnable, normed = s->model.ffn.elephant.pre_norm;
    int rc = find_width(f, s, d_ff, (learned ? 2 : 0) + (normed ? 1 : 0), err);
    if (rc != 0)
        return rc;
    if (normed) {
        add_vector(f, "ffn.norm.weight", f->width, INIT_ONE, 0);
        if (s->model.bias)
            add_vector(f, "ffn.norm.bias", f->width, INIT_ZERO, 0);
        add_statistics(f, "ffn.mean", 1, true);
        add_statistics(f, "ffn.rstd", 1, true);
        add_buffer(f, "ffn.normed", f->width, true);
    }
    if (learned) {
        add_vector(f, "ffn.log_h", f->width, INIT_CONSTANT, 0);
        add_vector(f, "ffn.log_sigma", f->width, INIT_CONSTANT, log(s->model.ffn.elephant.a));
    }
    int up = f->parameter_count;
    add_dense(f, s);
    if (s->model.bias && s->model.ffn.elephant.bias_std > 0) {
        f->parameters[up + 1].init = INIT_SPREAD;
        f->parameters[up + 1].init_scale = sqrt(3.0) * s->model.ffn.elephant.bias_std;
    }
    return 0;
}

static int find_mini_moe(struct plan_ffn *f, const struct spec *s, int64_t d_ff, struct err *err)
{
    int64_t d = s->model.dim, units = s->model.ffn.mini_moe.units;
    if (units < 1)
        return err_set_at(err, ERR_INVALID, "model.ffn.mini_moe.units", "%" PRId64 " is not allowed: at least 1",
                          units);
    bool vector = s->model.ffn.mini_moe.gate == GATE_VECTOR;
    int64_t gates = vector ? units * d : units, unit = d_ff / units;
    struct cost cost = {.products = (double)gates * (double)d, .products_per_width = 3 * (double)d};
    if (s->model.ffn.match == MATCH_NONE && d_ff % units != 0)
        return err_set_at(err, ERR_INVALID, "model.ffn.mini_moe.units",
                          "%" PRId64 " units do not divide a width of %" PRId64, units, d_ff);
    int rc = s->model.ffn.match == MATCH_NONE ? 0 : match_width(s, d_ff, cost, units, &unit, err);
    if (rc != 0)
        return rc;
    f->width = unit * units;
    f->scratch = f->width;
    int64_t apart = vector ? units : 1; /* units whose matrices stand one below the other */
    add_linear(f, s, "ffn.up.weight", "ffn.up.bias", 2 * f->width, d, 2 * apart, plan_std(d));
    add_linear(f, s, "ffn.gate.weight", "ffn.gate.bias", gates, d, apart, plan_std(d));
    add_linear(f, s, "ffn.down.weight", "ffn.down.bias", apart * d, f->width / apart, apart,
               plan_output_std(d, s->model.layers));
    add_buffer(f, "pre", 2 * f->width, false);
    add_buffer(f, "ffn.gates", gates, false);
    if (vector)
        add_buffer(f, "ffn.outputs", gates, false);
    add_buffer(f, "hidden", f->width, true);
    return 0;
}

/* Keys and values start as those of all-attention are where they are used (Sukhbaatar et al. 2019). */
static int find_sdpa(struct plan_ffn *f, const struct spec *s, int64_t d_ff, struct err *err)
{
    int64_t d = s->model.dim;
    f->width = s->model.ffn.sdpa.n > 0 ? s->model.ffn.sdpa.n : 5 * d;
    struct cost cost = {.products = 2 * (double)d * (double)d, .products_per_width = 2 * (double)d};
    int rc = s->model.ffn.match == MATCH_NONE ? 0 : match_width(s, d_ff, cost, 1, &f->width, err);
    if (rc != 0)
        return rc;
    f->keys = f->width;
    f->scratch = 2 * d;
    add_linear(f, s, "ffn.query.weight", "ffn.query.bias", d, d, 1, plan_std(d));
    add_matrix(f, "ffn.key.weight", f->keys, d, 1, 1);
    add_matrix(f, "ffn.value.weight", f->keys, d, 1, 1);
    f->parameters[f->parameter_count - 1].beside = true;
    f->parameters[f->parameter_count - 1].added = f->parameters[f->parameter_count - 2].added = true;
    add_linear(f, s, "ffn.down.weight", "ffn.down.bias", d, d, 1, plan_output_std(d, s->model.layers));
    add_buffer(f, "ffn.query", d, false);
    add_statistics(f, "ffn.lse", s->model.heads, false);
    add_buffer(f, "hidden", d, false);
    return 0;
}

static const struct kind {
    enum spec_ffn type;
    bool gated;
    int (*find)(struct plan_ffn *f, const struct spec *s, int64_t d_ff, struct err *err);
} kinds[] = {
    {FFN_GELU, false, find_dense},       {FFN_RELU2, false, find_dense},       {FFN_SWIGLU, true, find_dense},
    {FFN_GEGLU, true, find_dense},       {FFN_ELEPHANT, false, find_elephant}, {FFN_ELEPHANT_GLU, true, find_elephant},
    {FFN_MINI_MOE, true, find_mini_moe}, {FFN_SDPA, false, find_sdpa},
};

int plan_ffn_find(const struct spec *s, int64_t d_ff, struct plan_ffn *out, struct err *err)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i].type != s->model.ffn.type)
            continue;
        struct plan_ffn f = {.gated = kinds[i].gated};
        int rc = kinds[i].find(&f, s, d_ff, err);
        if (rc == 0)
            *out = f;
        return rc;
    }
    return err_set_at(err, ERR_INVALID, "model.ffn.type", "no such feed-forward layer");
}
