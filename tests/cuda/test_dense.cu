/* test_dense.cu: linear, ffn_up, classifier, column sums and matrix products against plain loops in double, and their
 * times at the shapes of a training step. By itself: it brings its own device functions. From the repository's root:
 *
 *   cc -O2 -std=gnu17 -D_GNU_SOURCE -I. -c base/err.c base/file.c base/path.c
 *   nvcc -std=c++17 -O3 -I. -gencode arch=compute_90a,code=sm_90a -o test_dense tests/cuda/test_dense.cu \
 *       kernels/cuda/{gemm,gemm_simt,gemm_table,gemm_tune,column_sum,linear,ffn,classifier}.cu \
 *       err.o file.o path.o -lcublasLt -ldl
 *   ./test_dense [--times | --tests | --tune]
 *
 * No option: tests and times. --tune: times, then writes cuda_algorithms.txt beside the program, and times with it.
 *
 * A device buffer lies between guards; outputs begin as NaN where they are overwritten, as random numbers where they
 * are added to; each case runs twice and must give the same bits.
 */
#include "tests/cuda/dense_frame.cuh"
#include "tests/cuda/dense_times.cuh"

static void test_products(bool simt)
{
    begin(simt ? "gemm_simt" : "cuda_gemm_run");
    for (int i = 0; i < 240; i++) {
        struct cuda_gemm p = {};
        p.ta = i & 1;
        p.tb = i & 2;
        p.accumulate = i & 4;
        p.c_wide = i & 8;
        p.m = pick({1, 7, 33, 64, 129, 256});
        p.n = pick({1, 7, 33, 64, 129, 256});
        p.k = pick({1, 7, 33, 64, 129, 512});
        int64_t pad = pick({0, 0, 8, 3});
        int shift = coin() ? 0 : (int)pick({1, 4, 8});
        p.lda = (p.ta ? p.m : p.k) + pad;
        p.ldb = (p.tb ? p.k : p.n) + pad;
        p.ldc = p.n + pad;
        bool with_bias = !p.c_wide && coin();
        struct buffer a(STORE, (p.ta ? p.k : p.m) * p.lda, 1, shift), b(STORE, (p.tb ? p.n : p.k) * p.ldb, 1, shift);
        struct buffer c(p.c_wide ? WIDE : STORE, p.m * p.ldc, 1, shift), bias(STORE, p.n, 1, shift);
        multiply(c.ref, p.accumulate, p.ta, p.tb, p.m, p.n, p.k, a.x, p.lda, b.x, p.ldb, p.ldc,
                 with_bias ? &bias.x : NULL);
        if (!p.accumulate && pad == 0)
            c.poison();
        p.a = a.device;
        p.b = b.device;
        p.c = c.device;
        p.bias = with_bias ? bias.device : NULL;
        char what[200];
        snprintf(what, sizeof what, "%c%c m %d n %d k %d pad %d shift %d add %d wide %d bias %d", p.ta ? 't' : 'n',
                 p.tb ? 't' : 'n', (int)p.m, (int)p.n, (int)p.k, (int)pad, shift, p.accumulate, p.c_wide, with_bias);
        check(what, {&a, &b, &c, &bias}, {&c}, [&] {
            if (!simt) {
                cuda_gemm_run(B, &p, "test");
                return;
            }
            struct gemm_key key = {};
            key.bf16 = cuda_is_bf16(B);
            key.ta = p.ta;
            key.tb = p.tb;
            key.accumulate = p.accumulate;
            key.c_float = p.c_wide || !cuda_is_bf16(B);
            key.m = p.m;
            key.n = p.n;
            key.k = p.k;
            key.lda = p.lda;
            key.ldb = p.ldb;
            key.ldc = p.ldc;
            gemm_simt(&key, p.a, p.b, p.c, p.bias, the_backend.stream);
        });
    }
}

static void test_column_sums()
{
    begin("column_sum");
    for (int64_t rows : {1, 7, 64, 65, 1000, 20001})
        for (int64_t columns : {1, 7, 8, 33, 256, 300, 2304})
            for (int kind = 0; kind < 3; kind++) {
                int64_t ld = columns + (kind == 1 ? 8 : 0);
                struct buffer x(STORE, rows * ld, 1, kind == 2), sums(WIDE, columns, 1, kind == 2);
                for (int64_t i = 0; i < rows; i++)
                    for (int64_t j = 0; j < columns; j++)
                        sums.ref[(size_t)j] += x.x[(size_t)(i * ld + j)];
                char what[80];
                snprintf(what, sizeof what, "rows %d columns %d kind %d", (int)rows, (int)columns, kind);
                check(what, {&x, &sums}, {&sums}, [&] {
                    void *scratch = cuda_workspace(B, cuda_column_sum_bytes(rows, columns));
                    cuda_column_sum(B, rows, columns, ld, x.device, (float *)sums.device, scratch, "test");
                });
            }
}

static void test_linear(int64_t rows, int64_t in, int64_t out, bool biased, bool dx_accumulate)
{
    char what[120];
    snprintf(what, sizeof what, "rows %d in %d out %d bias %d add %d", (int)rows, (int)in, (int)out, biased,
             dx_accumulate);
    struct buffer x(STORE, rows * in, 1), w(STORE, out * in, 1), bias(STORE, out, 1), y(STORE, rows * out, 1);
    struct buffer dy(STORE, rows * out, 1), dx(STORE, rows * in, 1), d_w(WIDE, out * in, 1), d_bias(WIDE, out, 1);
    multiply(y.ref, false, false, true, rows, out, in, x.x, in, w.x, in, out, biased ? &bias.x : NULL);
    multiply(dx.ref, dx_accumulate, false, false, rows, in, out, dy.x, out, w.x, in, in, NULL);
    multiply(d_w.ref, true, true, false, out, in, rows, dy.x, out, x.x, in, in, NULL);
    for (int64_t i = 0; biased && i < rows; i++)
        for (int64_t j = 0; j < out; j++)
            d_bias.ref[(size_t)j] += dy.x[(size_t)(i * out + j)];
    y.poison();
    if (!dx_accumulate)
        dx.poison();
    check(what, {&x, &w, &bias, &y, &dy, &dx, &d_w, &d_bias}, {&y, &dx, &d_w, &d_bias}, [&] {
        struct linear_args f = {};
        f.rows = rows;
        f.in = in;
        f.out = out;
        f.x = x.device;
        f.w = w.device;
        f.bias = biased ? bias.device : NULL;
        f.y = y.device;
        cuda_linear_forward(B, &f);
        struct linear_backward_args g = {};
        g.rows = rows;
        g.in = in;
        g.out = out;
        g.x = x.device;
        g.w = w.device;
        g.dy = dy.device;
        g.dx = dx.device;
        g.dx_accumulate = dx_accumulate;
        g.d_w = d_w.device;
        g.d_bias = biased ? d_bias.device : NULL;
        cuda_linear_backward(B, &g);
    });
}

static void test_linears()
{
    begin("linear");
    int i = 0;
    for (int64_t rows : {1, 7, 33, 129, 256})
        for (int64_t in : {1, 8, 33, 64, 129})
            for (int64_t out : {1, 7, 64, 130}) {
                test_linear(rows, in, out, i % 3 != 0, i % 2 != 0);
                i++;
            }
    test_linear(2000, 96, 288, true, false);
    test_linear(2000, 96, 288, true, true);
}

static void test_ffn(int64_t rows, int64_t in, int64_t width, bool gated)
{
    char what[120];
    int64_t out = gated ? 2 * width : width;
    snprintf(what, sizeof what, "rows %d in %d width %d gated %d", (int)rows, (int)in, (int)width, gated);
    struct buffer x(STORE, rows * in, 1), w(STORE, out * in, 0.3), bias(STORE, out, 1), pre(STORE, rows * out, 1);
    struct buffer h(STORE, rows * width, 1), dh(STORE, rows * width, 1), dx(STORE, rows * in, 1);
    struct buffer d_w(WIDE, out * in, 1), d_bias(WIDE, out, 1);
    multiply(pre.ref, false, false, true, rows, out, in, x.x, in, w.x, in, out, &bias.x);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j++) {
            double *p = &pre.ref[(size_t)(i * out + j)], d = dh.x[(size_t)(i * width + j)];
            double g = fmax(as_stored(p[0]), 0), u = gated ? as_stored(p[width]) : 1;
            h.ref[(size_t)(i * width + j)] = g * g * u;
            p[0] = as_stored(d * u * 2 * g);
            if (gated)
                p[width] = as_stored(d * g * g);
        }
    multiply(dx.ref, true, false, false, rows, in, out, pre.ref, out, w.x, in, in, NULL);
    multiply(d_w.ref, true, true, false, out, in, rows, pre.ref, out, x.x, in, in, NULL);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < out; j++)
            d_bias.ref[(size_t)j] += pre.ref[(size_t)(i * out + j)];
    pre.poison();
    h.poison();
    check(what, {&x, &w, &bias, &pre, &h, &dh, &dx, &d_w, &d_bias}, {&pre, &h, &dx, &d_w, &d_bias}, [&] {
        struct ffn_up_args f = {};
        f.rows = rows;
        f.in = in;
        f.width = width;
        f.act.kind = ACT_RELU2;
        f.gated = gated;
        f.x = x.device;
        f.w = w.device;
        f.bias = bias.device;
        f.pre = pre.device;
        f.h = h.device;
        cuda_ffn_up_forward(B, &f);
        struct ffn_up_backward_args g = {};
        g.rows = rows;
        g.in = in;
        g.width = width;
        g.act.kind = ACT_RELU2;
        g.gated = gated;
        g.x = x.device;
        g.w = w.device;
        g.pre = pre.device;
        g.dh = dh.device;
        g.dx = dx.device;
        g.dx_accumulate = true;
        g.d_w = d_w.device;
        g.d_bias = d_bias.device;
        cuda_ffn_up_backward(B, &g);
    });
}

enum classifier_mode { GRADIENT, LOSS_ONLY, BAD_TARGET };

/* spread: standard deviation of the logits. */
static void test_classifier(int64_t rows, int64_t dim, int64_t vocab, int64_t chunk, enum classifier_mode mode,
                            double spread = 1)
{
    char what[120];
    const double scale = 0.125;
    snprintf(what, sizeof what, "rows %d dim %d vocab %d chunk %d mode %d", (int)rows, (int)dim, (int)vocab, (int)chunk,
             (int)mode);
    struct buffer x(STORE, rows * dim, 3 * spread / sqrt((double)dim)), w(STORE, vocab * dim, 1);
    struct buffer logits(STORE, chunk * vocab, 1);
    struct buffer loss(DOUBLE, 1, 1), dx(STORE, rows * dim, 1), d_w(WIDE, vocab * dim, 1);
    std::vector<int32_t> targets((size_t)rows);
    std::vector<double> d_logits((size_t)(rows * vocab));
    for (int64_t i = 0; i < rows; i++)
        targets[(size_t)i] = i % 5 == 3   ? -1
                             : i % 7 == 0 ? 0
                             : i % 7 == 1 ? (int32_t)vocab - 1
                                          : (int32_t)((uniform() + 1) / 2 * (double)vocab);
    multiply(d_logits, false, false, true, rows, vocab, dim, x.x, dim, w.x, dim, vocab, NULL);
    for (int64_t i = 0; i < rows; i++) {
        double *row = &d_logits[(size_t)(i * vocab)], top = -INFINITY, sum = 0;
        int32_t target = targets[(size_t)i];
        for (int64_t j = 0; j < vocab; j++)
            top = fmax(top, row[j] = as_stored(row[j]));
        for (int64_t j = 0; j < vocab; j++)
            sum += exp(row[j] - top);
        if (target >= 0)
            loss.ref[0] += log(sum) + top - row[target];
        for (int64_t j = 0; j < vocab; j++)
            row[j] = target < 0 ? 0 : as_stored((exp(row[j] - top) / sum - (j == target)) * scale);
    }
    if (mode == GRADIENT) {
        multiply(dx.ref, false, false, false, rows, dim, vocab, d_logits, vocab, w.x, dim, dim, NULL);
        multiply(d_w.ref, true, true, false, vocab, dim, rows, d_logits, vocab, x.x, dim, dim, NULL);
        dx.poison();
    }
    if (mode == BAD_TARGET)
        targets[(size_t)(rows / 2)] = coin() ? (int32_t)vocab : coin() ? INT32_MIN : INT32_MAX;
    struct cuda_step_values values = {1, scale};
    int32_t *device_targets;
    must(cudaMalloc((void **)&device_targets, (size_t)rows * sizeof *device_targets), "targets");
    must(cudaMemcpy(device_targets, targets.data(), (size_t)rows * 4, cudaMemcpyHostToDevice), "targets");
    must(cudaMemcpy(the_backend.values, &values, sizeof values, cudaMemcpyHostToDevice), "values");
    logits.poison();
    std::vector<struct buffer *> outputs = {&loss, &dx, &d_w};
    if (mode == BAD_TARGET)
        outputs = {&loss};
    auto work = [&] {
        struct classifier_args a = {};
        a.rows = rows;
        a.dim = dim;
        a.vocab = vocab;
        a.chunk_rows = chunk;
        a.x = x.device;
        a.w = w.device;
        a.targets = device_targets;
        a.logits = logits.device;
        a.loss_sum = (double *)loss.device;
        a.dx = mode == LOSS_ONLY ? NULL : dx.device;
        a.d_w = mode == LOSS_ONLY ? NULL : d_w.device;
        cuda_classifier(B, &a);
    };
    if (mode != BAD_TARGET) {
        check(what, {&x, &w, &logits, &loss, &dx, &d_w}, outputs, work);
    } else {
        for (struct buffer *p : {&x, &w, &logits, &loss, &dx, &d_w})
            p->send();
        work();
        must(cudaStreamSynchronize(the_backend.stream), what);
        std::vector<unsigned char> got = loss.fetch(), got_dx = dx.fetch();
        bool good = isnan(buffer::value(got, 8, 0)) && !the_backend.failed;
        for (int64_t i = 0; i < rows; i++)
            good = good && (bool)isnan(buffer::value(got_dx, dx.width, (size_t)(i * dim))) == (i == rows / 2);
        verdict(good, what, 0);
        the_backend.failed = false;
        arena_used = 0;
    }
    must(cudaFree(device_targets), "targets");
}

static void test_classifiers()
{
    begin("classifier");
    for (int64_t vocab : {1, 2, 7, 8, 33, 256, 257, 1000, 4099})
        for (int64_t rows : {1, 7, 33, 70})
            test_classifier(rows, pick({1, 16, 33}), vocab, pick({1, 16, 64, 100}), rows == 7 ? LOSS_ONLY : GRADIENT);
    test_classifier(12, 32, 50304, 8, GRADIENT);
    test_classifier(12, 32, 50257, 8, GRADIENT);
    test_classifier(12, 32, 50257, 8, LOSS_ONLY);
    test_classifier(3, 8, 130001, 3, GRADIENT);
    if (!cuda_is_bf16(B)) /* logits of 40: a rounding of one in bf16 would be 13 % of its exponential */
        test_classifier(33, 64, 1000, 16, GRADIENT, 12);
    test_classifier(33, 16, 257, 16, BAD_TARGET);
    test_classifier(6, 16, 50304, 6, BAD_TARGET);
}

/* Kept and read again give the same bits. */
static void test_rows()
{
    begin("classifier_rows");
    for (int64_t vocab : {5, 31, 512, 1031, 50304, 50257}) {
        int64_t rows = 9;
        struct buffer kept(STORE, rows * vocab, 10), again(STORE, rows * vocab, 10);
        struct buffer losses(DOUBLE, rows, 1), losses_again(DOUBLE, rows, 1);
        again.start = kept.start;
        std::vector<int32_t> targets = {0, (int32_t)vocab - 1, 1, -1, 2, 3, 4, -1, (int32_t)vocab / 2};
        struct cuda_step_values values = {1, 0.5};
        int32_t *device_targets;
        must(cudaMalloc((void **)&device_targets, 64), "targets");
        must(cudaMemcpy(device_targets, targets.data(), 36, cudaMemcpyHostToDevice), "targets");
        must(cudaMemcpy(the_backend.values, &values, sizeof values, cudaMemcpyHostToDevice), "values");
        for (struct buffer *p : {&kept, &again, &losses, &losses_again})
            p->send();
        cuda_classifier_rows(B, rows, vocab, kept.device, device_targets, (double *)losses.device, true,
                             CLASSIFIER_KEEP);
        cuda_classifier_rows(B, rows, vocab, again.device, device_targets, (double *)losses_again.device, true,
                             CLASSIFIER_REREAD);
        must(cudaStreamSynchronize(the_backend.stream), "rows");
        char what[60];
        snprintf(what, sizeof what, "vocab %d", (int)vocab);
        /* A kept row begins at the same place of a 16-byte line in both: buffers are aligned alike. */
        verdict(kept.fetch() == again.fetch() && losses.fetch() == losses_again.fetch() && !the_backend.failed, what,
                0);
        must(cudaFree(device_targets), "targets");
        arena_used = 0;
        the_backend.failed = false;
    }
}

static void test_table()
{
    begin("gemm_table");
    char path[] = "/tmp/baka-algorithms-XXXXXX";
    int fd = mkstemp(path);
    struct err err = {};
    struct gemm_table t = {};
    FILE *f = fdopen(fd, "w");
    fprintf(f, "# head\nOther GPU\t1.2.3\tkey\t1 2 3 4 5 6 7 8\n");
    fclose(f);
    struct gemm_table_row rows[2] = {};
    char one[] = "key one", two[] = "key two";
    rows[0].key = one;
    rows[1].key = two;
    for (int i = 0; i < 8; i++) {
        rows[0].algorithm.data[i] = 0xfedcba9876543210u + (uint64_t)i;
        rows[1].algorithm.data[i] = (uint64_t)i;
    }
    bool good = gemm_table_save(path, "A GPU", "1.2.3", rows, 2, &err) == 0 &&
                gemm_table_load(&t, path, "A GPU", "1.2.3", &err) == 0 && t.count == 2;
    const cublasLtMatmulAlgo_t *found = good ? gemm_table_find(&t, "key one") : NULL;
    good = good && found && memcmp(found, &rows[0].algorithm, sizeof *found) == 0 && !gemm_table_find(&t, "key");
    verdict(good, "save and load", 0);
    uint64_t hash = t.hash;
    gemm_table_finish(&t);
    rows[0].algorithm.data[7]++;
    good = gemm_table_save(path, "A GPU", "1.2.3", rows, 1, &err) == 0 &&
           gemm_table_load(&t, path, "A GPU", "1.2.3", &err) == 0 && t.count == 2 && t.hash != hash;
    verdict(good, "replace a row", 0);
    gemm_table_finish(&t);
    good = gemm_table_load(&t, path, "Other GPU", "1.2.3", &err) == 0 && t.count == 1;
    gemm_table_finish(&t);
    good = good && gemm_table_load(&t, path, "Other GPU", "1.2.4", &err) == 0 && t.count == 0;
    verdict(good, "other GPUs and versions", 0);
    f = fopen(path, "a");
    fprintf(f, "A GPU\t1.2.3\tkey three\t1 2 3 4 5 6 7\n");
    fclose(f);
    verdict(gemm_table_load(&t, path, "A GPU", "1.2.3", &err) == -ERR_DAMAGED && t.count == 0, "damaged line", 0);
    remove(path);
    good = gemm_table_load(&t, path, "A GPU", "1.2.3", &err) == 0 && t.count == 0;
    verdict(good, "absent file", 0);
}

static bool run_tests()
{
    bool good = true;
    for (enum dtype storage : {DTYPE_F32, DTYPE_BF16}) {
        B->storage = storage;
        groups.clear();
        test_products(true);
        test_products(false);
        test_column_sums();
        test_linears();
        begin("ffn_up");
        for (int i = 0; i < 12; i++)
            test_ffn(pick({1, 7, 33, 129}), pick({7, 16, 33}), pick({1, 7, 32, 65}), i % 2);
        test_classifiers();
        test_rows();
        test_table();
        printf("\n%s           cases   bad   worst relative norm\n", storage == DTYPE_BF16 ? "bf16" : "fp32");
        for (const struct group &g : groups) {
            printf("%-16s %4d  %4d   %.2e   %s\n", g.name, g.cases, g.bad, g.worst, g.bad ? "FAIL" : "PASS");
            good = good && g.bad == 0;
        }
        print_plans();
    }
    return good;
}

static void open_gemms()
{
    struct err err = {};
    cuda_gemm_destroy(the_backend.gemms);
    if (cuda_gemm_create(the_backend.gemm_scratch, GEMM_SCRATCH, &the_backend.gemms, &err) != 0) {
        printf("FAIL %s %s\n", err.path, err.message);
        exit(1);
    }
}

static void print_line(void *context, const char *line)
{
    (void)context;
    printf("%s\n", line);
}

int main(int argc, char **argv)
{
    const char *option = argc > 1 ? argv[1] : "";
    bool tune = strcmp(option, "--tune") == 0, good = true;
    setvbuf(stdout, NULL, _IOLBF, 0);
    /* A blocking stream: it waits for the copies above and below, which go to the default stream. */
    must(cudaStreamCreate(&the_backend.stream), "stream");
    must(cudaMalloc(&the_backend.scratch, SCRATCH), "scratch");
    must(cudaMalloc(&the_backend.gemm_scratch, GEMM_SCRATCH), "scratch");
    must(cudaMalloc((void **)&the_backend.values, sizeof *the_backend.values), "values");
    open_gemms();
    if (strcmp(option, "--times") != 0 && !tune) {
        must(cudaMalloc((void **)&arena, ARENA), "arena");
        good = run_tests();
        must(cudaFree(arena), "arena");
    }
    if (strcmp(option, "--tests") != 0) {
        open_gemms(); /* without the plans of the tests */
        run_times();
    }
    if (tune) {
        struct err err = {};
        if (cuda_gemm_tune(the_backend.gemms, the_backend.stream, NULL, print_line, NULL, &err) != 0) {
            printf("FAIL %s %s\n", err.path, err.message);
            return 1;
        }
        open_gemms();
        run_times();
    }
    good = good && !the_backend.failed;
    cuda_gemm_destroy(the_backend.gemms);
    printf("%s\n", good ? "PASS" : "FAIL");
    return good ? 0 : 1;
}
