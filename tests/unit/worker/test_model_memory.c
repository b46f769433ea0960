/* test_model_memory.c: the memory of keys and values. Windows with a memory of all that came before are one pass over
 * all of it; a cache that is dropped, or another layer's, is seen; where positions begin does not matter; the gradient
 * of a window is the derivative with its memory held; micro-batches, threads and recomputation change nothing. */
#include "gradient_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/philox.h"
#include "worker/model_parts.h"

enum { WINDOW = 7, WINDOWS = 4, TEXT = WINDOW * WINDOWS, VOCAB = 31 };

static struct spec memory_spec(int64_t len)
{
    struct spec s = case_spec();
    s.model.dim = 16;
    s.model.layers = 3;
    s.model.d_ff = 24;
    s.model.ffn.type = FFN_SWIGLU;
    s.train.seq_len = WINDOW;
    s.memory.xl.len = len;
    return s;
}

/* Token i of a row's text. */
static int32_t token(int64_t row, int64_t i)
{
    return (int32_t)((row * 17 + i * i * 5 + i / 3) % VOCAB);
}

/* Window `index` of every row's text, which begins at window 0 with an empty memory of `memory` positions. */
static void take_window(struct model_case *c, int64_t index, int64_t memory)
{
    int64_t seq = c->spec.train.seq_len, seen = index * seq < memory ? index * seq : memory;
    for (int64_t i = 0; i < c->spec.train.batch * seq; i++) {
        c->inputs[i] = token(i / seq, index * seq + i % seq);
        c->targets[i] = token(i / seq, index * seq + i % seq + 1);
        c->first[i] = (int32_t)(memory - seen);
    }
    c->counted = c->spec.train.batch * seq;
}

static void open_case(struct model_case *c, const struct spec *s, const char *backend, int threads)
{
    case_open(c, s, VOCAB, backend, threads);
    case_randomize(c, 4);
}

/* What the classifier reads of the batch that was evaluated last: logits are a product of it with the head. */
static void read_last(struct model_case *c, float *out)
{
    struct err err = {0};
    size_t n = (size_t)(c->spec.train.batch * c->spec.train.seq_len * c->spec.model.dim);
    c->model->ops->download(c->model->backend, out, c->model->stream_rows, n * sizeof(float));
    assert_int_equal(c->model->ops->sync(c->model->backend, &err), 0);
}

enum { ROWS = 3, WIDTH = 16 };

/* One pass over the whole text, without a memory: out [ROWS][TEXT][WIDTH]. */
static void read_whole(const struct spec *with_memory, float *out)
{
    struct spec s = *with_memory;
    s.memory.xl.len = s.memory.xl.eval_len = 0;
    s.train.seq_len = TEXT;
    struct model_case c;
    open_case(&c, &s, "cpu", 1);
    take_window(&c, 0, 0);
    case_loss(&c);
    read_last(&c, out);
    case_close(&c);
}

/* Something that goes wrong between windows. */
typedef void mishap(struct model_case *c);

/* The largest difference to the one pass, over all windows. */
static double distance_to_whole(const struct spec *s, mishap *between)
{
    static float whole[ROWS * TEXT * WIDTH], part[ROWS * WINDOW * WIDTH];
    read_whole(s, whole);
    struct model_case c;
    open_case(&c, s, "cpu", 1);
    double worst = 0;
    for (int64_t w = 0; w < WINDOWS; w++) {
        take_window(&c, w, c.plan.xl_eval_len);
        if (between && w == WINDOWS - 1)
            between(&c);
        case_loss(&c);
        read_last(&c, part);
        for (int64_t i = 0; i < ROWS * WINDOW * WIDTH; i++) {
            int64_t row = i / (WINDOW * WIDTH), inside = i % (WINDOW * WIDTH);
            double d = fabs((double)(part[i] - whole[(row * TEXT + w * WINDOW) * WIDTH + inside]));
            worst = d > worst ? d : worst;
        }
    }
    case_close(&c);
    return worst;
}

static void windows_with_memory_are_one_pass(void **state)
{
    (void)state;
    static const int64_t lengths[] = {TEXT - WINDOW, TEXT + 5, 64, 200}; /* each puts the text at other positions */
    for (int i = 0; i < 4; i++) {
        struct spec s = memory_spec(lengths[i]);
        s.model.parallel_residual = i % 2;
        assert_true(distance_to_whole(&s, NULL) <= 1e-4);
    }
    struct spec s = memory_spec(1); /* an evaluation may have a longer one than training */
    s.memory.xl.eval_len = TEXT;
    s.train.recompute = RECOMPUTE_ALL;
    assert_true(distance_to_whole(&s, NULL) <= 1e-4);
}

/* And so training's memory is one of evaluations, which the above holds to one pass. */
static void training_remembers_as_evaluation_does(void **state)
{
    (void)state;
    for (int64_t len = 3; len < TEXT; len += 6) {
        struct spec s = memory_spec(len);
        struct model_case c;
        open_case(&c, &s, "cpu", 1);
        for (int64_t w = 0; w < WINDOWS; w++) {
            take_window(&c, w, len);
            double training = case_backward(&c), evaluation = case_loss(&c);
            assert_memory_equal(&training, &evaluation, sizeof training);
        }
        case_close(&c);
    }
}

static void swap_layers(struct model_case *c)
{
    void *kept = c->model->layers[0].eval_past;
    c->model->layers[0].eval_past = c->model->layers[1].eval_past;
    c->model->layers[1].eval_past = kept;
}

static void clear_cache(struct model_case *c)
{
    size_t bytes = (size_t)(ROWS * c->plan.xl_eval_len * 2 * WIDTH) * sizeof(float);
    for (int64_t i = 0; i < c->spec.model.layers; i++)
        c->model->ops->zero(c->model->backend, c->model->layers[i].eval_past, bytes);
}

static void hide_cache(struct model_case *c)
{
    for (int64_t i = 0; i < ROWS * WINDOW; i++)
        c->first[i] = (int32_t)c->plan.xl_eval_len;
}

static void a_wrong_cache_is_seen(void **state)
{
    (void)state;
    struct spec s = memory_spec(TEXT);
    assert_true(distance_to_whole(&s, swap_layers) > 1e-2);
    assert_true(distance_to_whole(&s, clear_cache) > 1e-2);
    assert_true(distance_to_whole(&s, hide_cache) > 1e-2);
    s.memory.xl.len = WINDOW; /* all of the window before, no more */
    assert_true(distance_to_whole(&s, NULL) > 1e-2);
}

/* The derivative: training's memory and that of evaluations are set to the same numbers before each loss. */
static double *held;

static void hold_memory(struct model_case *c, bool training)
{
    int64_t n = c->spec.train.batch * c->plan.xl_len * 2 * c->spec.model.dim;
    for (int64_t i = 0; i < c->spec.model.layers; i++) {
        struct model_layer *layer = &c->model->layers[i];
        c->model->ops->upload(c->model->backend, training ? layer->past : layer->eval_past, held + i * n,
                              (size_t)n * sizeof(double));
    }
}

static double held_backward(struct model_case *c)
{
    hold_memory(c, true);
    return case_backward(c);
}

static double held_loss(struct model_case *c)
{
    hold_memory(c, false);
    return case_loss(c);
}

static void backward_is_the_derivative(void **state)
{
    (void)state;
    for (int variant = 0; variant < 6; variant++) {
        struct spec s = case_spec();
        s.memory.xl.len = (int64_t[]){1, 3, 5, 9, 70, 4}[variant];
        s.model.parallel_residual = variant % 3 != 2;
        s.model.norms = variant % 3 == 1 ? 1 : 2;
        s.model.rotary_pct = variant % 2 ? 1 : 0.5;
        s.model.tie_embeddings = variant % 2;
        s.data.reset = variant % 2 ? RESET_DOCUMENT : RESET_EPOCH;
        s.train.micro_batch = 1 + variant % 3;
        s.train.recompute = (enum spec_recompute)(RECOMPUTE_NONE + variant % 3);
        struct model_case c;
        case_open(&c, &s, CASE_VOCAB, "cpu-fp64", 1);
        case_randomize(&c, 3);
        for (int64_t i = 0; i < s.train.batch * s.train.seq_len; i++)
            c.first[i] += (int32_t)(c.first[i] ? s.memory.xl.len : s.memory.xl.len / 3);
        int64_t n = s.model.layers * s.train.batch * s.memory.xl.len * 2 * s.model.dim;
        held = calloc((size_t)n, sizeof *held);
        assert_non_null(held);
        struct philox p;
        philox_init(&p, 9, "test", "memory");
        for (int64_t i = 0; i < n; i++)
            held[i] = philox_normal(&p);
        gradient_check(&c, held_backward, held_loss);
        free(held);
        case_close(&c);
    }
}

struct outcome {
    double losses[2 * WINDOWS], norms[2 * WINDOWS], *parameters;
    void *memory; /* of the last layer */
    size_t memory_bytes;
};

/* Two epochs, with an evaluation behind every other step. */
static struct outcome train(const struct spec *s, const char *backend, int threads, bool evaluate)
{
    struct outcome o = {0};
    struct model_case c;
    struct err err = {0};
    open_case(&c, s, backend, threads);
    for (int64_t step = 0; step < 2 * WINDOWS; step++) {
        take_window(&c, step % WINDOWS, c.plan.xl_len);
        o.losses[step] = case_backward(&c);
        o.norms[step] = case_step(&c, step + 1, 0.01);
        for (int64_t w = 0; evaluate && step % 2 && w < WINDOWS; w++) {
            take_window(&c, w, c.plan.xl_eval_len);
            case_loss(&c);
        }
    }
    o.parameters = case_read(&c, CASE_PARAMETERS);
    int last = model_state_count(c.model) - 1;
    struct model_tensor t;
    model_state_tensor(c.model, last, &t);
    assert_string_equal(t.name, "layers.2.past");
    assert_int_equal(t.bytes, (size_t)(ROWS * s->memory.xl.len * 2 * WIDTH) * dtype_size(t.dtype));
    o.memory = malloc(t.bytes);
    assert_non_null(o.memory);
    o.memory_bytes = t.bytes;
    assert_int_equal(model_read_state(c.model, last, o.memory, &err), 0);
    case_close(&c);
    return o;
}

static void outcome_finish(struct outcome *o)
{
    free(o->parameters);
    free(o->memory);
}

static void same_outcome(const struct outcome *a, const struct outcome *b, int64_t params)
{
    assert_memory_equal(a->losses, b->losses, sizeof a->losses);
    assert_memory_equal(a->norms, b->norms, sizeof a->norms);
    assert_memory_equal(a->parameters, b->parameters, (size_t)params * sizeof(double));
    assert_memory_equal(a->memory, b->memory, a->memory_bytes);
}

static int64_t count_params(const struct spec *s)
{
    struct plan p;
    struct err err = {0};
    assert_int_equal(plan_make(s, VOCAB, &plan_device_cpu, &p, &err), 0);
    int64_t n = p.params;
    plan_finish(&p);
    return n;
}

static void what_must_not_matter_does_not(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct spec s = memory_spec((int64_t[]){3, WINDOW, 10, 20}[i]);
        s.model.parallel_residual = i % 2;
        s.train.recompute = RECOMPUTE_NONE;
        s.train.micro_batch = 2;
        struct outcome plain = train(&s, "cpu", 1, false), again = train(&s, "cpu", 2, false);
        same_outcome(&plain, &again, count_params(&s));
        outcome_finish(&again);
        again = train(&s, "cpu", 1, true);
        same_outcome(&plain, &again, count_params(&s));
        outcome_finish(&again);
        for (int r = RECOMPUTE_CHEAP; r <= RECOMPUTE_ALL; r++) {
            s.train.recompute = (enum spec_recompute)r;
            again = train(&s, "cpu", 1, false);
            same_outcome(&plain, &again, count_params(&s));
            outcome_finish(&again);
        }
        outcome_finish(&plain);
    }
}

/* In double precision: in single, Adam makes a step of the noise in a gradient that is 0. */
static void a_micro_batch_has_the_memory_of_its_rows(void **state)
{
    (void)state;
    struct spec s = memory_spec(10);
    struct outcome whole = train(&s, "cpu-fp64", 1, false);
    for (s.train.micro_batch = 1; s.train.micro_batch < 3; s.train.micro_batch++) {
        struct outcome parts = train(&s, "cpu-fp64", 1, true);
        for (int step = 0; step < 2 * WINDOWS; step++)
            assert_true(fabs(parts.losses[step] - whole.losses[step]) <= 1e-9 * whole.losses[step]);
        outcome_finish(&parts);
    }
    outcome_finish(&whole);
}

static void a_memory_of_another_length_is_another_model(void **state)
{
    (void)state;
    struct spec s = memory_spec(WINDOW), t = memory_spec(WINDOW);
    t.memory.xl.len = 2;
    struct outcome a = train(&s, "cpu", 1, false), b = train(&t, "cpu", 1, false);
    assert_true(fabs(a.losses[0] - b.losses[0]) <= 1e-6 * a.losses[0]); /* nothing is remembered yet */
    assert_true(fabs(a.losses[1] - b.losses[1]) > 1e-4 * a.losses[1]);
    outcome_finish(&a);
    outcome_finish(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_with_memory_are_one_pass),
        cmocka_unit_test(training_remembers_as_evaluation_does),
        cmocka_unit_test(a_wrong_cache_is_seen),
        cmocka_unit_test(backward_is_the_derivative),
        cmocka_unit_test(what_must_not_matter_does_not),
        cmocka_unit_test(a_micro_batch_has_the_memory_of_its_rows),
        cmocka_unit_test(a_memory_of_another_length_is_another_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
