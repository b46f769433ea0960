/* test_model_optimizer.c: every optimizer over every feed-forward layer and every memory. Each learns; lomo, which
 * updates within the backward pass, has the bits of sgd, so it takes each weight's whole gradient once and where
 * nobody reads the weight any more; from its state a model goes on to the same bits. */
#include "model_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "worker/model_parts.h"

enum { SEQ = 6, XL = 7, STEPS = 6, HALF = 3 };

static const struct memory {
    const char *name;
    int64_t xl, rmt, bptt, pauses;
    enum spec_pause mode;
} memories[] = {
    {.name = "none"},
    {.name = "xl", .xl = XL},
    {.name = "pauses", .pauses = 2, .mode = PAUSE_DROP},
    {.name = "pauses to predict from", .pauses = 2, .mode = PAUSE_PREDICT_FROM_LAST},
    {.name = "rmt", .rmt = 2, .bptt = 1},
    {.name = "rmt in segments", .rmt = 2, .bptt = 3},
    {.name = "all", .xl = XL, .rmt = 2, .bptt = 1, .pauses = 2, .mode = PAUSE_DROP},
};
enum { MEMORIES = sizeof memories / sizeof *memories };

static void set_memory(struct spec *s, const struct memory *m)
{
    s->train.seq_len = SEQ;
    s->memory.xl.len = m->xl;
    s->memory.rmt.tokens = m->rmt;
    s->memory.rmt.bptt = m->bptt;
    s->memory.pause.tokens = m->pauses;
    s->memory.pause.mode = m->mode;
}

/* An epoch's start, and what follows it: nothing is hidden and a state is carried. */
static struct model_results step(struct model_case *c, int64_t number)
{
    for (int64_t i = 0; i < c->spec.train.batch * c->spec.train.seq_len; i++)
        c->first[i] = number == 1 ? (int32_t)c->spec.memory.xl.len : 0;
    model_choose_windows(c->model, &(struct window_key){.fresh = number == 1, .number = number});
    return case_train(c, number, c->spec.train.optimizer.lr);
}

/* Parameters, moments and memories, one after the other; the caller frees. */
static unsigned char *read_all(struct model_case *c, size_t *size)
{
    struct err err = {0};
    struct model_tensor t;
    unsigned char *out = NULL;
    *size = 0;
    for (int i = 0; i < model_state_count(c->model); i++) {
        model_state_tensor(c->model, i, &t);
        out = realloc(out, *size + t.bytes);
        assert_non_null(out);
        assert_int_equal(model_read_state(c->model, i, out + *size, &err), 0);
        *size += t.bytes;
    }
    return out;
}

static void write_all(struct model_case *c, const unsigned char *from, int64_t updates)
{
    struct err err = {0};
    struct model_tensor t;
    for (int i = 0; i < model_state_count(c->model); i++) {
        model_state_tensor(c->model, i, &t);
        assert_int_equal(model_write_state(c->model, i, from, &err), 0);
        from += t.bytes;
    }
    assert_int_equal(model_write_updates(c->model, updates, &err), 0);
}

struct outcome {
    struct model_results results[STEPS];
    unsigned char *state;
    size_t size;
};

static struct outcome train(const struct spec *s)
{
    struct outcome o = {0};
    struct model_case c;
    case_open(&c, s, CASE_VOCAB, "cpu", 1);
    case_randomize(&c, 3);
    for (int i = 0; i < STEPS; i++)
        o.results[i] = step(&c, i + 1);
    o.state = read_all(&c, &o.size);
    case_close(&c);
    return o;
}

static void check_lomo(struct spec s, const char *what)
{
    struct outcome o[2];
    for (int lomo = 0; lomo < 2; lomo++) {
        s.train.optimizer.type = lomo ? OPTIMIZER_LOMO : OPTIMIZER_SGD;
        o[lomo] = train(&s);
    }
    if (memcmp(o[0].results, o[1].results, sizeof o[0].results) != 0 || o[0].size != o[1].size ||
        memcmp(o[0].state, o[1].state, o[0].size) != 0)
        fail_msg("lomo is not sgd: feed-forward layer %d, memory %s, clip %g, tied %d", (int)s.model.ffn.type, what,
                 s.train.clip, s.model.tie_embeddings);
    assert_true(o[0].results[0].grad_norm > 0.1); /* what is clipped to */
    free(o[0].state);
    free(o[1].state);
}

static void lomo_is_sgd(void **state)
{
    (void)state;
    for (int ffn = 0; ffn < CASE_FFNS; ffn++)
        for (int memory = 0; memory < MEMORIES; memory++)
            for (int clip = 0; clip < 2; clip++) {
                struct spec s = case_spec();
                int variant = ffn + memory;
                case_set_ffn(&s, ffn);
                set_memory(&s, &memories[memory]);
                s.model.tie_embeddings = variant % 2;
                s.model.parallel_residual = variant % 3 > 0;
                s.train.recompute = (enum spec_recompute)(RECOMPUTE_NONE + variant % 3);
                s.train.clip = clip ? 0.1 : 0;
                s.train.optimizer.lr = 0.05;
                check_lomo(s, memories[memory].name);
            }
}

static const struct choice {
    const char *name;
    enum spec_optimizer type;
    double lr, momentum, clip;
} choices[] = {
    {"sgd", OPTIMIZER_SGD, 0.1, 0, 1},          {"sgd with momentum", OPTIMIZER_SGD, 0.03, 0.9, 1},
    {"lion", OPTIMIZER_LION, 0.01, 0, 1},       {"muon", OPTIMIZER_MUON, 0.02, 0.9, 1},
    {"lomo", OPTIMIZER_LOMO, 0.1, 0, 1},        {"adalomo", OPTIMIZER_ADALOMO, 0.02, 0, 0},
    {"adalomo", OPTIMIZER_ADALOMO, 0.02, 0, 1},
};

static struct spec chosen(const struct choice *choice, int ffn, const struct memory *memory)
{
    struct spec s = case_spec();
    case_set_ffn(&s, ffn);
    set_memory(&s, memory);
    s.train.optimizer.type = choice->type;
    s.train.optimizer.lr = choice->lr;
    s.train.optimizer.rest_lr = 0.01;
    s.train.optimizer.momentum = choice->momentum;
    s.train.weight_decay = 0.01;
    s.train.clip = choice->clip;
    s.train.recompute = RECOMPUTE_NONE;
    return s;
}

/* Half of the steps, and the rest by another model from what the first would have in a checkpoint. */
static void check_choice(const struct spec *s, const char *optimizer, int ffn, const char *memory)
{
    struct outcome whole = train(s);
    struct spec other = *s;
    struct model_case c;
    size_t size;
    double losses = whole.results[STEPS - 1].loss_sum / whole.results[0].loss_sum;
    if (!(losses < 0.99))
        fail_msg("%s does not learn: feed-forward layer %d, memory %s: %g", optimizer, ffn, memory, losses);
    case_open(&c, s, CASE_VOCAB, "cpu", 1);
    case_randomize(&c, 3);
    for (int i = 0; i < HALF; i++)
        step(&c, i + 1);
    unsigned char *saved = read_all(&c, &size);
    assert_int_equal(case_updates(&c), HALF);
    case_close(&c);

    other.train.recompute = RECOMPUTE_ALL;
    case_open(&c, &other, CASE_VOCAB, "cpu", 2);
    write_all(&c, saved, HALF);
    free(saved);
    bool same = true;
    for (int i = HALF; i < STEPS; i++) {
        struct model_results r = step(&c, i + 1);
        same = same && memcmp(&r, &whole.results[i], sizeof r) == 0;
    }
    saved = read_all(&c, &size);
    if (!same || size != whole.size || memcmp(saved, whole.state, size) != 0)
        fail_msg("%s does not go on: feed-forward layer %d, memory %s", optimizer, ffn, memory);
    free(saved);
    free(whole.state);
    case_close(&c);
}

static void each_learns_and_goes_on_from_its_state(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        for (int ffn = 0; ffn < CASE_FFNS; ffn++) {
            struct spec s = chosen(&choices[i], ffn, &memories[0]);
            check_choice(&s, choices[i].name, ffn, memories[0].name);
        }
        for (int memory = 1; memory < MEMORIES; memory++) {
            int ffn = (int)(i + (size_t)memory) % CASE_FFNS;
            struct spec s = chosen(&choices[i], ffn, &memories[memory]);
            check_choice(&s, choices[i].name, ffn, memories[memory].name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lomo_is_sgd),
        cmocka_unit_test(each_learns_and_goes_on_from_its_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
