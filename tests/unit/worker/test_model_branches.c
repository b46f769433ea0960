/* test_model_branches.c: a block's attention and feed-forward layer as branches.
 *
 * Their operators are held back until both are known and then run in orders in which a backend might run them: the
 * second branch first, or one of each in turn. What one branch reads must not be what the other writes, so losses and
 * weights keep their bits.
 */
#include "model_case.h"

#include <stdlib.h>
#include <string.h>
#include "worker/model_parts.h"

enum { CALLS = 64, ARGS = 512 };
enum order { SECOND_FIRST, IN_TURN };

struct held_call {
    void (*run)(struct backend *b, const void *args);
    _Alignas(16) unsigned char args[ARGS];
};

static const struct backend_ops *real;
static struct held_call held[2][CALLS];
static int counts[2], branch = -1, pairs;
static enum order order;

static void hold(void (*run)(struct backend *b, const void *args), const void *args, size_t size)
{
    assert_true(size <= ARGS && counts[branch] < CALLS);
    struct held_call *c = &held[branch][counts[branch]++];
    c->run = run;
    memcpy(c->args, args, size);
}

#define HELD(name, type)                                                                                               \
    static void run_##name(struct backend *b, const void *args)                                                        \
    {                                                                                                                  \
        real->name(b, args);                                                                                           \
    }                                                                                                                  \
    static void hold_##name(struct backend *b, const struct type *a)                                                   \
    {                                                                                                                  \
        if (branch < 0)                                                                                                \
            real->name(b, a);                                                                                          \
        else                                                                                                           \
            hold(run_##name, a, sizeof *a);                                                                            \
    }
#define NOT_IN_A_BRANCH(name, type)                                                                                    \
    static void refuse_##name(struct backend *b, const struct type *a)                                                 \
    {                                                                                                                  \
        assert_int_equal(branch, -1);                                                                                  \
        real->name(b, a);                                                                                              \
    }
HELD(norm_forward, norm_forward_args)
HELD(norm_backward, norm_backward_args)
HELD(linear_forward, linear_args)
HELD(linear_backward, linear_backward_args)
HELD(activation_forward, ffn_up_args)
HELD(activation_backward, ffn_up_backward_args)
HELD(ffn_up_forward, ffn_up_args)
HELD(ffn_up_backward, ffn_up_backward_args)
HELD(elephant_forward, elephant_args)
HELD(elephant_backward, elephant_args)
HELD(unit_gate_forward, unit_gate_args)
HELD(unit_gate_backward, unit_gate_args)
HELD(unit_sum_forward, unit_sum_args)
HELD(unit_sum_backward, unit_sum_args)
HELD(lookup_forward, lookup_args)
HELD(lookup_backward, lookup_args)
HELD(attention_forward, attention_args)
HELD(attention_backward, attention_args)
NOT_IN_A_BRANCH(embed_forward, embed_args)
NOT_IN_A_BRANCH(embed_backward, embed_args)
NOT_IN_A_BRANCH(remember, remember_args)
NOT_IN_A_BRANCH(classifier, classifier_args)
NOT_IN_A_BRANCH(grad_squares, grad_squares_args)
NOT_IN_A_BRANCH(adamw, adamw_args)

static void zero_outside(struct backend *b, void *dst, size_t bytes)
{
    assert_int_equal(branch, -1);
    real->zero(b, dst, bytes);
}

static void begin(struct backend *b)
{
    (void)b;
    assert_int_equal(branch, -1);
    branch = counts[0] = counts[1] = 0;
}

static void next(struct backend *b)
{
    (void)b;
    assert_int_equal(branch, 0);
    branch = 1;
}

static void end(struct backend *b)
{
    assert_int_equal(branch, 1);
    assert_true(counts[0] > 0 && counts[1] > 0);
    branch = -1;
    pairs++;
    for (int i = 0; order == SECOND_FIRST && i < counts[1]; i++)
        held[1][i].run(b, held[1][i].args);
    for (int i = 0; i < counts[0] || (order == IN_TURN && i < counts[1]); i++) {
        if (order == IN_TURN && i < counts[1])
            held[1][i].run(b, held[1][i].args);
        if (i < counts[0])
            held[0][i].run(b, held[0][i].args);
    }
}

static void hold_all(struct backend_ops *ops)
{
    ops->branches_begin = begin;
    ops->branches_next = next;
    ops->branches_end = end;
    ops->zero = zero_outside;
    ops->norm_forward = hold_norm_forward;
    ops->norm_backward = hold_norm_backward;
    ops->linear_forward = hold_linear_forward;
    ops->linear_backward = hold_linear_backward;
    ops->activation_forward = hold_activation_forward;
    ops->activation_backward = hold_activation_backward;
    ops->ffn_up_forward = hold_ffn_up_forward;
    ops->ffn_up_backward = hold_ffn_up_backward;
    ops->elephant_forward = hold_elephant_forward;
    ops->elephant_backward = hold_elephant_backward;
    ops->unit_gate_forward = hold_unit_gate_forward;
    ops->unit_gate_backward = hold_unit_gate_backward;
    ops->unit_sum_forward = hold_unit_sum_forward;
    ops->unit_sum_backward = hold_unit_sum_backward;
    ops->lookup_forward = hold_lookup_forward;
    ops->lookup_backward = hold_lookup_backward;
    ops->attention_forward = hold_attention_forward;
    ops->attention_backward = hold_attention_backward;
    ops->embed_forward = refuse_embed_forward;
    ops->embed_backward = refuse_embed_backward;
    ops->remember = refuse_remember;
    ops->classifier = refuse_classifier;
    ops->grad_squares = refuse_grad_squares;
    ops->adamw = refuse_adamw;
}

/* Weights after two steps and the loss then; the caller frees. */
static double *train(struct model_case *c, double *loss)
{
    case_randomize(c, 5);
    for (int step = 1; step <= 2; step++)
        case_train(c, step, 0.01);
    *loss = case_loss(c);
    return case_read(c, CASE_PARAMETERS);
}

static void compare(const struct spec *spec, int per_layer)
{
    struct model_case plain, branched;
    double loss, again;
    case_open(&plain, spec, CASE_VOCAB, "cpu-fp64", 1);
    assert_false(plain.plan.branches);
    double *expected = train(&plain, &loss);
    for (int o = SECOND_FIRST; o <= IN_TURN; o++) {
        struct backend_ops ops;
        case_open_branches(&branched, spec, CASE_VOCAB, "cpu-fp64", 1, 1000);
        assert_true(branched.plan.branches);
        real = branched.model->ops;
        ops = *real;
        hold_all(&ops);
        branched.model->ops = &ops;
        order = (enum order)o;
        pairs = 0;
        double *weights = train(&branched, &again);
        /* Two steps and an evaluation of as many micro-batches. */
        int64_t micro_batches = (spec->train.batch - 1) / branched.plan.micro_batch + 1;
        assert_int_equal(pairs, (2 * per_layer + 1) * micro_batches * spec->model.layers);
        assert_memory_equal(&again, &loss, sizeof loss);
        assert_memory_equal(weights, expected, (size_t)plain.plan.params * sizeof *weights);
        free(weights);
        branched.model->ops = real;
        case_close(&branched);
    }
    free(expected);
    case_close(&plain);
}

/* With one norm both branches of a backward pass add to one gradient: it has none. */
static void branches_do_not_meet(void **state)
{
    (void)state;
    for (int ffn = 0; ffn < CASE_FFNS; ffn++)
        for (int norms = 1; norms <= 2; norms++)
            for (int recompute = RECOMPUTE_NONE; recompute <= RECOMPUTE_ALL; recompute++) {
                struct spec s = case_spec();
                case_set_ffn(&s, ffn);
                s.model.norms = norms;
                s.train.recompute = (enum spec_recompute)recompute;
                s.train.micro_batch = ffn % 2 ? 2 : 3;
                compare(&s, norms);
            }
}

static void some_models_have_none(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct spec s = case_spec();
        int64_t positions = s.train.batch * s.train.seq_len;
        struct model_case c;
        if (i == 1)
            s.model.parallel_residual = false;
        else if (i == 2)
            s.memory.xl.len = 4;
        else if (i == 3)
            s.train.optimizer.type = OPTIMIZER_LOMO;
        else if (i == 4)
            positions--;
        s.train.micro_batch = s.train.batch;
        case_open_branches(&c, &s, CASE_VOCAB, "cpu", 1, positions);
        assert_int_equal(c.plan.branches, i == 0);
        assert_int_equal(c.plan.branch_workspace > 0, i == 0);
        case_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(branches_do_not_meet),
        cmocka_unit_test(some_models_have_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
