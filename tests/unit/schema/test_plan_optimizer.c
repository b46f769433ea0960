/* test_plan_optimizer.c: what each optimizer takes of the arena, tensor by tensor: moments and gradients lie one behind
 * the other without overlap, and of a fused one no two matrices' gradients exist at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/err.h"
#include "schema/plan.h"
#include "schema/plan_optimizer.h"

static uint64_t up(uint64_t bytes)
{
    return (bytes + PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT;
}

static struct spec spec_of(enum spec_optimizer type, double momentum)
{
    static const char text[] = "{\"data\":{\"name\":\"d\"},\"model\":{\"dim\":40,\"layers\":3,\"d_ff\":100,\"ffn\":"
                               "{\"type\":\"swiglu\"}}}";
    struct spec s;
    struct err err = {0};
    assert_int_equal(spec_parse(text, strlen(text), &s, &err), 0);
    s.train.optimizer.type = type;
    s.train.optimizer.momentum = momentum;
    s.train.micro_batch = MICRO_BATCH_AUTO;
    return s;
}

static struct plan plan_of_spec(const struct spec *s)
{
    struct plan p;
    struct err err = {0};
    assert_int_equal(plan_make(s, 301, &plan_device_cpu, &p, &err), 0);
    return p;
}

static struct plan plan_of(enum spec_optimizer type, double momentum, bool tied)
{
    struct spec s = spec_of(type, momentum);
    s.model.tie_embeddings = tied;
    return plan_of_spec(&s);
}

/* m or v of all parameters, from `at` on in the plan's order. */
static uint64_t check_moment(const struct plan *p, bool second, uint64_t at)
{
    for (int i = 0; i < p->parameter_count; i++) {
        const struct plan_parameter *t = &p->parameters[i];
        int64_t count = second ? t->v_count : t->m_count;
        if (count > 0)
            assert_int_equal(second ? t->v : t->m, at);
        at += up((uint64_t)count * 4);
    }
    return at;
}

static void moments_are_what_the_optimizer_keeps(void **state)
{
    (void)state;
    static const struct {
        enum spec_optimizer type;
        double momentum;
        int64_t matrix[2], embedding[2], vector[2]; /* qkv 120 x 40, head 301 x 40, a norm of 40 */
    } cases[] = {
        {OPTIMIZER_ADAMW, 0, {4800, 4800}, {12040, 12040}, {40, 40}},
        {OPTIMIZER_SGD, 0, {0, 0}, {0, 0}, {0, 0}},
        {OPTIMIZER_SGD, 0.9, {4800, 0}, {12040, 0}, {40, 0}},
        {OPTIMIZER_LION, 0, {4800, 0}, {12040, 0}, {40, 0}},
        {OPTIMIZER_MUON, 0.95, {4800, 0}, {12040, 12040}, {40, 40}},
        {OPTIMIZER_LOMO, 0, {0, 0}, {0, 0}, {0, 0}},
        {OPTIMIZER_ADALOMO, 0, {120, 40}, {301, 40}, {0, 40}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct plan p = plan_of(cases[i].type, cases[i].momentum, false);
        const struct plan_parameter *matrix = plan_find_parameter(&p, "layers.1.attn.qkv.weight");
        const struct plan_parameter *embedding = plan_find_parameter(&p, "head.weight");
        const struct plan_parameter *vector = plan_find_parameter(&p, "final_norm.weight");
        const int64_t found[] = {matrix->m_count,    matrix->v_count, embedding->m_count,
                                 embedding->v_count, vector->m_count, vector->v_count};
        assert_memory_equal(&found[0], cases[i].matrix, 16);
        assert_memory_equal(&found[2], cases[i].embedding, 16);
        assert_memory_equal(&found[4], cases[i].vector, 16);
        uint64_t begin = p.bytes.by_class[PLAN_PARAMETERS] + p.bytes.by_class[PLAN_GRADIENTS];
        uint64_t end = check_moment(&p, true, check_moment(&p, false, begin));
        assert_int_equal(end - begin, p.bytes.by_class[PLAN_MOMENTS]);
        assert_int_equal(p.buffers[0].offset, end);
        assert_int_equal(plan_find_buffer(&p, "squares")->bytes, (uint64_t)p.parameter_count * 8);
        assert_int_equal(plan_find_buffer(&p, "shared.orthogonal") != NULL, cases[i].type == OPTIMIZER_MUON);
        plan_finish(&p);
    }
}

static uint64_t gradient_bytes(const struct plan_parameter *t)
{
    return up(4 * (uint64_t)(t->rows * t->cols));
}

/* Gradients with a place of their own: first those that passes add to, from `at` on, then those that a step's first
 * pass overwrites. Returns their end. */
static uint64_t check_gradients(const struct plan *p, uint64_t at)
{
    for (int overwritten = 0; overwritten < 2; overwritten++) {
        for (int i = 0; i < p->parameter_count; i++) {
            const struct plan_parameter *t = &p->parameters[i];
            if (t->grad_shared || t->grad_overwritten != overwritten)
                continue;
            assert_int_equal(t->grad, at);
            at += gradient_bytes(t);
        }
        if (!overwritten)
            assert_int_equal(p->zeroed_gradients, at - p->bytes.by_class[PLAN_PARAMETERS]);
    }
    return at;
}

/* Zeros are for what passes add to: vectors, look-ups, and what sdpa's operator makes. */
static void gradients_of_products_need_no_zeros(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        struct spec s = spec_of(OPTIMIZER_ADAMW, 0);
        s.model.tie_embeddings = tied;
        s.model.ffn.type = FFN_SDPA;
        s.model.ffn.sdpa.n = 333;
        struct plan p = plan_of_spec(&s);
        assert_true(plan_find_parameter(&p, "layers.1.attn.qkv.weight")->grad_overwritten);
        assert_true(plan_find_parameter(&p, "layers.1.ffn.down.weight")->grad_overwritten);
        assert_false(plan_find_parameter(&p, "layers.1.ffn.key.weight")->grad_overwritten);
        assert_false(plan_find_parameter(&p, "layers.1.ffn.value.weight")->grad_overwritten);
        assert_false(plan_find_parameter(&p, "layers.1.norm1.weight")->grad_overwritten);
        assert_int_equal(plan_find_parameter(&p, "embed.weight")->grad_overwritten, tied);
        if (!tied)
            assert_true(plan_find_parameter(&p, "head.weight")->grad_overwritten);
        uint64_t end = check_gradients(&p, p.bytes.by_class[PLAN_PARAMETERS]);
        assert_int_equal(p.bytes.by_class[PLAN_GRADIENTS], end - p.bytes.by_class[PLAN_PARAMETERS]);
        plan_finish(&p);
    }
}

/* One place for the largest matrix, then the vectors' own, and that of a tied embedding. */
static void fused_gradients_share_one_place(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        struct plan p = plan_of(OPTIMIZER_LOMO, 0, tied);
        uint64_t window = up(4 * (tied ? 200 * 40 : 301 * 40)), begin = p.bytes.by_class[PLAN_PARAMETERS];
        for (int i = 0; i < p.parameter_count; i++) {
            const struct plan_parameter *t = &p.parameters[i];
            bool own = t->kind == PARAMETER_VECTOR || (tied && t->kind == PARAMETER_EMBEDDING);
            assert_int_equal(t->grad_shared, !own);
            assert_true(own || t->grad == begin);
        }
        assert_int_equal(p.bytes.by_class[PLAN_GRADIENTS], check_gradients(&p, begin + window) - begin);
        plan_finish(&p);
    }
}

/* sdpa's keys and values get theirs from one operator: one behind the other in the shared place. */
static void gradients_of_one_operator_stand_apart(void **state)
{
    (void)state;
    struct spec s = spec_of(OPTIMIZER_LOMO, 0);
    s.model.ffn.type = FFN_SDPA;
    s.model.ffn.sdpa.n = 333;
    struct plan p = plan_of_spec(&s);
    const struct plan_parameter *keys = plan_find_parameter(&p, "layers.1.ffn.key.weight");
    const struct plan_parameter *values = plan_find_parameter(&p, "layers.1.ffn.value.weight");
    uint64_t begin = p.bytes.by_class[PLAN_PARAMETERS], each = up(UINT64_C(4) * 333 * 40), own = 0;
    assert_int_equal(keys->grad, begin);
    assert_int_equal(values->grad, begin + each);
    assert_int_equal(plan_find_parameter(&p, "layers.1.ffn.down.weight")->grad, begin);
    for (int i = 0; i < p.parameter_count; i++)
        own += p.parameters[i].grad_shared ? 0 : gradient_bytes(&p.parameters[i]);
    assert_int_equal(p.bytes.by_class[PLAN_GRADIENTS], 2 * each + own);
    plan_finish(&p);
}

/* What several segments add to is nobody else's; with one segment the memory's gradient is taken like a matrix's, also
 * beside a tied embedding's own. */
static void segments_keep_their_gradients(void **state)
{
    (void)state;
    for (int64_t segments = 1; segments <= 4; segments += 3) {
        struct spec s = spec_of(OPTIMIZER_LOMO, 0);
        s.model.tie_embeddings = true;
        s.memory.rmt.tokens = 5;
        s.memory.rmt.bptt = segments;
        struct plan p = plan_of_spec(&s);
        const struct plan_parameter *rmt = plan_find_parameter(&p, "rmt.weight");
        uint64_t parameters = p.bytes.by_class[PLAN_PARAMETERS];
        if (segments > 1) {
            for (int i = 0; i < p.parameter_count; i++)
                assert_false(p.parameters[i].grad_shared);
            check_gradients(&p, parameters);
            assert_int_equal(p.bytes.by_class[PLAN_GRADIENTS], parameters);
        } else {
            assert_true(rmt->grad == parameters && rmt->grad_shared);
        }
        plan_finish(&p);
    }
}

/* To every optimizer what is looked up by position is what the embeddings are. */
static void looked_up_rows_are_embeddings(void **state)
{
    (void)state;
    struct spec s = spec_of(OPTIMIZER_MUON, 0.95);
    s.memory.rmt.tokens = 5;
    s.memory.pause.tokens = 3;
    struct plan p = plan_of_spec(&s);
    static const char *const names[] = {"embed.weight", "head.weight", "rmt.weight", "pause.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct plan_parameter *t = plan_find_parameter(&p, names[i]);
        assert_int_equal(t->kind, PARAMETER_EMBEDDING);
        assert_int_equal(t->m_count, t->rows * t->cols);
        assert_int_equal(t->v_count, t->rows * t->cols);
    }
    plan_finish(&p);
}

static void check_parts(const struct spec *s, const char *name, int64_t parts)
{
    struct plan p = plan_of_spec(s);
    char full[64] = "layers.0.";
    strcat(full, name);
    const struct plan_parameter *t = plan_find_parameter(&p, full);
    assert_non_null(t);
    assert_int_equal(t->kind, PARAMETER_MATRIX);
    assert_int_equal(t->parts, parts);
    plan_finish(&p);
}

/* Units with vector gates stand one below the other; with scalar ones they are one layer. */
static void matrices_of_each_layer(void **state)
{
    (void)state;
    struct spec s = spec_of(OPTIMIZER_MUON, 0.95);
    s.model.ffn.type = FFN_MINI_MOE;
    s.model.ffn.mini_moe.units = 5;
    for (int vector = 0; vector < 2; vector++) {
        s.model.ffn.mini_moe.gate = vector ? GATE_VECTOR : GATE_SCALAR;
        check_parts(&s, "ffn.up.weight", vector ? 10 : 2);
        check_parts(&s, "ffn.gate.weight", vector ? 5 : 1);
        check_parts(&s, "ffn.down.weight", vector ? 5 : 1);
    }
    s.model.ffn.type = FFN_SDPA;
    check_parts(&s, "ffn.key.weight", 1);
    check_parts(&s, "ffn.value.weight", 1);
    s.model.ffn.type = FFN_ELEPHANT_GLU;
    s.model.ffn.elephant.learnable = true;
    check_parts(&s, "ffn.up.weight", 2);
}

static void stacked_matrices_are_told_apart(void **state)
{
    (void)state;
    struct spec s = spec_of(OPTIMIZER_MUON, 0.95);
    struct plan p = plan_of_spec(&s);
    check_parts(&s, "attn.qkv.weight", 3);
    check_parts(&s, "attn.out.weight", 1);
    check_parts(&s, "ffn.up.weight", 2);
    check_parts(&s, "ffn.down.weight", 1);
    /* ffn.down, and a half of ffn.up: 4000 elements with 40 x 40 of the smaller side, rounded up, twice in fp32 */
    assert_int_equal(plan_find_buffer(&p, "shared.orthogonal")->bytes, 8 * (up(4000) + up(1600)));
    plan_finish(&p);
}

static void a_fused_batch_is_whole(void **state)
{
    (void)state;
    struct plan p = plan_of(OPTIMIZER_ADALOMO, 0, false);
    uint64_t enough = p.bytes.total;
    assert_int_equal(p.micro_batch, 8);
    plan_finish(&p);
    static const char text[] =
        "{\"data\":{\"name\":\"d\"},\"model\":{\"dim\":40,\"layers\":3,\"d_ff\":100,\"ffn\":{\"type\":\"swiglu\"}},"
        "\"train\":{\"batch\":64,\"recompute\":\"none\",\"optimizer\":{\"type\":\"adalomo\"}}}";
    struct spec s;
    struct err err = {0};
    struct plan_device device = plan_device_cpu;
    device.memory_bytes = enough + (1 << 20);
    assert_int_equal(spec_parse(text, strlen(text), &s, &err), 0);
    assert_int_equal(s.train.micro_batch, 64); /* auto is the batch, for all who read the spec */
    assert_int_equal(plan_make(&s, 301, &device, &p, &err), -ERR_TOO_LARGE);
    assert_string_equal(err.path, "train.batch");
    assert_non_null(strstr(err.message, "; train.batch 8 fits"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_what_the_optimizer_keeps),
        cmocka_unit_test(fused_gradients_share_one_place),
        cmocka_unit_test(gradients_of_one_operator_stand_apart),
        cmocka_unit_test(gradients_of_products_need_no_zeros),
        cmocka_unit_test(segments_keep_their_gradients),
        cmocka_unit_test(looked_up_rows_are_embeddings),
        cmocka_unit_test(stacked_matrices_are_told_apart),
        cmocka_unit_test(matrices_of_each_layer),
        cmocka_unit_test(a_fused_batch_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
