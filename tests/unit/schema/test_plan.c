/* test_plan.c: parameter counts against Pythia's published ones, the arena against a count by hand, the lists against
 * themselves. The choice of the micro-batch is in test_plan_choice.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "plan_case.h"

static void pythia_has_its_published_parameters(void **state)
{
    (void)state;
    static const struct {
        int64_t dim, layers, heads, params, non_embedding;
    } sizes[] = {
        {128, 6, 4, 14067712, 1189888},
        {512, 6, 8, 70426624, 18915328},
        {768, 12, 12, 162322944, 85056000},
    };
    for (size_t i = 0; i < 3; i++) {
        struct spec s = make_spec(sizes[i].dim, sizes[i].layers, sizes[i].heads);
        s.model.vocab = 50304;
        struct plan p = plan_ok(&s, 0, &fp32);
        assert_int_equal(p.params, sizes[i].params);
        assert_int_equal(p.params_non_embedding, sizes[i].non_embedding);
        assert_int_equal(p.d_ff, 4 * sizes[i].dim);
        assert_int_equal(p.rotary_dims, sizes[i].dim / sizes[i].heads / 4);
        plan_finish(&p);
    }
}

static void flops_count_products_head_and_half_of_attention(void **state)
{
    (void)state;
    struct spec s = make_spec(768, 12, 12);
    s.train.seq_len = 2048;
    struct plan p = plan_ok(&s, 50304, &fp32);
    double products = 12.0 * 12 * 768 * 768 + 50304.0 * 768;
    double expected = 6 * products + 6.0 * 12 * 768 * 2048;
    assert_true(p.flops_per_token == expected);
    plan_finish(&p);
    s.model.tie_embeddings = true; /* the head is a product also when it is the embedding */
    p = plan_ok(&s, 50304, &fp32);
    assert_true(p.flops_per_token == expected);
    assert_int_equal(p.params, 162322944 - 50304 * 768);
    assert_int_equal(p.params_non_embedding, 85056000);
    plan_finish(&p);
}

static uint64_t up(uint64_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* One layer, dim 6, 2 heads, d_ff 10 gated, vocabulary 11, 3 rows of 5, all written out. */
static void arena_is_what_a_count_by_hand_gives(void **state)
{
    (void)state;
    struct spec s = make_spec(6, 1, 2);
    s.model.d_ff = 10;
    s.model.ffn.type = FFN_SWIGLU;
    s.train.seq_len = 5;
    s.train.batch = 3;
    s.data.reset = RESET_DOCUMENT;
    struct plan p = plan_ok(&s, 11, &fp64);
    static const int sizes[] = {66, 6, 6, 6, 6, 108, 18, 36, 6, 120, 20, 60, 6, 6, 6, 66};
    uint64_t params = 0;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        params += up((uint64_t)sizes[i] * 8);
    /* sum, mean, rstd, n1, n2, qkv, lse, attn, pre, hidden; final sum, mean, rstd; stream, two branches, wide */
    static const int widths[] = {6, 1, 1, 6, 6, 18, 2, 6, 20, 10, 6, 1, 1, 6, 6, 6, 18};
    uint64_t activations = 0;
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++)
        activations += up(15 * (uint64_t)widths[i] * 8);
    uint64_t logits = up(15 * 11 * 8), inputs = 3 * up(15 * 4), scalars = 3 * up(8) + up(16 * 8);
    assert_int_equal(p.bytes.by_class[PLAN_PARAMETERS], params);
    assert_int_equal(p.bytes.by_class[PLAN_GRADIENTS], params);
    assert_int_equal(p.bytes.by_class[PLAN_MOMENTS], 2 * params);
    assert_int_equal(p.bytes.by_class[PLAN_ACTIVATIONS], activations);
    assert_int_equal(p.bytes.by_class[PLAN_LOGITS], logits);
    assert_int_equal(p.bytes.by_class[PLAN_INPUTS], inputs);
    assert_int_equal(p.bytes.by_class[PLAN_SCALARS], scalars);
    assert_int_equal(p.bytes.arena, 4 * params + activations + logits + inputs + scalars);
    assert_int_equal(p.bytes.total, p.bytes.arena + WORKSPACE);
    assert_int_equal(plan_find_buffer(&p, "shared.wide")->bytes, 15 * 18 * 8);
    plan_finish(&p);
    s.model.d_ff = 19; /* wider than q, k and v */
    p = plan_ok(&s, 11, &fp64);
    assert_int_equal(plan_find_buffer(&p, "shared.wide")->bytes, 15 * 19 * 8);
    plan_finish(&p);
}

/* Arena and FLOPs beyond those of the same spec without a memory. */
static void a_memory_is_counted(void **state)
{
    (void)state;
    struct spec s = make_spec(6, 2, 2);
    s.train.seq_len = 5;
    s.train.batch = 4;
    s.train.micro_batch = 2;
    s.train.recompute = RECOMPUTE_NONE;
    struct plan plain = plan_ok(&s, 11, &fp64);
    s.memory.xl.len = 7;
    struct plan p = plan_ok(&s, 11, &fp64);
    assert_int_equal(p.xl_len, 7);
    assert_int_equal(p.xl_eval_len, 7);
    assert_int_equal(p.params, plain.params);
    assert_true(p.flops_per_token == plain.flops_per_token + 8.0 * 2 * 6 * 7);
    uint64_t memory = 2 * 2 * up(4 * 7 * 12 * 8), keys = 2 * up(2 * 12 * 12 * 8), first = up(20 * 4);
    assert_int_equal(p.bytes.by_class[PLAN_MEMORY], memory);
    assert_int_equal(p.bytes.by_class[PLAN_ACTIVATIONS], plain.bytes.by_class[PLAN_ACTIVATIONS] + keys);
    assert_int_equal(p.bytes.arena, plain.bytes.arena + memory + keys + first);
    plan_finish(&p);
    s.memory.xl.eval_len = 20;
    p = plan_ok(&s, 11, &fp64);
    assert_int_equal(p.xl_eval_len, 20);
    assert_int_equal(p.bytes.by_class[PLAN_MEMORY], 2 * (up(4 * 7 * 12 * 8) + up(4 * 20 * 12 * 8)));
    assert_int_equal(plan_find_buffer(&p, "layers.1.kv")->bytes, 2 * 25 * 12 * 8);
    plan_finish(&p);
    s.train.recompute = RECOMPUTE_ALL;
    p = plan_ok(&s, 11, &fp64);
    assert_int_equal(plan_find_buffer(&p, "shared.kv")->bytes, 2 * 25 * 12 * 8);
    assert_null(plan_find_buffer(&p, "layers.1.kv"));
    plan_finish(&p);
    plan_finish(&plain);
}

static void pauses_are_counted(void **state)
{
    (void)state;
    struct spec s = make_spec(6, 2, 2);
    s.train.seq_len = 5;
    s.train.batch = 4;
    s.train.micro_batch = 2;
    s.train.recompute = RECOMPUTE_NONE;
    struct plan plain = plan_ok(&s, 11, &fp64);
    s.train.seq_len = 8;
    struct plan longer = plan_ok(&s, 11, &fp64);
    s.train.seq_len = 5;
    s.memory.pause.tokens = 3;
    struct plan p = plan_ok(&s, 11, &fp64);
    assert_int_equal(p.run, 8);
    assert_int_equal(p.params, plain.params + 3 * 6);
    assert_true(plan_find_parameter(&p, "pause.weight")->decay);
    assert_int_equal(p.bytes.by_class[PLAN_ACTIVATIONS], longer.bytes.by_class[PLAN_ACTIVATIONS]);
    assert_int_equal(p.bytes.by_class[PLAN_INPUTS], longer.bytes.by_class[PLAN_INPUTS] + up(4 * 3 * 4));
    double head = 6.0 * 11 * 6;
    assert_float_equal(p.flops_per_token, head + (longer.flops_per_token - head) * 8 / 5, 1e-9 * p.flops_per_token);
    plan_finish(&p);
    s.memory.pause.mode = PAUSE_PREDICT_FROM_LAST;
    p = plan_ok(&s, 11, &fp64);
    assert_int_equal(p.params, plain.params + 6);
    plan_finish(&p);
    s.memory.xl.len = 4;
    p = plan_ok(&s, 11, &fp64);
    assert_int_equal(plan_find_buffer(&p, "layers.0.kv")->bytes, 2 * (8 + 4) * 12 * 8);
    assert_int_equal(plan_find_buffer(&p, "places")->bytes, 4 * 5 * 4);
    plan_finish(&p);
    plan_finish(&longer);
    plan_finish(&plain);
}

static void a_recurrent_memory_is_counted(void **state)
{
    (void)state;
    struct spec s = make_spec(6, 2, 2);
    s.train.batch = 4;
    s.train.micro_batch = 2;
    s.train.recompute = RECOMPUTE_NONE;
    s.train.seq_len = 9; /* a segment with its memory */
    struct plan segment = plan_ok(&s, 11, &fp64);
    s.train.seq_len = 10;
    s.memory.rmt.tokens = 2;
    s.memory.rmt.bptt = 2;
    struct plan p = plan_ok(&s, 11, &fp64);
    assert_int_equal(p.segments, 2);
    assert_int_equal(p.run, 9);
    assert_int_equal(p.params, segment.params + 2 * 6);
    assert_int_equal(p.logit_rows, segment.logit_rows);
    assert_int_equal(p.bytes.by_class[PLAN_MEMORY], 2 * up(4 * 2 * 6 * 8));
    assert_int_equal(p.bytes.by_class[PLAN_ACTIVATIONS],
                     2 * (segment.bytes.by_class[PLAN_ACTIVATIONS] + up(2 * 2 * 6 * 8)));
    assert_int_equal(plan_find_buffer(&p, "tokens")->bytes, 4 * 18 * 4);
    double head = 6.0 * 11 * 6;
    assert_float_equal(p.flops_per_token, head + (segment.flops_per_token - head) * 18 / 10, 1e-9 * p.flops_per_token);
    plan_finish(&p);
    plan_finish(&segment);
}

static uint64_t rows_of(const int *widths, uint64_t rows)
{
    uint64_t bytes = 0;
    for (size_t i = 0; widths[i]; i++)
        bytes += up(rows * (uint64_t)widths[i] * 4);
    return bytes;
}

/* Three layers, dim 6, 2 heads, d_ff 10 gated, 2 rows of 5: what each policy keeps a layer, what it shares. */
static void each_policy_keeps_what_it_says(void **state)
{
    (void)state;
    enum { SUM = 6, N = 6, QKV = 18, LSE = 2, ATTN = 6, PRE = 20, HIDDEN = 10 };
    static const struct {
        bool parallel;
        enum spec_norm norm;
        enum spec_recompute recompute;
        int layer[16], shared[16]; /* widths, ended by a 0; a statistic is 1 wide */
    } cases[] = {
        {true, SPEC_NORM_LAYERNORM, RECOMPUTE_NONE, {SUM, 1, 1, N, N, QKV, LSE, ATTN, PRE, HIDDEN}, {0}},
        {true, SPEC_NORM_LAYERNORM, RECOMPUTE_CHEAP, {SUM, QKV, LSE, ATTN, PRE}, {1, 1, N, N, HIDDEN}},
        {true, SPEC_NORM_LAYERNORM, RECOMPUTE_ALL, {SUM}, {1, 1, N, N, QKV, LSE, ATTN, PRE, HIDDEN}},
        {false, SPEC_NORM_RMSNORM, RECOMPUTE_NONE, {SUM, 1, N, SUM, 1, N, QKV, LSE, ATTN, PRE, HIDDEN}, {0}},
        {false, SPEC_NORM_RMSNORM, RECOMPUTE_CHEAP, {SUM, SUM, QKV, LSE, ATTN, PRE}, {1, N, 1, N, HIDDEN}},
        {false, SPEC_NORM_RMSNORM, RECOMPUTE_ALL, {SUM}, {1, N, SUM, 1, N, QKV, LSE, ATTN, PRE, HIDDEN}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct spec s = make_spec(6, 3, 2);
        s.model.d_ff = 10;
        s.model.ffn.type = FFN_SWIGLU;
        s.model.parallel_residual = cases[i].parallel;
        s.model.norm = cases[i].norm;
        s.train.seq_len = 5;
        s.train.batch = 2;
        s.train.recompute = cases[i].recompute;
        struct plan p = plan_ok(&s, 11, &fp32);
        static const int layernorm[] = {6, 1, 1, 6, 6, 6, 18, 0}, rmsnorm[] = {6, 1, 6, 6, 6, 18, 0};
        uint64_t rest = rows_of(cases[i].norm == SPEC_NORM_LAYERNORM ? layernorm : rmsnorm, 10);
        assert_int_equal(p.bytes.by_class[PLAN_ACTIVATIONS],
                         3 * rows_of(cases[i].layer, 10) + rows_of(cases[i].shared, 10) + rest);
        assert_int_equal(p.recompute, cases[i].recompute);
        assert_int_equal(plan_find_buffer(&p, "layers.2.sum1")->bytes, 10 * 6 * 4);
        assert_int_equal(plan_find_buffer(&p, "layers.1.n2") == NULL, cases[i].recompute >= RECOMPUTE_CHEAP);
        assert_int_equal(plan_find_buffer(&p, "layers.1.pre") == NULL, cases[i].recompute >= RECOMPUTE_ALL);
        assert_int_equal(plan_find_buffer(&p, "shared.hidden") != NULL, cases[i].recompute >= RECOMPUTE_CHEAP);
        double flops = p.flops_per_token;
        plan_finish(&p);
        s.train.recompute = RECOMPUTE_NONE;
        p = plan_ok(&s, 11, &fp32);
        assert_true(flops == p.flops_per_token); /* of the model, not of what is computed twice */
        plan_finish(&p);
    }
}

struct span {
    uint64_t offset, bytes;
};

static int compare_spans(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void check_lists(const struct plan *p, const struct plan_device *device)
{
    size_t count = 0, room = 5 * (size_t)p->parameter_count + (size_t)p->buffer_count;
    struct span *spans = calloc(room, sizeof(*spans));
    assert_non_null(spans);
    int64_t params = 0;
    for (int i = 0; i < p->parameter_count; i++) {
        const struct plan_parameter *t = &p->parameters[i];
        uint64_t n = (uint64_t)(t->rows * t->cols);
        params += (int64_t)n;
        const size_t wide[] = {t->param, t->grad, t->m, t->v};
        for (int w = 0; w < 4; w++)
            spans[count++] = (struct span){wide[w], n * device->wide_bytes};
        if (device->storage_bytes < device->wide_bytes)
            spans[count++] = (struct span){t->copy, n * device->storage_bytes};
        else
            assert_int_equal(t->copy, t->param);
        assert_ptr_equal(plan_find_parameter(p, t->name), t);
        assert_int_equal(t->decay, t->cols > 1);
    }
    for (int i = 0; i < p->buffer_count; i++) {
        spans[count++] = (struct span){p->buffers[i].offset, p->buffers[i].bytes};
        assert_ptr_equal(plan_find_buffer(p, p->buffers[i].name), &p->buffers[i]);
    }
    assert_int_equal(params, p->params);
    qsort(spans, count, sizeof(*spans), compare_spans);
    uint64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(spans[i].offset % PLAN_ALIGNMENT, 0);
        assert_int_equal(spans[i].offset, end); /* no overlap and no hole */
        end = up(spans[i].offset + spans[i].bytes);
    }
    assert_int_equal(end, p->bytes.arena);
    uint64_t classes = 0;
    for (int c = 0; c < PLAN_WORKSPACE; c++)
        classes += p->bytes.by_class[c];
    assert_int_equal(classes, p->bytes.arena);
    free(spans);
}

static void tensors_fill_the_arena_without_overlap(void **state)
{
    (void)state;
    for (int variant = 0; variant < 96; variant++) {
        struct spec s = make_spec(24, 3, 2);
        s.model.parallel_residual = variant % 3 != 0;
        s.model.norms = variant % 3 == 1 ? 1 : 2;
        s.model.norm = variant / 3 % 2 ? SPEC_NORM_RMSNORM : SPEC_NORM_LAYERNORM;
        s.model.bias = variant / 6 % 2;
        s.model.tie_embeddings = variant / 12 % 2;
        s.model.ffn.type = variant / 24 % 2 ? FFN_ELEPHANT_GLU : FFN_RELU2;
        s.data.reset = variant / 48 ? RESET_DOCUMENT : RESET_EPOCH;
        s.train.recompute = (enum spec_recompute)(variant % 4);
        const struct plan_device bf16 = {
            .storage_bytes = 2, .wide_bytes = 4, .workspace_bytes = WORKSPACE, .logits_bytes = LOGITS};
        const struct plan_device *device = variant % 5 == 0 ? &bf16 : variant % 5 == 1 ? &fp64 : &fp32;
        struct plan p = plan_ok(&s, 37, device);
        check_lists(&p, device);
        assert_int_equal(plan_find_parameter(&p, "head.weight") == NULL, s.model.tie_embeddings);
        assert_int_equal(plan_find_parameter(&p, "layers.2.attn.qkv.bias") != NULL, s.model.bias);
        assert_int_equal(plan_find_parameter(&p, "final_norm.bias") != NULL,
                         s.model.bias && s.model.norm == SPEC_NORM_LAYERNORM);
        plan_finish(&p);
    }
}

static void match_gives_two_thirds_of_the_width(void **state)
{
    (void)state;
    static const struct {
        enum spec_ffn type;
        enum spec_match match;
        int64_t d_ff, expected;
    } cases[] = {
        {FFN_SWIGLU, MATCH_NONE, 512, 512},     {FFN_SWIGLU, MATCH_PARAMS, 512, 344},
        {FFN_GEGLU, MATCH_FLOPS, 512, 344},     {FFN_ELEPHANT_GLU, MATCH_PARAMS, 3072, 2048},
        {FFN_ELEPHANT, MATCH_PARAMS, 512, 512}, {FFN_GELU, MATCH_FLOPS, 100, 100},
        {FFN_SWIGLU, MATCH_PARAMS, 4, 8},       {FFN_SWIGLU, MATCH_PARAMS, 18, 16}, /* 12 is as near to 8 as to 16 */
        {FFN_SWIGLU, MATCH_PARAMS, 17, 8},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct spec s = make_spec(128, 4, 4);
        s.model.ffn.type = cases[i].type;
        s.model.ffn.match = cases[i].match;
        s.model.d_ff = cases[i].d_ff;
        struct plan p = plan_ok(&s, 256, &fp32);
        assert_int_equal(p.d_ff, cases[i].expected);
        const struct plan_parameter *t = plan_find_parameter(&p, "layers.0.ffn.up.weight");
        assert_int_equal(t->rows, (p.ffn_gated ? 2 : 1) * cases[i].expected);
        plan_finish(&p);
    }
}

static void rotary_dims_are_even(void **state)
{
    (void)state;
    static const struct {
        double share;
        int64_t expected;
    } cases[] = {{0, 0}, {0.25, 8}, {1, 32}, {0.1, 2}, {0.05, 0}, {0.7, 22}, {0.3, 8}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct spec s = make_spec(128, 1, 4);
        s.model.rotary_pct = cases[i].share;
        struct plan p = plan_ok(&s, 256, &fp32);
        assert_int_equal(p.head_dim, 32);
        assert_int_equal(p.rotary_dims, cases[i].expected);
        plan_finish(&p);
    }
}

static void initial_values_follow_the_formulas(void **state)
{
    (void)state;
    struct spec s = make_spec(10, 4, 2); /* sqrt(2/50) = 0.2; 2/(4 sqrt 10) */
    struct plan p = plan_ok(&s, 256, &fp32);
    assert_true(plan_find_parameter(&p, "embed.weight")->init_scale == 0.2);
    assert_true(plan_find_parameter(&p, "head.weight")->init_scale == 0.2);
    assert_true(plan_find_parameter(&p, "layers.3.attn.qkv.weight")->init_scale == 0.2);
    assert_float_equal(plan_find_parameter(&p, "layers.3.attn.out.weight")->init_scale, 0.158113883, 1e-9);
    assert_float_equal(plan_find_parameter(&p, "layers.0.ffn.down.weight")->init_scale, 0.158113883, 1e-9);
    assert_int_equal(plan_find_parameter(&p, "layers.0.norm2.weight")->init, INIT_ONE);
    assert_int_equal(plan_find_parameter(&p, "layers.0.norm2.bias")->init, INIT_ZERO);
    assert_int_equal(plan_find_parameter(&p, "layers.0.ffn.up.bias")->init, INIT_ZERO);
    plan_finish(&p);
}

static void logits_stay_within_their_chunk(void **state)
{
    (void)state;
    struct spec s = make_spec(128, 1, 4);
    struct plan p = plan_ok(&s, 256, &fp32);
    assert_int_equal(p.logit_rows, 1024); /* all rows of 8 * 128 */
    plan_finish(&p);
    p = plan_ok(&s, 50304, &fp32);
    assert_int_equal(p.logit_rows, 256); /* four equal chunks: 333 rows would fit */
    plan_finish(&p);
    p = plan_ok(&s, 20000000, &fp32);
    assert_int_equal(p.logit_rows, 1);
    plan_finish(&p);
}

static void json_has_the_numbers(void **state)
{
    (void)state;
    struct spec s = make_spec(128, 6, 4);
    struct plan p = plan_ok(&s, 50304, &fp32);
    cJSON *json = plan_to_json(&p);
    assert_true(cJSON_GetObjectItem(json, "params")->valuedouble == 14067712);
    assert_true(cJSON_GetObjectItem(json, "params_non_embedding")->valuedouble == 1189888);
    assert_true(cJSON_GetObjectItem(json, "flops_per_token")->valuedouble == p.flops_per_token);
    assert_true(cJSON_GetObjectItem(json, "micro_batch")->valuedouble == 8);
    assert_string_equal(cJSON_GetObjectItem(json, "recompute")->valuestring, "none");
    const cJSON *bytes = cJSON_GetObjectItem(json, "bytes");
    assert_true(cJSON_GetObjectItem(bytes, "total")->valuedouble == (double)p.bytes.total);
    assert_true(cJSON_GetObjectItem(bytes, "arena")->valuedouble == (double)p.bytes.arena);
    double sum = 0;
    for (int c = 0; c < PLAN_CLASSES; c++)
        sum += cJSON_GetObjectItem(bytes, plan_class_word((enum plan_class)c))->valuedouble;
    assert_true(sum == (double)p.bytes.total);
    cJSON_Delete(json);
    plan_finish(&p);
    plan_finish(NULL);
}

static void needs_name_the_largest_classes(void **state)
{
    (void)state;
    char text[128];
    struct spec s = make_spec(512, 6, 8);
    struct plan p = plan_ok(&s, 50304, &fp32);
    plan_say_needs(&p, text, sizeof(text));
    assert_string_equal(text, "1352 MiB, moments 537 MiB, parameters 269 MiB");
    plan_finish(&p);
    s.train.batch = 64;
    p = plan_ok(&s, 256, &fp32);
    plan_say_needs(&p, text, sizeof(text));
    assert_string_equal(text, "1903 MiB, activations 1570 MiB, moments 146 MiB");
    plan_finish(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pythia_has_its_published_parameters),
        cmocka_unit_test(flops_count_products_head_and_half_of_attention),
        cmocka_unit_test(arena_is_what_a_count_by_hand_gives),
        cmocka_unit_test(a_memory_is_counted),
        cmocka_unit_test(pauses_are_counted),
        cmocka_unit_test(a_recurrent_memory_is_counted),
        cmocka_unit_test(each_policy_keeps_what_it_says),
        cmocka_unit_test(tensors_fill_the_arena_without_overlap),
        cmocka_unit_test(match_gives_two_thirds_of_the_width),
        cmocka_unit_test(rotary_dims_are_even),
        cmocka_unit_test(initial_values_follow_the_formulas),
        cmocka_unit_test(logits_stay_within_their_chunk),
        cmocka_unit_test(json_has_the_numbers),
        cmocka_unit_test(needs_name_the_largest_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
