/* test_model_rmt.c: the recurrent memory. Segments of one window are windows after one another; what is carried matters
 * and is what came out; the gradient, through all segments of a window and not beyond, is the derivative; without
 * memory positions nothing changes, and neither does anything by threads and recomputation. */
#include "gradient_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/philox.h"
#include "worker/model_parts.h"

enum { ROWS = 3, SEQ = 6, WIDTH = 8 };

static struct spec rmt_spec(int64_t tokens, int64_t bptt)
{
    struct spec s = case_spec();
    s.train.seq_len = SEQ;
    s.memory.rmt.tokens = tokens;
    s.memory.rmt.bptt = bptt;
    return s;
}

static void choose(struct model_case *c, bool fresh)
{
    model_choose_windows(c->model, &(struct window_key){.fresh = fresh});
}

static void write_state(struct model_case *c, const double *values)
{
    size_t bytes = (size_t)(ROWS * c->plan.rmt_tokens * c->spec.model.dim) * sizeof(double);
    c->model->ops->upload(c->model->backend, c->model->rmt_state, values, bytes);
    c->model->ops->upload(c->model->backend, c->model->rmt_eval_state, values, bytes);
}

/* Tokens [begin, begin + n) of the text of the case, for windows of n. */
static void take_tokens(struct model_case *c, const struct model_case *from, int64_t begin)
{
    int64_t n = c->spec.train.seq_len, whole = from->spec.train.seq_len;
    c->counted = 0;
    for (int64_t i = 0; i < ROWS * n; i++) {
        c->inputs[i] = from->inputs[i / n * whole + begin + i % n];
        c->targets[i] = from->targets[i / n * whole + begin + i % n];
        c->counted += c->targets[i] >= 0;
    }
}

static void segments_are_windows(void **state)
{
    (void)state;
    for (int64_t segments = 2; segments <= 3; segments++)
        for (int training = 0; training < 2; training++) {
            struct spec s = rmt_spec(2, segments), t = rmt_spec(2, 1);
            t.train.seq_len = SEQ / segments;
            s.train.micro_batch = 2;
            t.train.micro_batch = 1;
            struct model_case whole, part;
            case_open(&whole, &s, CASE_VOCAB, "cpu-fp64", 1);
            case_open(&part, &t, CASE_VOCAB, "cpu-fp64", 1);
            case_randomize(&whole, 3);
            case_randomize(&part, 3);
            choose(&whole, true);
            double (*run)(struct model_case *) = training ? case_backward : case_loss;
            double loss = run(&whole) * (double)whole.counted, sum = 0;
            for (int64_t g = 0; g < segments; g++) {
                take_tokens(&part, &whole, g * SEQ / segments);
                choose(&part, g == 0);
                sum += run(&part) * (double)part.counted;
            }
            assert_true(fabs(sum - loss) <= 1e-13 * loss);
            case_close(&whole);
            case_close(&part);
        }
}

static void what_is_carried_is_what_came_out(void **state)
{
    (void)state;
    struct spec s = rmt_spec(2, 1);
    s.train.recompute = RECOMPUTE_NONE;
    struct model_case c;
    struct err err = {0};
    case_open(&c, &s, CASE_VOCAB, "cpu", 1);
    case_randomize(&c, 3);
    choose(&c, true);
    double fresh = case_loss(&c);
    static float rows[ROWS * (SEQ + 4) * WIDTH], carried[ROWS * 2 * WIDTH];
    c.model->ops->download(c.model->backend, rows, c.model->stream_rows, sizeof rows);
    c.model->ops->download(c.model->backend, carried, c.model->rmt_eval_state, sizeof carried);
    assert_int_equal(c.model->ops->sync(c.model->backend, &err), 0);
    for (int row = 0; row < ROWS; row++)
        assert_memory_equal(carried + (ptrdiff_t)row * 2 * WIDTH, rows + ((ptrdiff_t)row * (SEQ + 4) + SEQ + 2) * WIDTH,
                            2 * WIDTH * sizeof(float));
    choose(&c, false);
    double second = case_loss(&c);
    assert_true(fabs(second - fresh) > 1e-3 * fresh);
    c.model->ops->zero(c.model->backend, c.model->rmt_eval_state, sizeof carried); /* dropped */
    assert_true(fabs(case_loss(&c) - second) > 1e-3 * second);
    choose(&c, true);
    assert_true(case_loss(&c) == fresh);
    case_close(&c);
}

static double *held;

static double held_backward(struct model_case *c)
{
    write_state(c, held);
    return case_backward(c);
}

static double held_loss(struct model_case *c)
{
    write_state(c, held);
    return case_loss(c);
}

static void check_gradient(const struct spec *s, bool fresh)
{
    struct model_case c;
    case_open(&c, s, CASE_VOCAB, "cpu-fp64", 1);
    case_randomize(&c, 3);
    for (int64_t i = 0; i < ROWS * s->train.seq_len; i++)
        c.first[i] = (int32_t)s->memory.xl.len; /* an xl memory is empty */
    held = calloc((size_t)(ROWS * c.plan.rmt_tokens * s->model.dim), sizeof *held);
    assert_non_null(held);
    struct philox p;
    philox_init(&p, 9, "test", "state");
    for (int64_t i = 0; i < ROWS * c.plan.rmt_tokens * s->model.dim; i++)
        held[i] = philox_normal(&p);
    choose(&c, fresh);
    gradient_check(&c, held_backward, held_loss);
    double sum = 0, *gradient = case_read(&c, CASE_GRADIENTS);
    int64_t at = 0;
    for (int i = 0; i < c.plan.parameter_count; i++) {
        int64_t n = c.plan.parameters[i].rows * c.plan.parameters[i].cols;
        for (int64_t j = 0; strcmp(c.plan.parameters[i].name, "rmt.weight") == 0 && j < n; j++)
            sum += fabs(gradient[at + j]);
        at += n;
    }
    assert_true(fresh ? sum > 1e-3 : sum == 0); /* nothing goes beyond the window's start */
    free(gradient);
    free(held);
    case_close(&c);
}

static void backward_is_the_derivative(void **state)
{
    (void)state;
    for (int variant = 0; variant < 12; variant++) {
        struct spec s = rmt_spec(1 + variant % 3, (int64_t[]){1, 2, 3, 6}[variant % 4]);
        s.model.parallel_residual = variant % 3 != 2;
        s.model.norms = variant % 3 == 1 ? 1 : 2;
        s.model.tie_embeddings = variant % 2;
        s.model.bias = variant % 5 < 3;
        s.train.micro_batch = 1 + variant % 3;
        s.train.recompute = (enum spec_recompute)(RECOMPUTE_NONE + variant / 4);
        check_gradient(&s, variant % 2 == 0);
    }
    struct spec s = rmt_spec(2, 1); /* with all the others */
    s.memory.xl.len = 4;
    s.memory.pause.tokens = 2;
    check_gradient(&s, true);
    s.memory.pause.mode = PAUSE_PREDICT_FROM_LAST;
    check_gradient(&s, false);
}

/* Whose activations are in parts, one a segment, like those of attention. */
static void so_it_is_with_each_feed_forward_layer(void **state)
{
    (void)state;
    for (int ffn = 0; ffn < CASE_FFNS; ffn++) {
        struct spec s = rmt_spec(2, 3);
        case_set_ffn(&s, ffn);
        s.model.parallel_residual = ffn % 2;
        s.train.micro_batch = 2;
        s.train.recompute = (enum spec_recompute)(RECOMPUTE_NONE + ffn % 3);
        check_gradient(&s, true);
    }
}

struct outcome {
    double losses[6], *parameters;
    float state[ROWS * 2 * WIDTH];
};

static struct outcome train(const struct spec *s, int threads)
{
    struct outcome o = {0};
    struct model_case c;
    struct err err = {0};
    case_open(&c, s, CASE_VOCAB, "cpu", threads);
    case_randomize(&c, 3);
    for (int step = 0; step < 6; step++) {
        choose(&c, step % 3 == 0);
        o.losses[step] = case_backward(&c);
        case_step(&c, step + 1, 0.01);
    }
    o.parameters = case_read(&c, CASE_PARAMETERS);
    if (s->memory.rmt.tokens > 0) {
        struct model_tensor t;
        int last = model_state_count(c.model) - 1;
        model_state_tensor(c.model, last, &t);
        assert_string_equal(t.name, "rmt.state");
        assert_int_equal(t.bytes, sizeof o.state);
        assert_int_equal(model_read_state(c.model, last, o.state, &err), 0);
    }
    case_close(&c);
    return o;
}

static void same(const struct outcome *a, const struct spec *s, int threads)
{
    struct outcome b = train(s, threads);
    struct plan p;
    struct err err = {0};
    assert_int_equal(plan_make(s, CASE_VOCAB, &plan_device_cpu, &p, &err), 0);
    assert_memory_equal(a->losses, b.losses, sizeof a->losses);
    assert_memory_equal(a->state, b.state, sizeof a->state);
    assert_memory_equal(a->parameters, b.parameters, (size_t)p.params * sizeof(double));
    plan_finish(&p);
    free(b.parameters);
}

static void what_must_not_matter_does_not(void **state)
{
    (void)state;
    for (int64_t bptt = 1; bptt <= 3; bptt++) {
        struct spec s = rmt_spec(2, bptt);
        s.train.micro_batch = 2;
        s.model.parallel_residual = bptt < 3;
        s.train.recompute = RECOMPUTE_NONE;
        struct outcome o = train(&s, 1);
        same(&o, &s, 2);
        for (int r = RECOMPUTE_CHEAP; r <= RECOMPUTE_ALL; r++) {
            s.train.recompute = (enum spec_recompute)r;
            same(&o, &s, 1);
        }
        free(o.parameters);
    }
}

static void without_memory_positions_nothing_changes(void **state)
{
    (void)state;
    struct spec plain = case_spec(), s = rmt_spec(0, 1);
    plain.train.seq_len = SEQ;
    struct outcome o = train(&plain, 1);
    same(&o, &s, 1);
    free(o.parameters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_are_windows),          cmocka_unit_test(what_is_carried_is_what_came_out),
        cmocka_unit_test(backward_is_the_derivative),    cmocka_unit_test(so_it_is_with_each_feed_forward_layer),
        cmocka_unit_test(what_must_not_matter_does_not), cmocka_unit_test(without_memory_positions_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
