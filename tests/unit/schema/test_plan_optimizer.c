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

static struct plan plan_of(enum spec_optimizer type, double momentum, bool tied, int64_t micro_batch)
{
    static const char text[] = "{\"data\":{\"name\":\"d\"},\"model\":{\"dim\":40,\"layers\":3,\"d_ff\":100,\"ffn\":"
                               "{\"type\":\"swiglu\"}}}";
    struct spec s;
    struct plan p;
    struct err err = {0};
    assert_int_equal(spec_parse(text, strlen(text), &s, &err), 0);
    s.model.tie_embeddings = tied;
    s.train.optimizer.type = type;
    s.train.optimizer.momentum = momentum;
    s.train.micro_batch = micro_batch;
    assert_int_equal(plan_make(&s, 301, &plan_device_cpu, &p, &err), 0);
    return p;
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
        struct plan p = plan_of(cases[i].type, cases[i].momentum, false, MICRO_BATCH_AUTO);
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
        bool squares = cases[i].type == OPTIMIZER_SGD || plan_optimizer_find(cases[i].type)->fused;
        assert_int_equal(plan_find_buffer(&p, "squares") != NULL, squares);
        assert_int_equal(plan_find_buffer(&p, "shared.orthogonal") != NULL, cases[i].type == OPTIMIZER_MUON);
        plan_finish(&p);
    }
}

/* One place for the largest matrix, then the vectors' own, and that of a tied embedding. */
static void fused_gradients_share_one_place(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        struct plan p = plan_of(OPTIMIZER_LOMO, 0, tied, MICRO_BATCH_AUTO);
        uint64_t window = up(4 * (tied ? 200 * 40 : 301 * 40)), begin = p.bytes.by_class[PLAN_PARAMETERS];
        uint64_t at = begin + window;
        for (int i = 0; i < p.parameter_count; i++) {
            const struct plan_parameter *t = &p.parameters[i];
            bool own = t->kind == PARAMETER_VECTOR || (tied && t->kind == PARAMETER_EMBEDDING);
            assert_int_equal(t->grad, own ? at : begin);
            at += own ? up(4 * (uint64_t)(t->rows * t->cols)) : 0;
        }
        assert_int_equal(p.bytes.by_class[PLAN_GRADIENTS], at - begin);
        plan_finish(&p);
    }
}

static void stacked_matrices_are_told_apart(void **state)
{
    (void)state;
    struct plan p = plan_of(OPTIMIZER_MUON, 0.95, false, MICRO_BATCH_AUTO);
    assert_int_equal(plan_find_parameter(&p, "layers.0.attn.qkv.weight")->parts, 3);
    assert_int_equal(plan_find_parameter(&p, "layers.0.attn.out.weight")->parts, 1);
    assert_int_equal(plan_find_parameter(&p, "layers.0.ffn.up.weight")->parts, 2);
    assert_int_equal(plan_find_parameter(&p, "layers.0.ffn.down.weight")->parts, 1);
    /* ffn.down, and a half of ffn.up: 4000 elements with 40 x 40 of the smaller side, rounded up, twice in fp32 */
    assert_int_equal(plan_find_buffer(&p, "shared.orthogonal")->bytes, 8 * (up(4000) + up(1600)));
    plan_finish(&p);
}

static void a_fused_batch_is_whole(void **state)
{
    (void)state;
    struct plan p = plan_of(OPTIMIZER_ADALOMO, 0, false, MICRO_BATCH_AUTO);
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
        cmocka_unit_test(stacked_matrices_are_told_apart),
        cmocka_unit_test(a_fused_batch_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
