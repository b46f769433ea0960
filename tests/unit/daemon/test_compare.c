/* The arrow, the crossing and the reduction of steps, on cases made by hand and against naive forms of their
 * definitions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/err.h"
#include "daemon/compare.h"

static struct compare_curve curve(const double *loss, size_t count)
{
    struct compare_curve c = {0};
    for (size_t i = 0; i < count; i++)
        assert_int_equal(compare_curve_add(&c,
                                           (struct compare_point){(int64_t)i + 1, ((int64_t)i + 1) * 100,
                                                                  ((double)i + 1) / 10, loss[i]},
                                           NULL),
                         0);
    return c;
}

#define CURVE(...) curve((const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

static void check_arrow(struct compare_curve winner, struct compare_curve loser, int64_t step, double ratio)
{
    struct compare_arrow arrow;
    bool beats = compare_beats_best(&winner, &loser, &arrow);
    assert_int_equal(beats, step > 0);
    if (beats) {
        assert_int_equal(arrow.at.step, step);
        assert_true(arrow.tokens_ratio == ratio);
    }
    compare_curve_finish(&winner);
    compare_curve_finish(&loser);
}

static void test_arrow(void **state)
{
    (void)state;
    check_arrow(CURVE(5, 4, 2, 1), CURVE(5, 4, 3, 2.5), 3, 4.0 / 3);
    /* dips below, comes back, and only then stays */
    check_arrow(CURVE(5, 2, 4, 2, 1), CURVE(5, 4, 3, 3, 3), 4, 3.0 / 4);
    /* the loser's best counts, not its last, and its first occurrence gives the tokens */
    check_arrow(CURVE(3, 1, 1), CURVE(4, 2, 5, 2, 5), 2, 1.0);
    /* from the first evaluation on */
    check_arrow(CURVE(1), CURVE(2, 3), 1, 1.0);
    /* no ratio where one of the two does not know its tokens: not 0, and not infinite */
    for (int side = 0; side < 2; side++) {
        struct compare_curve curves[2] = {CURVE(1), CURVE(2, 3)};
        struct compare_arrow arrow;
        curves[side].points[0].tokens = 0;
        assert_true(compare_beats_best(&curves[0], &curves[1], &arrow));
        assert_true(isnan(arrow.tokens_ratio));
        compare_curve_finish(&curves[0]);
        compare_curve_finish(&curves[1]);
    }
}

static void test_no_arrow(void **state)
{
    (void)state;
    check_arrow(CURVE(5, 4, 3), CURVE(5, 4, 3), 0, 0);      /* a tie is none */
    check_arrow(CURVE(5, 2, 4), CURVE(5, 4, 3), 0, 0);      /* did not stay */
    check_arrow(CURVE(5, 2, NAN), CURVE(5, 4, 3), 0, 0);    /* a NaN is not below anything */
    check_arrow(CURVE(5, 2, -INFINITY), CURVE(5, 3), 0, 0); /* nor is what no loss can be */
    check_arrow(CURVE(1), CURVE(NAN, INFINITY), 0, 0);      /* no best to beat */
    check_arrow(CURVE(1), (struct compare_curve){0}, 0, 0);
    check_arrow((struct compare_curve){0}, CURVE(1), 0, 0);
    check_arrow(CURVE(NAN, 2, 1), CURVE(3, NAN, 2.5), 2, 1.5); /* early ones do no harm */
}

/* The definition, word for word: the first evaluation such that it and all later ones are below all of the loser's. */
static ptrdiff_t naive_arrow(const double *winner, size_t n, const double *loser, size_t m)
{
    bool known = false;
    for (size_t j = 0; j < m; j++)
        known |= isfinite(loser[j]) != 0;
    for (size_t first = 0; first < n && known; first++) {
        bool below = true;
        for (size_t i = first; i < n; i++)
            for (size_t j = 0; j < m; j++)
                if (!isfinite(winner[i]) || (isfinite(loser[j]) && !(winner[i] < loser[j])))
                    below = false;
        if (below)
            return (ptrdiff_t)first;
    }
    return -1;
}

static void test_arrow_random(void **state)
{
    (void)state;
    int arrows = 0;
    srand(7);
    for (int round = 0; round < 20000; round++) {
        double a[8], b[8];
        size_t n = (size_t)(rand() % 8), m = (size_t)(rand() % 8);
        for (size_t i = 0; i < 8; i++) {
            a[i] = rand() % 20 == 0 ? NAN : rand() % 6;
            b[i] = rand() % 20 == 0 ? INFINITY : rand() % 6;
        }
        struct compare_curve ca = curve(a, n), cb = curve(b, m);
        struct compare_arrow ab, ba;
        bool a_wins = compare_beats_best(&ca, &cb, &ab), b_wins = compare_beats_best(&cb, &ca, &ba);
        assert_int_equal(a_wins ? ab.at.step - 1 : -1, naive_arrow(a, n, b, m));
        assert_int_equal(b_wins ? ba.at.step - 1 : -1, naive_arrow(b, m, a, n));
        assert_false(a_wins && b_wins);
        arrows += a_wins + b_wins;
        compare_curve_finish(&ca);
        compare_curve_finish(&cb);
    }
    assert_in_range(arrows, 1000, 19000);
}

static void check_cross(struct compare_curve a, struct compare_curve b, double tokens, bool a_below)
{
    struct compare_cross cross = {0};
    bool found = false;
    assert_int_equal(compare_last_cross(&a, &b, &cross, &found, NULL), 0);
    assert_int_equal(found, tokens > 0);
    if (found) {
        assert_true(fabs(cross.tokens - tokens) < 1e-9 * tokens);
        assert_true(fabs(cross.step - tokens / 100) < 1e-9 * tokens);
        assert_int_equal(cross.a_below, a_below);
    }
    compare_curve_finish(&a);
    compare_curve_finish(&b);
}

static void test_cross(void **state)
{
    (void)state;
    check_cross(CURVE(5, 4, 2), CURVE(4, 3.5, 3), 200 + 100 * 0.5 / 1.5, true);
    check_cross(CURVE(1, 3, 1, 3), CURVE(2, 2, 2, 2), 350, false); /* the last of three */
    check_cross(CURVE(1, 1, 1), CURVE(2, 2, 2), 0, false);
    check_cross(CURVE(1, 2, 1), CURVE(2, 2, 2), 0, false);         /* a touch */
    check_cross(CURVE(1, 2, 2, 3), CURVE(2, 2, 2, 2), 300, false); /* together for a while, then apart */
    check_cross(CURVE(2, 2), CURVE(2, 2), 0, false);
    check_cross(CURVE(5, NAN, 1), CURVE(4, 3, 2), 100 + 200 * 1.0 / 2, true); /* a NaN leaves a longer line */
    check_cross((struct compare_curve){0}, CURVE(1), 0, false);
    check_cross(CURVE(NAN), CURVE(1), 0, false);
}

static void test_cross_unequal_grids(void **state)
{
    (void)state;
    struct compare_curve a = {0}, b = {0};
    /* a falls from 4 to 0 over 0..400; b is 1 at 0..1000, given by its ends only and reaching further */
    compare_curve_add(&a, (struct compare_point){0, 0, 0, 4}, NULL);
    compare_curve_add(&a, (struct compare_point){40, 400, 4, 0}, NULL);
    compare_curve_add(&b, (struct compare_point){0, 0, 0, 1}, NULL);
    compare_curve_add(&b, (struct compare_point){10, 1000, 1, 1}, NULL);
    struct compare_cross cross;
    bool found;
    assert_int_equal(compare_last_cross(&a, &b, &cross, &found, NULL), 0);
    assert_true(found && cross.a_below);
    assert_true(fabs(cross.tokens - 300) < 1e-9 && fabs(cross.step - 30) < 1e-9 && fabs(cross.epoch - 3) < 1e-9);
    compare_curve_finish(&a);
    compare_curve_finish(&b);
}

static void test_means(void **state)
{
    (void)state;
    enum { STEPS = 100 };
    int64_t step[STEPS], tokens[STEPS];
    double epoch[STEPS], loss[STEPS];
    /* 1,000 tokens an epoch, 50 a bucket, 20 a step: steps end buckets unevenly, 2 or 3 a bucket */
    for (int i = 0; i < STEPS; i++) {
        step[i] = i + 1;
        tokens[i] = 20 * (i + 1);
        epoch[i] = (double)tokens[i] / 1000;
        loss[i] = i;
    }
    struct compare_train t;
    assert_int_equal(compare_train_init(&t, 8, NULL, NULL), 0);
    for (int i = 0; i < STEPS; i += 25)
        assert_int_equal(compare_train_add(&t, 25, step + i, epoch + i, tokens + i, loss + i, NULL), 0);
    compare_train_end(&t, NULL);
    assert_int_equal(t.means.count, 40);
    for (size_t k = 0; k < 40; k++) {
        double sum = 0;
        int n = 0;
        for (int i = 0; i < STEPS; i++)
            if (tokens[i] > 50 * (int64_t)k && tokens[i] <= 50 * ((int64_t)k + 1)) {
                sum += loss[i];
                n++;
            }
        assert_true(t.means.points[k].loss == sum / n);
    }
    assert_int_equal(t.means.points[39].step, STEPS);
    /* extents: 8 to 16 of them, in order, covering each loss once */
    assert_in_range(t.extent_count, 8, 16);
    double next = 0;
    for (size_t i = 0; i < t.extent_count; i++) {
        assert_true(t.extents[i].min == next);
        next = t.extents[i].max + 1;
        assert_int_equal(t.extents[i].step, (int64_t)next);
    }
    assert_true(next == STEPS);
    compare_train_finish(&t);
}

static void test_means_nonfinite(void **state)
{
    (void)state;
    const int64_t step[] = {1, 2, 3, 4}, tokens[] = {50, 100, 150, 200};
    const double epoch[] = {0.025, 0.05, 0.075, 0.1}, loss[] = {1, NAN, 3, 5};
    struct compare_train t;
    assert_int_equal(compare_train_init(&t, 2, NULL, NULL), 0);
    assert_int_equal(compare_train_add(&t, 4, step, epoch, tokens, loss, NULL), 0);
    compare_train_end(&t, NULL);
    assert_int_equal(t.means.count, 2);
    assert_true(isnan(t.means.points[0].loss));
    assert_true(t.means.points[1].loss == 4);
    assert_int_equal(compare_curve_best(&t.means), 1);
    assert_true(t.extents[0].min == 1 && t.extents[t.extent_count - 1].max == 5);
    compare_train_finish(&t);
    /* nothing at all */
    assert_int_equal(compare_train_init(&t, 0, NULL, NULL), 0);
    compare_train_end(&t, NULL);
    assert_int_equal(t.means.count, 0);
    compare_train_finish(&t);
}

static struct compare_run run(const char *name, double epoch, struct compare_curve val)
{
    return (struct compare_run){.id = name,
                                .label = name,
                                .state = "finished",
                                .reason = "",
                                .data = "kjv",
                                .order = "shuffle",
                                .experiment = name,
                                .step = 30,
                                .epoch = epoch,
                                .val = val};
}

static void on_note(void *arg, const char *text)
{
    char *all = arg;
    strncat(all, text, 4095 - strlen(all));
    strncat(all, "\n", 4095 - strlen(all));
}

static void test_text(void **state)
{
    (void)state;
    struct compare_run elephant = run("elephant", 3, (struct compare_curve){0});
    struct compare_run swiglu = run("swiglu", 3, (struct compare_curve){0});
    compare_curve_add(&elephant.val, (struct compare_point){10, 1000, 1, 3.5}, NULL);
    compare_curve_add(&elephant.val, (struct compare_point){18, 1860, 1.86, 2.4}, NULL);
    compare_curve_add(&elephant.val, (struct compare_point){30, 3000, 3, 2.2}, NULL);
    compare_curve_add(&swiglu.val, (struct compare_point){10, 1000, 1, 3.6}, NULL);
    compare_curve_add(&swiglu.val, (struct compare_point){30, 3000, 3, 2.5}, NULL);
    struct compare_pair pair;
    char text[COMPARE_TEXT_SIZE];
    for (int order = 0; order < 2; order++) {
        const struct compare_run *a = order ? &swiglu : &elephant, *b = order ? &elephant : &swiglu;
        assert_int_equal(compare_pair(a, b, &pair, NULL), 0);
        assert_int_equal(pair.relation, order ? COMPARE_B_BEATS_A : COMPARE_A_BEATS_B);
        compare_pair_text(a, b, &pair, text);
        assert_string_equal(text, "elephant at epoch 1.86 passes swiglu's best of 3 epochs: 1.61\u00d7 fewer tokens");
    }
    swiglu.val.points[0].loss = 2.45;
    compare_pair(&elephant, &swiglu, &pair, NULL);
    compare_pair_text(&elephant, &swiglu, &pair, text);
    assert_string_equal(text, "elephant at epoch 1.86 passes swiglu's best of 3 epochs: 1.86\u00d7 more tokens "
                              "(that best stood at epoch 1)");
    swiglu.val.points[0].loss = 2.2;
    compare_pair(&elephant, &swiglu, &pair, NULL);
    assert_int_equal(pair.relation, COMPARE_TIE);
    elephant.val.points[2].loss = NAN;
    elephant.val.points[1].loss = 2.1;
    compare_pair(&elephant, &swiglu, &pair, NULL);
    assert_int_equal(pair.relation, COMPARE_NEITHER);
    compare_pair_text(&elephant, &swiglu, &pair, text);
    assert_non_null(strstr(text, "neither passes the other's best"));
    assert_non_null(strstr(text, "swiglu never reaches elephant's best"));
    elephant.val.points[0].loss = elephant.val.points[1].loss = NAN;
    compare_pair(&elephant, &swiglu, &pair, NULL);
    assert_int_equal(pair.relation, COMPARE_UNKNOWN);
    compare_pair_text(&elephant, &swiglu, &pair, text);
    assert_non_null(strstr(text, "elephant has no finite validation loss"));
    compare_curve_finish(&elephant.val);
    /* without evaluations on both sides the training means decide, and here there are none either */
    compare_pair(&elephant, &swiglu, &pair, NULL);
    assert_false(pair.on_validation);
    assert_int_equal(pair.relation, COMPARE_UNKNOWN);
    compare_curve_finish(&swiglu.val);
}

static void test_notes(void **state)
{
    (void)state;
    char all[4096] = "";
    struct compare_run runs[3] = {run("a", 3, CURVE(1)), run("b", 3, CURVE(2)), run("c", 0, (struct compare_curve){0})};
    compare_notes(runs, 2, on_note, all);
    assert_string_equal(all, "one run each: without other seeds a small difference decides nothing\n");
    runs[1].experiment = "a";
    *all = 0;
    compare_notes(runs, 2, on_note, all);
    assert_string_equal(all, "");
    runs[1].data = "wiki";
    runs[1].order = "stream";
    runs[1].state = "running";
    runs[2].state = "failed";
    runs[2].step = 3;
    runs[2].reason = "bad_data";
    runs[2].data = "";
    *all = 0;
    compare_notes(runs, 3, on_note, all);
    assert_non_null(strstr(all, "b is still running"));
    assert_non_null(strstr(all, "unequal data: a has kjv, b has wiki"));
    assert_non_null(strstr(all, "unequal data.order"));
    assert_non_null(strstr(all, "c is failed at step 3 (epoch 0): bad_data"));
    assert_non_null(strstr(all, "c has no validation loss"));
    for (int i = 0; i < 3; i++)
        compare_curve_finish(&runs[i].val);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrow),
        cmocka_unit_test(test_no_arrow),
        cmocka_unit_test(test_arrow_random),
        cmocka_unit_test(test_cross),
        cmocka_unit_test(test_cross_unequal_grids),
        cmocka_unit_test(test_means),
        cmocka_unit_test(test_means_nonfinite),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_notes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
