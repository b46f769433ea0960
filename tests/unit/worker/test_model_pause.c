/* test_model_pause.c: windows with pauses: where they stand, what predicts what, that every token is predicted once;
 * and the model on them: its gradient, and that a memory keeps tokens alone. */
#include "gradient_case.h"

#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "worker/model_parts.h"
#include "worker/window.h"

enum { SEQ = 20, ROWS = 3, PAUSES = 6, VOCAB = 13 };

static struct spec pause_spec(enum spec_pause mode)
{
    struct spec s = case_spec();
    s.train.seq_len = SEQ;
    s.train.batch = ROWS;
    s.memory.pause.mode = mode;
    s.memory.pause.tokens = PAUSES;
    return s;
}

/* Row r's token i is 100 r + i, and predicts 1000 more. */
struct text {
    struct plan plan;
    struct window window;
    int32_t inputs[ROWS * SEQ], targets[ROWS * SEQ], first[ROWS * SEQ];
};

static void text_fill(struct text *t, const struct spec *s, int64_t epoch, int64_t number, int64_t rows)
{
    struct err err = {0};
    assert_int_equal(plan_make(s, VOCAB, &plan_device_cpu, &t->plan, &err), 0);
    window_init(&t->window, s, &t->plan);
    for (int32_t i = 0; i < ROWS * SEQ; i++) {
        t->inputs[i] = 100 * (i / SEQ) + i % SEQ;
        t->targets[i] = i / SEQ == 1 && i % SEQ > 12 ? -1 : t->inputs[i] + 1000; /* one row ends early */
        t->first[i] = (int32_t)(i % SEQ >= 7 ? t->plan.xl_len + 7 : t->plan.xl_len > 2 ? t->plan.xl_len - 2 : 0);
    }
    const struct window_key key = {.epoch = epoch, .number = number};
    window_fill(&t->window, &key, rows, t->inputs, t->targets, t->first);
}

static void text_finish(struct text *t)
{
    window_finish(&t->window);
    plan_finish(&t->plan);
}

/* Tokens in order, pauses where they say they are, each prediction once, at the token or the last pause behind it. */
static void check_row(const struct text *t, const struct spec *s, int64_t row)
{
    const struct window *w = &t->window;
    const int32_t *places = w->places + row * SEQ, *pauses = w->pauses + row * PAUSES;
    const int32_t *tokens = w->tokens + row * t->plan.run, *targets = w->targets + row * t->plan.run;
    const int32_t *first = w->first + row * t->plan.run;
    int64_t token = 0, pause = 0;
    assert_int_equal(places[0], 0);
    for (int32_t at = 0; at < t->plan.run; at++) {
        bool is_token = token < SEQ && places[token] == at;
        if (is_token)
            assert_int_equal(tokens[at], t->inputs[row * SEQ + token++]);
        else
            assert_int_equal(pauses[pause++], at);
        bool before_pause = pause < PAUSES && pauses[pause] == at + 1;
        bool predicts = s->memory.pause.mode == PAUSE_DROP ? is_token : !before_pause;
        assert_int_equal(targets[at], predicts ? t->targets[row * SEQ + token - 1] : -1);
        assert_int_equal(first[at], token > 7 ? t->plan.xl_len + places[7] : t->first[row * SEQ]);
    }
    assert_int_equal(token, SEQ);
    assert_int_equal(pause, PAUSES);
}

static void every_token_is_predicted_once(void **state)
{
    (void)state;
    for (int mode = PAUSE_DROP; mode <= PAUSE_PREDICT_FROM_LAST; mode++)
        for (int64_t epoch = WINDOW_EVALUATION; epoch < 20; epoch++) {
            struct spec s = pause_spec((enum spec_pause)mode);
            s.memory.xl.len = epoch % 2 ? 5 : 0;
            static struct text t;
            text_fill(&t, &s, epoch, 3 * epoch + 3, ROWS);
            for (int64_t row = 0; row < ROWS; row++)
                check_row(&t, &s, row);
            text_finish(&t);
        }
}

static void dropped_pauses_are_spread_evenly(void **state)
{
    (void)state;
    struct spec s = pause_spec(PAUSE_DROP);
    static struct text t;
    text_fill(&t, &s, 0, 0, ROWS);
    static const int32_t at[] = {3, 7, 11, 15, 19, 23}; /* behind tokens 2, 5, 8, 11, 14, 17 and the pauses before */
    for (int row = 0; row < ROWS; row++)
        assert_memory_equal(t.window.pauses + (int64_t)row * PAUSES, at, sizeof at);
    text_finish(&t);
}

static void drawn_pauses_follow_the_window_alone(void **state)
{
    (void)state;
    struct spec s = pause_spec(PAUSE_PREDICT_FROM_LAST);
    static struct text a, b;
    text_fill(&a, &s, 2, 6, ROWS);
    for (int64_t i = 0; i < ROWS; i++) { /* however rows are put together */
        text_fill(&b, &s, 2, 6 + i, 1);
        assert_memory_equal(a.window.pauses + i * PAUSES, b.window.pauses, PAUSES * sizeof(int32_t));
        text_finish(&b);
    }
    assert_memory_not_equal(a.window.pauses, a.window.pauses + PAUSES, PAUSES * sizeof(int32_t));
    text_fill(&b, &s, 3, 6, ROWS);
    assert_memory_not_equal(a.window.pauses, b.window.pauses, PAUSES * sizeof(int32_t));
    text_finish(&b);
    s.train.seed = 2;
    text_fill(&b, &s, 2, 6, ROWS);
    assert_memory_not_equal(a.window.pauses, b.window.pauses, PAUSES * sizeof(int32_t));
    text_finish(&b);
    text_finish(&a);
}

static void backward_is_the_derivative(void **state)
{
    (void)state;
    for (int variant = 0; variant < 6; variant++) {
        struct spec s = case_spec();
        s.memory.pause.mode = variant % 2 ? PAUSE_PREDICT_FROM_LAST : PAUSE_DROP;
        s.memory.pause.tokens = 1 + variant % 4;
        s.model.parallel_residual = variant % 3 != 2;
        s.model.tie_embeddings = variant % 2;
        s.data.reset = variant > 2 ? RESET_DOCUMENT : RESET_EPOCH;
        s.train.micro_batch = 1 + variant % 3;
        s.train.recompute = (enum spec_recompute)(RECOMPUTE_NONE + variant % 3);
        struct model_case c;
        case_open(&c, &s, CASE_VOCAB, "cpu-fp64", 1);
        case_randomize(&c, 3);
        gradient_check(&c, case_backward, case_loss);
        case_close(&c);
    }
}

static void download(struct model_case *c, void *to, const void *from, size_t bytes)
{
    struct err err = {0};
    c->model->ops->download(c->model->backend, to, from, bytes);
    assert_int_equal(c->model->ops->sync(c->model->backend, &err), 0);
}

static void a_memory_keeps_tokens_alone(void **state)
{
    (void)state;
    for (int mode = PAUSE_DROP; mode <= PAUSE_PREDICT_FROM_LAST; mode++)
        for (int training = 0; training < 2; training++) {
            struct spec s = pause_spec((enum spec_pause)mode);
            s.memory.xl.len = SEQ; /* the past is the window */
            s.train.recompute = RECOMPUTE_NONE;
            struct model_case c;
            case_open(&c, &s, CASE_VOCAB, "cpu", 1);
            case_randomize(&c, 3);
            double loss = training ? case_backward(&c) : case_loss(&c);
            assert_true(loss > 0);
            enum { WIDTH = 8, RUN = SEQ + PAUSES };
            static float past[ROWS * SEQ * 2 * WIDTH], qkv[ROWS * RUN * 3 * WIDTH];
            struct model_layer *layer = &c.model->layers[1];
            download(&c, past, training ? layer->past : layer->eval_past, sizeof past);
            download(&c, qkv, layer->qkv_rows, sizeof qkv);
            for (int64_t i = 0; i < (int64_t)ROWS * SEQ; i++) {
                int64_t at = i / SEQ * RUN + c.model->window.places[i];
                assert_memory_equal(past + i * 2 * WIDTH, qkv + at * 3 * WIDTH + WIDTH, 2 * WIDTH * sizeof(float));
            }
            case_close(&c);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_token_is_predicted_once),        cmocka_unit_test(dropped_pauses_are_spread_evenly),
        cmocka_unit_test(drawn_pauses_follow_the_window_alone), cmocka_unit_test(backward_is_the_derivative),
        cmocka_unit_test(a_memory_keeps_tokens_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
