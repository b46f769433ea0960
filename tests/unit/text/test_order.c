/* test_order.c: every prediction exactly once an epoch, for random sizes, batches, documents and both orders. The token
 * file lies in memory and token p has id p, so that a row tells where it came from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/philox.h"
#include "text/order.h"

struct text {
    struct token_file file;
    int32_t *ids;
    uint64_t *documents;
};

static struct text make_text(uint64_t count, uint64_t train, const uint64_t *documents, uint64_t n)
{
    struct text t = {0};
    t.ids = malloc(count * sizeof *t.ids);
    t.documents = malloc(n * sizeof *t.documents);
    for (uint64_t i = 0; i < count; i++)
        t.ids[i] = (int32_t)i;
    memcpy(t.documents, documents, n * sizeof *documents);
    t.file.header.id_bytes = 4;
    t.file.header.vocab = INT32_MAX;
    t.file.header.count = count;
    t.file.header.train_count = train;
    t.file.header.document_count = n;
    t.file.ids = t.ids;
    t.file.documents = t.documents;
    return t;
}

static void free_text(struct text *t)
{
    free(t->ids);
    free(t->documents);
}

static struct order_batch make_batch(int64_t positions)
{
    struct order_batch b = {0};
    b.inputs = malloc((size_t)positions * sizeof *b.inputs);
    b.targets = malloc((size_t)positions * sizeof *b.targets);
    b.first = malloc((size_t)positions * sizeof *b.first);
    return b;
}

static void free_batch(struct order_batch *b)
{
    free(b->inputs);
    free(b->targets);
    free(b->first);
}

static int is_start(const struct text *t, int32_t p)
{
    for (uint64_t d = 0; d < t->file.header.document_count; d++)
        if (t->documents[d] == (uint64_t)p)
            return 1;
    return 0;
}

/* One row's shape: counted positions first, then padding; `first` as the documents say. Returns the counted ones. */
static int64_t check_row(const struct text *t, enum spec_reset reset, const int32_t *inputs, const int32_t *targets,
                         const int32_t *first, int64_t seq_len)
{
    int64_t n = 0, visible = 0;
    while (n < seq_len && targets[n] >= 0)
        n++;
    for (int64_t i = 0; i < seq_len; i++) {
        if (i >= n) {
            assert_int_equal(targets[i], -1);
            assert_int_equal(inputs[i], 0);
            assert_int_equal(first[i], 0);
            continue;
        }
        if (i > 0)
            assert_int_equal(inputs[i], targets[i - 1]);
        if (reset == RESET_DOCUMENT && is_start(t, inputs[i]))
            visible = i;
        assert_int_equal(first[i], visible);
    }
    return n;
}

static void check_epoch(const struct text *t, enum spec_order kind, enum spec_reset reset, struct order *o,
                        int64_t epoch, int64_t seq_len, int64_t batch)
{
    int64_t train = (int64_t)t->file.header.train_count, total = 0;
    struct order_batch b = make_batch(seq_len * batch);
    char *as_input = calloc((size_t)train, 1), *as_target = calloc((size_t)train, 1);
    assert_int_equal(order_predictions_per_epoch(o), train - 1);
    for (int64_t step = 0; step < order_steps_per_epoch(o); step++) {
        assert_int_equal(order_predictions_before(o, step), total);
        memset(b.inputs, 0x55, (size_t)(seq_len * batch) * 4);
        memset(b.targets, 0x55, (size_t)(seq_len * batch) * 4);
        memset(b.first, 0x55, (size_t)(seq_len * batch) * 4);
        order_fill(o, epoch, step, &b);
        assert_true(b.rows >= 1 && b.rows <= batch);
        int64_t in_step = 0;
        for (int64_t row = 0; row < batch; row++) {
            const int32_t *inputs = b.inputs + row * seq_len, *targets = b.targets + row * seq_len;
            int64_t n = check_row(t, reset, inputs, targets, b.first + row * seq_len, seq_len);
            assert_true(row < b.rows ? n >= 1 : n == 0);
            for (int64_t i = 0; i < n; i++) {
                assert_true(inputs[i] < train && targets[i] < train);
                assert_false(as_input[inputs[i]]++);
                assert_false(as_target[targets[i]]++);
                if (kind == ORDER_SHUFFLE || !is_start(t, targets[i]))
                    assert_int_equal(targets[i], inputs[i] + 1);
                else /* the text goes on with another document only where one ends */
                    assert_true(inputs[i] + 1 == train || is_start(t, inputs[i] + 1));
            }
            in_step += n;
        }
        assert_int_equal(b.predictions, in_step);
        total += in_step;
    }
    assert_int_equal(total, train - 1);
    assert_int_equal(order_predictions_before(o, order_steps_per_epoch(o)), total);
    free(as_input);
    free(as_target);
    free_batch(&b);
}

static uint64_t random_documents(struct philox *r, uint64_t count, uint64_t *out)
{
    uint64_t n = 0, share = 1 + philox_below(r, 20);
    out[n++] = 0;
    for (uint64_t p = 1; p < count; p++)
        if (philox_below(r, share) == 0)
            out[n++] = p;
    return n;
}

static void test_every_prediction_once(void **state)
{
    (void)state;
    struct philox r;
    philox_init(&r, 7, "test", "order");
    uint64_t documents[400];
    for (int round = 0; round < 400; round++) {
        uint64_t count = 2 + philox_below(&r, 300), train = 2 + philox_below(&r, count - 1);
        uint64_t n = random_documents(&r, count, documents);
        struct text t = make_text(count, train, documents, n);
        int64_t seq_len = 1 + (int64_t)philox_below(&r, 40), batch = 1 + (int64_t)philox_below(&r, 12);
        for (int kind = ORDER_SHUFFLE; kind <= ORDER_STREAM; kind++) {
            enum spec_reset reset = philox_below(&r, 2) ? RESET_DOCUMENT : RESET_EPOCH;
            struct order *o = NULL;
            struct err err = {0};
            assert_int_equal(order_create(&t.file, (enum spec_order)kind, reset, round, seq_len, batch, &o, &err), 0);
            for (int64_t epoch = 0; epoch < 3; epoch++)
                check_epoch(&t, (enum spec_order)kind, reset, o, epoch, seq_len, batch);
            order_destroy(o);
        }
        free_text(&t);
    }
}

/* Shape as the header promises it: whole windows and rows until the last step (shuffle); streams equal to one (stream).
 */
static void test_shapes(void **state)
{
    (void)state;
    const uint64_t documents[] = {0};
    struct text t = make_text(104, 104, documents, 1);
    struct order *o = NULL;
    struct order_batch b = make_batch(40);
    assert_int_equal(order_create(&t.file, ORDER_SHUFFLE, RESET_EPOCH, 1, 10, 4, &o, NULL), 0);
    assert_int_equal(order_steps_per_epoch(o), 3); /* 103 predictions: 10 windows and 3 positions */
    assert_int_equal(order_predictions_before(o, 2), 80);
    order_fill(o, 5, 2, &b);
    assert_int_equal(b.rows, 3);
    assert_int_equal(b.predictions, 23);
    order_destroy(o);

    assert_int_equal(order_create(&t.file, ORDER_STREAM, RESET_EPOCH, 1, 10, 4, &o, NULL), 0);
    assert_int_equal(order_steps_per_epoch(o), 3); /* streams of 26, 26, 26, 25 */
    order_fill(o, 0, 1, &b);
    assert_int_equal(b.inputs[0], 10);
    assert_int_equal(b.inputs[10], 36);
    assert_int_equal(b.inputs[30], 88);
    order_fill(o, 0, 2, &b);
    assert_int_equal(b.predictions, 6 + 6 + 6 + 5);
    order_destroy(o);
    free_batch(&b);
    free_text(&t);
}

/* The inputs of a whole epoch, one after the other. */
static int32_t *epoch_inputs(const struct text *t, enum spec_order kind, int64_t seed, int64_t epoch, int64_t *size)
{
    struct order *o = NULL;
    assert_int_equal(order_create(&t->file, kind, RESET_EPOCH, seed, 8, 4, &o, NULL), 0);
    *size = order_steps_per_epoch(o) * 32;
    int32_t *all = malloc((size_t)*size * sizeof *all);
    struct order_batch b = make_batch(32);
    for (int64_t step = 0; step < order_steps_per_epoch(o); step++) {
        order_fill(o, epoch, step, &b);
        memcpy(all + step * 32, b.inputs, 32 * sizeof *all);
    }
    free_batch(&b);
    order_destroy(o);
    return all;
}

static void test_differs_by_epoch_and_seed_only(void **state)
{
    (void)state;
    uint64_t documents[60];
    for (uint64_t i = 0; i < 60; i++)
        documents[i] = i * 13;
    struct text t = make_text(900, 800, documents, 60);
    for (int kind = ORDER_SHUFFLE; kind <= ORDER_STREAM; kind++) {
        int64_t n;
        int32_t *a = epoch_inputs(&t, (enum spec_order)kind, 1, 0, &n);
        int32_t *again = epoch_inputs(&t, (enum spec_order)kind, 1, 0, &n);
        int32_t *epoch1 = epoch_inputs(&t, (enum spec_order)kind, 1, 1, &n);
        int32_t *seed2 = epoch_inputs(&t, (enum spec_order)kind, 2, 0, &n);
        assert_memory_equal(a, again, (size_t)n * sizeof *a);
        assert_memory_not_equal(a, epoch1, (size_t)n * sizeof *a);
        assert_memory_not_equal(a, seed2, (size_t)n * sizeof *a);
        free(a);
        free(again);
        free(epoch1);
        free(seed2);
    }
    free_text(&t);
}

/* A step is the same whatever was asked for before: a resumed run sees what the undisturbed one saw. */
static void test_any_step_first(void **state)
{
    (void)state;
    uint64_t documents[40];
    for (uint64_t i = 0; i < 40; i++)
        documents[i] = i * 17;
    struct text t = make_text(700, 690, documents, 40);
    for (int kind = ORDER_SHUFFLE; kind <= ORDER_STREAM; kind++) {
        struct order *o = NULL, *fresh = NULL;
        struct order_batch a = make_batch(32), b = make_batch(32);
        assert_int_equal(order_create(&t.file, (enum spec_order)kind, RESET_DOCUMENT, 3, 8, 4, &o, NULL), 0);
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            for (int64_t step = 0; step < order_steps_per_epoch(o); step++) {
                order_fill(o, epoch, step, &a);
                assert_int_equal(order_create(&t.file, (enum spec_order)kind, RESET_DOCUMENT, 3, 8, 4, &fresh, NULL),
                                 0);
                order_fill(fresh, epoch, step, &b);
                assert_memory_equal(a.inputs, b.inputs, 32 * 4);
                assert_memory_equal(a.targets, b.targets, 32 * 4);
                assert_memory_equal(a.first, b.first, 32 * 4);
                order_destroy(fresh);
            }
        }
        order_destroy(o);
        free_batch(&a);
        free_batch(&b);
    }
    free_text(&t);
}

static void test_evaluation_sees_all_once(void **state)
{
    (void)state;
    struct philox r;
    philox_init(&r, 8, "test", "eval");
    uint64_t documents[400];
    for (int round = 0; round < 200; round++) {
        uint64_t count = 1 + philox_below(&r, 200), train = 1 + philox_below(&r, count);
        uint64_t n = random_documents(&r, count, documents);
        struct text t = make_text(count, train, documents, n);
        int64_t seq_len = 1 + (int64_t)philox_below(&r, 30), batch = 1 + (int64_t)philox_below(&r, 8);
        struct order_batch b = make_batch(seq_len * batch);
        for (int split = SPLIT_TRAIN; split <= SPLIT_VAL; split++) {
            int64_t next = split == SPLIT_TRAIN ? 0 : (int64_t)train;
            int64_t end = split == SPLIT_TRAIN ? (int64_t)train : (int64_t)count;
            struct order_windows windows = {(enum token_split)split, seq_len, seq_len, batch};
            int64_t steps = order_eval_steps(&t.file, &windows);
            assert_true(end - next >= 2 ? steps >= 1 : steps == 0);
            for (int64_t step = 0; step < steps; step++) {
                int64_t in_step = 0;
                order_eval_fill(&t.file, &windows, RESET_DOCUMENT, step, &b);
                for (int64_t row = 0; row < batch; row++) {
                    const int32_t *inputs = b.inputs + row * seq_len, *targets = b.targets + row * seq_len;
                    int64_t k = check_row(&t, RESET_DOCUMENT, inputs, targets, b.first + row * seq_len, seq_len);
                    assert_true(row < b.rows ? k >= 1 : k == 0);
                    for (int64_t i = 0; i < k; i++, next++) {
                        assert_int_equal(inputs[i], next);
                        assert_int_equal(targets[i], next + 1);
                    }
                    in_step += k;
                }
                assert_int_equal(b.predictions, in_step);
            }
            if (steps)
                assert_int_equal(next, end - 1);
        }
        free_batch(&b);
        free_text(&t);
    }
}

/* Windows that overlap: every prediction once, none but the first window's with less text before it than the windows'
 * overlap. */
static void test_sliding_windows_count_all_once(void **state)
{
    (void)state;
    struct philox r;
    philox_init(&r, 9, "test", "sliding");
    const uint64_t documents[] = {0};
    for (int round = 0; round < 300; round++) {
        uint64_t count = 2 + philox_below(&r, 200);
        struct text t = make_text(count, count, documents, 1);
        int64_t seq_len = 1 + (int64_t)philox_below(&r, 30), batch = 1 + (int64_t)philox_below(&r, 5), next = 0;
        struct order_windows windows = {SPLIT_TRAIN, seq_len, 1 + (int64_t)philox_below(&r, (uint64_t)seq_len), batch};
        struct order_batch b = make_batch(seq_len * batch);
        int64_t steps = order_eval_steps(&t.file, &windows);
        for (int64_t step = 0; step < steps; step++) {
            order_eval_fill(&t.file, &windows, RESET_EPOCH, step, &b);
            assert_true(b.rows >= 1);
            int64_t counted = 0;
            for (int64_t i = 0; i < batch * seq_len; i++) {
                if (b.targets[i] < 0)
                    continue;
                assert_int_equal(b.inputs[i], next);
                assert_int_equal(b.targets[i], next + 1);
                assert_true(next < seq_len || i % seq_len >= seq_len - windows.stride);
                next++;
                counted++;
            }
            assert_int_equal(b.predictions, counted);
        }
        assert_int_equal(next, count - 1);
        free_batch(&b);
        free_text(&t);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    const uint64_t documents[] = {0};
    struct text t = make_text(5, 1, documents, 1);
    struct order *o = NULL;
    struct err err = {0};
    assert_int_equal(order_create(&t.file, ORDER_SHUFFLE, RESET_EPOCH, 1, 8, 4, &o, &err), -ERR_INVALID);
    assert_non_null(strstr(err.message, "at least 2"));
    t.file.header.train_count = 5;
    assert_int_equal(order_create(&t.file, ORDER_SHUFFLE, RESET_EPOCH, 1, 0, 4, &o, &err), -ERR_INVALID);
    assert_int_equal(order_create(&t.file, ORDER_STREAM, RESET_EPOCH, 1, 8, 0, &o, &err), -ERR_INVALID);
    assert_null(o);
    free_text(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_prediction_once),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_differs_by_epoch_and_seed_only),
        cmocka_unit_test(test_any_step_first),
        cmocka_unit_test(test_evaluation_sees_all_once),
        cmocka_unit_test(test_sliding_windows_count_all_once),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
