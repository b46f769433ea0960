/* test_order_memory.c: what rows may see of a memory: told by `first`, checked against what their streams had before.
 * Token p has id p, so that a row tells where it came from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"
#include "text/order.h"

enum { COUNT = 400, TRAIN = 290, SEQ = 7, BATCH = 3, ROW_MOST = COUNT };

static int32_t ids[COUNT];
static const uint64_t documents[] = {0, 1, 30, 37, 38, 90, 200, 280, 300, 301, 350};
enum { DOCUMENTS = sizeof documents / sizeof *documents };

static struct token_file make_file(void)
{
    struct token_file f = {.ids = ids, .documents = documents};
    for (int i = 0; i < COUNT; i++)
        ids[i] = i;
    f.header.id_bytes = 4;
    f.header.vocab = INT32_MAX;
    f.header.count = COUNT;
    f.header.train_count = TRAIN;
    f.header.document_count = DOCUMENTS;
    return f;
}

static int document_of(int32_t token)
{
    int d = 0;
    while (d + 1 < DOCUMENTS && documents[d + 1] <= (uint64_t)token)
        d++;
    return d;
}

/* What the streams had in this epoch. */
struct streams {
    int32_t had[BATCH][ROW_MOST];
    int64_t n[BATCH];
};

/* Position i of a row sees those of the memory and the row from first[i] on: as many tokens back as the rule says. */
static void check_row(struct streams *s, int row, const struct order_batch *b, enum spec_reset reset, int64_t memory)
{
    const int32_t *inputs = b->inputs + row * SEQ, *first = b->first + row * SEQ;
    for (int64_t i = 0; i < SEQ && b->targets[row * SEQ + i] >= 0; i++) {
        s->had[row][s->n[row]++] = inputs[i];
        int64_t back = 0, most = memory + i;
        while (back < most && back + 1 < s->n[row]) {
            int32_t token = s->had[row][s->n[row] - 2 - back];
            if (reset == RESET_DOCUMENT && document_of(token) != document_of(inputs[i]))
                break;
            back++;
        }
        assert_int_equal(memory + i - first[i], back);
    }
}

static void training_sees_its_stream(void **state)
{
    (void)state;
    static struct streams s;
    struct token_file f = make_file();
    struct order_batch b = {0};
    int32_t inputs[BATCH * SEQ], targets[BATCH * SEQ], first[BATCH * SEQ];
    b.inputs = inputs, b.targets = targets, b.first = first;
    for (int64_t memory = 1; memory < 40; memory += 6)
        for (int reset = RESET_EPOCH; reset <= RESET_DOCUMENT; reset++) {
            struct order *o = NULL;
            struct err err = {0};
            assert_int_equal(order_create(&f, ORDER_STREAM, (enum spec_reset)reset, 5, SEQ, BATCH, &o, &err), 0);
            order_set_memory(o, memory);
            for (int64_t epoch = 0; epoch < 2; epoch++) {
                memset(&s, 0, sizeof s);
                for (int64_t step = 0; step < order_steps_per_epoch(o); step++) {
                    order_fill(o, epoch, step, &b);
                    for (int row = 0; row < b.rows; row++)
                        check_row(&s, row, &b, (enum spec_reset)reset, memory);
                }
                assert_int_equal(s.n[0] + s.n[1] + s.n[2], TRAIN - 1);
            }
            order_destroy(o);
        }
}

static void check_evaluation(const struct token_file *f, enum token_split split, enum spec_reset reset, int64_t memory)
{
    static struct streams s;
    struct order_batch b = {0}, plain = {0};
    int32_t inputs[BATCH * SEQ], targets[BATCH * SEQ], first[BATCH * SEQ];
    int32_t same_inputs[BATCH * SEQ], same_targets[BATCH * SEQ], same_first[BATCH * SEQ];
    b.inputs = inputs, b.targets = targets, b.first = first;
    plain.inputs = same_inputs, plain.targets = same_targets, plain.first = same_first;
    char seen[COUNT] = {0};
    const struct order_windows streams = {split, SEQ, SEQ, BATCH}, windows = {split, SEQ, SEQ, 1};
    int64_t predictions = 0, begin = split == SPLIT_VAL ? TRAIN : 0, n = split == SPLIT_VAL ? COUNT - TRAIN : TRAIN;
    memset(&s, 0, sizeof s);
    for (int64_t step = 0; step < order_eval_steps(f, &streams); step++) {
        order_eval_stream_fill(f, &streams, reset, memory, step, &b);
        predictions += b.predictions;
        for (int row = 0; row < b.rows; row++) {
            int64_t window = (inputs[row * SEQ] - begin) / SEQ;
            assert_int_equal((inputs[row * SEQ] - begin) % SEQ, 0);
            assert_false(seen[window]++);
            order_eval_fill(f, &windows, reset, window, &plain);
            assert_memory_equal(inputs + row * SEQ, same_inputs, sizeof(int32_t) * SEQ);
            assert_memory_equal(targets + row * SEQ, same_targets, sizeof(int32_t) * SEQ);
            check_row(&s, row, &b, reset, memory);
        }
    }
    assert_int_equal(predictions, n - 1);
}

static void evaluation_sees_its_stream_and_the_same_windows(void **state)
{
    (void)state;
    struct token_file f = make_file();
    for (int64_t memory = 1; memory < 40; memory += 6)
        for (int split = SPLIT_TRAIN; split <= SPLIT_VAL; split++)
            for (int reset = RESET_EPOCH; reset <= RESET_DOCUMENT; reset++)
                check_evaluation(&f, (enum token_split)split, (enum spec_reset)reset, memory);
    const struct order_windows streams = {SPLIT_VAL, SEQ, SEQ, BATCH};
    f.header.count = TRAIN + 1; /* one token predicts nothing */
    assert_int_equal(order_eval_steps(&f, &streams), 0);
    f.header.count = TRAIN + 3; /* fewer windows than streams */
    assert_int_equal(order_eval_steps(&f, &streams), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_sees_its_stream),
        cmocka_unit_test(evaluation_sees_its_stream_and_the_same_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
