/* test_pointwise.cu: norm, embed, activation and optimizer of the CUDA backend against naive sums in double, and their
 * speed beside a copy's. Stands alone:
 *
 *   nvcc -std=c++17 -O2 -I. -arch=native -o test_pointwise tests/cuda/test_pointwise.cu \
 *       kernels/cuda/{norm,norm_backward,embed,activation,column_sum,optimizer,adamw}.cu
 *   ./test_pointwise [seed]          every check, then the timings; exit status 1 when a check failed
 *
 * Each case runs twice on fresh buffers: outputs are filled with NaN before, the bits of both runs must be equal, and
 * the bytes behind each buffer must stay as they were.
 */
#include "tests/cuda/case.cuh"
#include "tests/cuda/pointwise_rates.cuh"

/* variant: which of add, bias, second output, residual and their aliasing there are. */
static void test_norm(bool half, enum norm_kind kind, int64_t rows, int64_t dim, int variant)
{
    backend.storage = half ? DTYPE_BF16 : DTYPE_F32;
    const bool add0 = variant == 1 || variant == 2, add1 = variant >= 2, two = variant >= 2,
               layer = kind == NORM_LAYERNORM;
    const bool bias0 = variant != 1, bias1 = variant == 2;
    const double eps = 1e-5;
    const size_t n = (size_t)(rows * dim);
    const size_t skip = variant == 3 && dim == 768 ? 4 : 0; /* unaligned: the element-wise path at a usual size */
    array x(normals(n, 1, 3), half, skip), p(normals(n, 1, 0), half), q(normals(n, 1, 0), half);
    array w0(normals((size_t)dim, 0.3, 1), half), w1(normals((size_t)dim, 0.3, 1), half);
    array b0(normals((size_t)dim, 0.3, 0), half), b1(normals((size_t)dim, 0.3, 0), half);
    array sum(n, half), mean((size_t)rows, false), rstd((size_t)rows, false), y0(n, half), y1(n, half);
    struct norm_forward_args f = {kind,
                                  rows,
                                  dim,
                                  eps,
                                  x.at(),
                                  {add0 ? p.at() : NULL, add1 ? q.at() : NULL},
                                  sum.at(),
                                  mean.at(),
                                  rstd.at(),
                                  {w0.at(), two ? w1.at() : NULL},
                                  {bias0 ? b0.at() : NULL, bias1 ? b1.at() : NULL},
                                  {y0.at(), two ? y1.at() : NULL}};
    std::string name = text("norm %s %s %lldx%lld v%d", half ? "bf16" : "fp32", layer ? "layer" : "rms",
                            (long long)rows, (long long)dim, variant);
    run_twice(name + " forward", {&x, &p, &q, &w0, &w1, &b0, &b1, &sum, &mean, &rstd, &y0, &y1},
              [&] { cuda_norm_forward(&backend, &f); });
    numbers s(n), mu((size_t)rows), r((size_t)rows), r0(n), r1(n);
    auto statistics = [&](const numbers &t) {
        for (int64_t i = 0; i < rows; i++) {
            double total = 0, squares = 0;
            for (int64_t j = 0; j < dim; j++)
                total += t[i * dim + j];
            mu[i] = layer ? total / (double)dim : 0;
            for (int64_t j = 0; j < dim; j++)
                squares += (t[i * dim + j] - mu[i]) * (t[i * dim + j] - mu[i]);
            r[i] = 1 / sqrt(squares / (double)dim + eps);
        }
    };
    for (size_t i = 0; i < n; i++)
        s[i] = x.exact[i] + (add0 ? p.exact[i] : 0) + (add1 ? q.exact[i] : 0);
    array stored(s, half);
    statistics(stored.exact);
    for (size_t i = 0; i < n; i++) {
        size_t row = i / (size_t)dim, j = i % (size_t)dim;
        r0[i] = (stored.exact[i] - mu[row]) * r[row] * w0.exact[j] + (bias0 ? b0.exact[j] : 0);
        r1[i] = (stored.exact[i] - mu[row]) * r[row] * w1.exact[j] + (bias1 ? b1.exact[j] : 0);
    }
    if (add0 || add1)
        compare(name + " sum", sum, s);
    if (layer)
        compare(name + " mean", mean, mu);
    compare(name + " rstd", rstd, r);
    compare(name + " y0", y0, r0);
    if (two)
        compare(name + " y1", y1, r1);
    if (add0 || add1) { /* as train.recompute rebuilds them */
        array alone(sum.decode(sum.seen[0]), half, skip);
        auto first = {mean.seen[0], rstd.seen[0], y0.seen[0], y1.seen[0]};
        f.x = f.sum = alone.at();
        f.add[0] = f.add[1] = NULL;
        run_twice(name + " of its sum", {&alone, &w0, &w1, &b0, &b1, &mean, &rstd, &y0, &y1},
                  [&] { cuda_norm_forward(&backend, &f); });
        auto again = {mean.seen[0], rstd.seen[0], y0.seen[0], y1.seen[0]};
        report(name + " bits of its sum", std::equal(first.begin(), first.end(), again.begin()) ? 0 : 1, 0);
    }

    array d0(normals(n, 1, 0.1), half), d1(normals(n, 1, 0), half), residual(normals(n, 1, 0), half);
    array dx(n, half);
    array dw0(normals((size_t)dim, 1, 0), false), dw1(normals((size_t)dim, 1, 0), false);
    array db0(normals((size_t)dim, 1, 0), false), db1(normals((size_t)dim, 1, 0), false);
    array given_mean(mu, false), given_rstd(r, false);
    /* RMSNorm of one element alone is 1 - n^2 with n near 1: nothing to compare. */
    const bool has_residual = variant != 0 || dim == 1, alias = variant == 2;
    struct norm_backward_args g = {kind,
                                   rows,
                                   dim,
                                   stored.at(),
                                   given_mean.at(),
                                   given_rstd.at(),
                                   {w0.at(), two ? w1.at() : NULL},
                                   {d0.at(), two ? d1.at() : NULL},
                                   has_residual ? residual.at() : NULL,
                                   alias ? residual.at() : dx.at(),
                                   {dw0.at(), two ? dw1.at() : NULL},
                                   {bias0 ? db0.at() : NULL, bias1 ? db1.at() : NULL}};
    workspace_most = 0;
    run_twice(name + " backward",
              {&stored, &given_mean, &given_rstd, &w0, &w1, &d0, &d1, &residual, &dx, &dw0, &dw1, &db0, &db1},
              [&] { cuda_norm_backward(&backend, &g); });
    numbers rx(n), rw0 = dw0.exact, rw1 = dw1.exact, rb0 = db0.exact, rb1 = db1.exact;
    for (int64_t i = 0; i < rows; i++) {
        double average = 0, slope = 0;
        auto gradient = [&](int64_t at, int64_t j) {
            return d0.exact[at] * w0.exact[j] + (two ? d1.exact[at] * w1.exact[j] : 0);
        };
        for (int64_t j = 0; j < dim; j++) {
            int64_t at = i * dim + j;
            double m = (stored.exact[at] - mu[i]) * r[i];
            average += gradient(at, j) / (double)dim;
            slope += gradient(at, j) * m / (double)dim;
            rw0[j] += d0.exact[at] * m;
            rb0[j] += bias0 ? d0.exact[at] : 0;
            rw1[j] += two ? d1.exact[at] * m : 0;
            rb1[j] += bias1 ? d1.exact[at] : 0;
        }
        for (int64_t j = 0; j < dim; j++) {
            int64_t at = i * dim + j;
            double m = (stored.exact[at] - mu[i]) * r[i];
            rx[at] =
                r[i] * (gradient(at, j) - (layer ? average : 0) - m * slope) + (has_residual ? residual.exact[at] : 0);
        }
    }
    compare(name + " dx", alias ? residual : dx, rx);
    compare(name + " dw0", dw0, rw0);
    compare(name + " db0", db0, rb0);
    compare(name + " dw1", dw1, rw1);
    compare(name + " db1", db1, rb1);
    report(name + " workspace within its bound",
           workspace_most <= cuda_norm_backward_bytes(rows, dim, two ? 2 : 1, multiprocessors) ? 0 : 1, 0);
}

static void reference_activation(const struct activation *act, double x, double *f, double *d)
{
    const double k = 0.79788456080286535588;
    switch (act->kind) {
    case ACT_GELU_ERF:
        *f = x * 0.5 * erfc(-x * M_SQRT1_2);
        *d = 0.5 * erfc(-x * M_SQRT1_2) + x * exp(-x * x / 2) * 0.39894228040143267794;
        break;
    case ACT_GELU_TANH: {
        double t = tanh(k * (x + 0.044715 * x * x * x));
        *f = 0.5 * x * (1 + t);
        *d = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x);
        break;
    }
    case ACT_RELU2:
        *f = x > 0 ? x * x : 0;
        *d = x > 0 ? 2 * x : 0;
        break;
    case ACT_SILU: {
        double s = 1 / (1 + exp(-x));
        *f = x * s;
        *d = s + x * s * (1 - s);
        break;
    }
    case ACT_ELEPHANT: {
        double u = fabs(x / act->a), v = u > 1 ? 1 / u : u, e = 1 / (1 + pow(v, act->p));
        *f = (u > 1 ? pow(v, act->p) : 1) * e;
        *d = (x > 0 ? -1 : x < 0 ? 1 : 0) * act->p / act->a * pow(v, u > 1 ? act->p + 1 : act->p - 1) * e * e;
        break;
    }
    }
}

static void test_activation(bool half, struct activation act, bool gated, int64_t rows, int64_t width)
{
    backend.storage = half ? DTYPE_BF16 : DTYPE_F32;
    const int64_t line = gated ? 2 * width : width;
    array pre(normals((size_t)(rows * line), 2, 0), half), dh(normals((size_t)(rows * width), 1, 0), half);
    array h((size_t)(rows * width), half);
    std::string name = text("act %s kind %d a %g p %g%s %lldx%lld", half ? "bf16" : "fp32", (int)act.kind, act.a, act.p,
                            gated ? " gated" : "", (long long)rows, (long long)width);
    struct ffn_up_args f = {};
    f.rows = rows, f.width = width, f.act = act, f.gated = gated, f.pre = pre.at(), f.h = h.at();
    run_twice(name + " forward", {&pre, &h}, [&] { cuda_activation_forward(&backend, &f); });
    report(name + " forward keeps pre", pre.seen[0] == pre.image ? 0 : 1, 0);
    numbers rh((size_t)(rows * width)), rpre((size_t)(rows * line));
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j++) {
            double value, slope, u = gated ? pre.exact[i * line + width + j] : 1, gradient = dh.exact[i * width + j];
            reference_activation(&act, pre.exact[i * line + j], &value, &slope);
            rh[i * width + j] = value * u;
            rpre[i * line + j] = gradient * u * slope;
            if (gated)
                rpre[i * line + width + j] = gradient * value;
        }
    compare(name + " h", h, rh);
    struct ffn_up_backward_args g = {};
    g.rows = rows, g.width = width, g.act = act, g.gated = gated, g.pre = pre.at(), g.dh = dh.at();
    run_twice(name + " backward", {&pre, &dh}, [&] { cuda_activation_backward(&backend, &g); });
    compare(name + " d_pre", pre, rpre);
}

/* Far out nothing overflows and the derivative is what it must be, element by element. */
static void test_elephant_tail(double a, double p)
{
    backend.storage = DTYPE_F32;
    array pre({0.0, 1e-30, -1e-3, 0.99, 1.0, -1.01, 4.0, -256.0, 300.0, 1e4, -1e18, 3e38, -3e38, 1.5, -0.5, 40000.0},
              false);
    array dh(numbers(16, 1.0), false);
    const struct activation act = {ACT_ELEPHANT, a, p};
    struct ffn_up_backward_args g = {};
    g.rows = 1, g.width = 16, g.act = act, g.pre = pre.at(), g.dh = dh.at();
    std::string name = text("elephant tail a %g p %g", a, p);
    run_twice(name, {&pre, &dh}, [&] { cuda_activation_backward(&backend, &g); });
    numbers d = pre.decode(pre.seen[0]);
    double worst = 0;
    for (size_t i = 0; i < d.size(); i++) {
        double f, slope;
        reference_activation(&act, pre.exact[i], &f, &slope);
        double error = fabs(d[i] - slope) / (fabs(slope) + 1e-36); /* smaller ones may be flushed to 0 */
        worst = isfinite(d[i]) ? std::max(worst, error) : NAN;
    }
    report(name + " worst relative error of a derivative", worst, 1e-4);
}

/* share: of rows that have token 1; the others are Zipf's. */
static void test_embed(bool half, int64_t rows, int64_t dim, int64_t vocab, double share)
{
    backend.storage = half ? DTYPE_BF16 : DTYPE_F32;
    const size_t n = (size_t)(rows * dim), m = (size_t)(vocab * dim);
    std::vector<int32_t> tokens((size_t)rows);
    for (int32_t &t : tokens)
        t = uniform() < share ? 1 : (int32_t)std::min((double)(vocab - 1), exp(uniform() * log((double)vocab + 1)) - 1);
    buffer ids(tokens.data(), tokens.size() * 4);
    array table(normals(m, 1, 0), half), out(n, half), d_out(normals(n, 1, 0), half), d_table(normals(m, 1, 0), false);
    struct embed_args a = {rows, dim, vocab, (const int32_t *)ids.at(), table.at(), out.at(), d_out.at(), d_table.at()};
    std::string name = text("embed %s %lldx%lld vocab %lld share %g", half ? "bf16" : "fp32", (long long)rows,
                            (long long)dim, (long long)vocab, share);
    run_twice(name + " forward", {&ids, &table, &out}, [&] { cuda_embed_forward(&backend, &a); });
    numbers r(n), rt = d_table.exact;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < dim; j++) {
            r[i * dim + j] = table.exact[tokens[i] * dim + j];
            rt[tokens[i] * dim + j] += d_out.exact[i * dim + j];
        }
    report(name + " out exact", out.decode(out.seen[0]) == r ? 0 : 1, 0);
    workspace_most = 0;
    run_twice(name + " backward", {&ids, &d_out, &d_table}, [&] { cuda_embed_backward(&backend, &a); });
    compare(name + " d_table", d_table, rt);
    report(name + " workspace within its bound", workspace_most <= cuda_embed_backward_bytes(rows, dim) ? 0 : 1, 0);
}

static void test_optimizer(bool half, double clip, bool poison)
{
    backend.storage = half ? DTYPE_BF16 : DTYPE_F32;
    std::vector<int64_t> sizes = {1, 7, 4095, 4096, 4097, 16385, 100003, 0};
    sizes.resize(78, 33);
    std::vector<array *> p, g, m, v, copy;
    std::vector<buffer *> all;
    std::vector<struct optimizer_tensor> tensors;
    for (size_t i = 0; i < sizes.size(); i++) {
        const size_t n = (size_t)sizes[i], skip = i == 5 ? 4 : 0;
        numbers second = normals(n, 0.01, 0);
        for (double &e : second)
            e = e * e;
        numbers gradient = normals(n, 0.1, 0.01);
        if (poison && i == 6)
            gradient[99999] = INFINITY;
        p.push_back(new array(normals(n, 1, 0), false, skip));
        g.push_back(new array(gradient, false));
        m.push_back(new array(normals(n, 0.01, 0), false));
        v.push_back(new array(second, false));
        copy.push_back(new array(numbers(n, 0.0), true, i == 4 ? 2 : 0));
        tensors.push_back(
            {p[i]->at(), g[i]->at(), m[i]->at(), v[i]->at(), half ? copy[i]->at() : NULL, (int64_t)n, i % 2 == 0});
        all.insert(all.end(), {p[i], g[i], m[i], v[i], copy[i]});
    }
    const int64_t before = 4;
    const struct cuda_step_values step = {0.05, 1};
    MUST(cudaMemcpy(values, &step, sizeof step, cudaMemcpyHostToDevice));
    buffer norm(NULL, 8), updates(&before, 8), squares(NULL, 8 * tensors.size());
    all.insert(all.end(), {&norm, &updates, &squares});
    struct grad_squares_args sa = {tensors.data(), (int)tensors.size(), (double *)squares.at()};
    struct norm_of_squares_args na = {(double *)squares.at(), (int)tensors.size(), (double *)norm.at()};
    struct adamw_args aa = {tensors.data(),
                            (int)tensors.size(),
                            (double *)norm.at(),
                            (int64_t *)updates.at(),
                            clip,
                            0.9,
                            0.95,
                            1e-8,
                            0.1,
                            1};
    std::string name = text("adamw %s clip %g%s", half ? "bf16" : "fp32", clip, poison ? " not finite" : "");
    run_twice(name, all, [&] {
        cuda_grad_squares(&backend, &sa);
        cuda_norm_of_squares(&backend, &na);
        cuda_adamw(&backend, &aa);
    });
    double total = 0, seen;
    int64_t after;
    memcpy(&seen, norm.seen[0].data(), 8);
    memcpy(&after, updates.seen[0].data(), 8);
    for (array *t : g)
        for (double x : t->exact)
            total += x * x;
    total = sqrt(total);
    report(name + " updates", (double)llabs(after - before - (poison ? 0 : 1)), 0);
    if (poison)
        report(name + " norm", isfinite(seen) ? 1 : 0, 0);
    else
        report(name + " norm", fabs(seen - total) / total, 1e-12);
    const double scale = clip > 0 ? std::min(1.0, clip / (total + 1e-6)) : 1, t = (double)before + 1;
    bool copies = true;
    for (size_t i = 0; i < sizes.size(); i++) {
        if (poison) {
            bool same = p[i]->seen[0] == p[i]->image && m[i]->seen[0] == m[i]->image && v[i]->seen[0] == v[i]->image &&
                        copy[i]->seen[0] == copy[i]->image;
            report(name + text(" tensor %zu untouched", i), same ? 0 : 1, 0);
            continue;
        }
        numbers rp = p[i]->exact, rm = m[i]->exact, rv = v[i]->exact, now = p[i]->decode(p[i]->seen[0]);
        for (size_t j = 0; j < rp.size(); j++) {
            const double e = g[i]->exact[j] * scale;
            rm[j] = 0.9 * rm[j] + 0.1 * e;
            rv[j] = 0.95 * rv[j] + 0.05 * e * e;
            rp[j] -= tensors[i].decay ? step.lr * 0.1 * rp[j] : 0;
            rp[j] -= step.lr * (rm[j] / (1 - pow(0.9, t))) / (sqrt(rv[j] / (1 - pow(0.95, t))) + 1e-8);
        }
        compare(name + text(" p %zu", i), *p[i], rp);
        compare(name + text(" m %zu", i), *m[i], rm);
        compare(name + text(" v %zu", i), *v[i], rv);
        copies = copies && (!half || copy[i]->seen[0] == array::encode(now, true));
    }
    report(name + " copies rounded to nearest even", copies ? 0 : 1, 0);
    if (half && !poison) {
        struct copy_parameters_args ca = {tensors.data(), (int)tensors.size()};
        run_twice(name + " copy_parameters", all, [&] { cuda_copy_parameters(&backend, &ca); });
        for (size_t i = 0; i < sizes.size(); i++)
            copies = copies && copy[i]->seen[0] == array::encode(p[i]->exact, true);
        report(name + " copy_parameters", copies ? 0 : 1, 0);
    }
    for (auto *list : {&p, &g, &m, &v, &copy})
        for (array *t2 : *list)
            delete t2;
}

/* A captured embed_backward must do what the call does: the sort must not want more than the stream. */
static void test_capture()
{
    backend.storage = DTYPE_BF16;
    const int64_t rows = 20000, dim = 96, vocab = 500;
    std::vector<int32_t> tokens((size_t)rows);
    for (int32_t &t : tokens)
        t = (int32_t)(generator() % (uint64_t)vocab);
    buffer ids(tokens.data(), tokens.size() * 4);
    array d_out(normals((size_t)(rows * dim), 1, 0), true), d_table(normals((size_t)(vocab * dim), 1, 0), false);
    struct embed_args a = {rows, dim, vocab, (const int32_t *)ids.at(), NULL, NULL, d_out.at(), d_table.at()};
    run_twice("captured embed_backward: called", {&ids, &d_out, &d_table}, [&] { cuda_embed_backward(&backend, &a); });
    std::vector<unsigned char> called = d_table.seen[0];
    cudaGraph_t graph;
    cudaGraphExec_t runnable;
    MUST(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    cuda_embed_backward(&backend, &a);
    MUST(cudaStreamEndCapture(stream, &graph));
    MUST(cudaGraphInstantiate(&runnable, graph, 0));
    run_twice("captured embed_backward: replayed", {&ids, &d_out, &d_table},
              [&] { MUST(cudaGraphLaunch(runnable, stream)); });
    report("captured embed_backward: bits", d_table.seen[0] == called ? 0 : 1, 0);
    cudaGraphExecDestroy(runnable);
    cudaGraphDestroy(graph);
}

int main(int argc, char **argv)
{
    const unsigned long long seed = argc > 1 ? strtoull(argv[1], NULL, 10) : std::random_device()();
    printf("seed %llu\n", seed);
    generator.seed(seed);
    int device;
    MUST(cudaGetDevice(&device));
    MUST(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
    MUST(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    MUST(cudaMalloc(&workspace, WORKSPACE));
    MUST(cudaMalloc((void **)&values, sizeof *values));
    const int64_t dims[] = {1, 8, 33, 96, 384, 768, 1024, 2048, 3000, 4096, 5000, 8192, 8200};
    for (int half = 0; half < 2; half++) {
        const int before = failures;
        for (enum norm_kind kind : {NORM_LAYERNORM, NORM_RMSNORM})
            for (int64_t rows : {1, 7, 129})
                for (int64_t dim : dims)
                    for (int variant = 0; variant < 4 && rows * dim < 1000000; variant++)
                        test_norm(half, kind, rows, dim, variant);
        test_norm(half, NORM_LAYERNORM, 5001, 768, 2);
        test_norm(half, NORM_LAYERNORM, 9001, 96, 0);
        printf("norm %s: %s\n", half ? "bf16" : "fp32", failures == before ? "PASS" : "FAIL");
        const int before_act = failures;
        const struct activation kinds[] = {{ACT_GELU_ERF, 1, 1},   {ACT_GELU_TANH, 1, 1},  {ACT_RELU2, 1, 1},
                                           {ACT_SILU, 1, 1},       {ACT_ELEPHANT, 1, 8},   {ACT_ELEPHANT, 0.7, 4},
                                           {ACT_ELEPHANT, 1.3, 5}, {ACT_ELEPHANT, 2, 2.5}, {ACT_ELEPHANT, 1, 1}};
        for (const struct activation &act : kinds)
            for (int gated = 0; gated < 2; gated++)
                for (int64_t rows : {1, 7, 129})
                    for (int64_t width : {1, 8, 33, 96, 768, 5000})
                        if (rows * width > 8) /* a relative norm over very few numbers near 0 says nothing */
                            test_activation(half, act, gated, rows, width);
        printf("activation %s: %s\n", half ? "bf16" : "fp32", failures == before_act ? "PASS" : "FAIL");
        const int before_embed = failures;
        const int64_t shapes[][3] = {{1, 1, 3},        {7, 8, 3},         {129, 33, 256},   {129, 768, 256},
                                     {129, 96, 50304}, {4099, 96, 50304}, {4099, 768, 256}, {4099, 5000, 300},
                                     {20011, 33, 256}, {64, 8, 1}};
        for (const auto &s : shapes)
            for (double share : {0.0, 0.3, 1.0})
                test_embed(half, s[0], s[1], s[2], s[2] == 1 ? 0.0 : share);
        printf("embed %s: %s\n", half ? "bf16" : "fp32", failures == before_embed ? "PASS" : "FAIL");
        const int before_adam = failures;
        for (double clip : {0.0, 1.0, 1e6})
            test_optimizer(half, clip, false);
        test_optimizer(half, 1.0, true);
        printf("optimizer %s: %s\n", half ? "bf16" : "fp32", failures == before_adam ? "PASS" : "FAIL");
    }
    for (double p : {1.0, 4.0, 8.0, 2.5})
        for (double a : {1.0, 0.1})
            test_elephant_tail(a, p);
    test_capture();
    printf("%d checks, %d failed\n", checks, failures);
    timings();
    return failures > 0;
}
