/* The SVG is well-formed XML (checked by a small parser here), escapes what it is given, and keeps spikes. */
#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "cli/plot.h"
#include "cli/svg.h"
#include "cli/svg_text.h"

enum { DEPTH = 16 };

static char *print(const struct plot *p)
{
    static char *text; /* static: gcc 12 takes the stream's hold on a local for a dangling pointer */
    static size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    svg_print(out, p);
    fclose(out);
    return text;
}

static const char *check_reference(const char *c)
{
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
    for (int i = 0; i < 4; i++)
        if (strncmp(c, known[i], strlen(known[i])) == 0)
            return c + strlen(known[i]);
    fail_msg("a bare & at %.20s", c);
    return c;
}

/* Elements nest, attributes are quoted and not repeated, no bare < or &, no control bytes. */
static void check_xml(const char *text)
{
    char names[DEPTH][32];
    int depth = 0, roots = 0;
    const char *c = text;
    assert_int_equal(strncmp(c, "<?xml ", 6), 0);
    c = strstr(c, "?>") + 2;
    while (*c) {
        if (*c == '&') {
            c = check_reference(c);
        } else if (*c != '<') {
            assert_true((unsigned char)*c >= 0x20 || *c == '\n' || *c == '\t');
            assert_true(depth > 0 || isspace((unsigned char)*c));
            c++;
        } else if (c[1] == '/') {
            size_t n = strcspn(c + 2, ">");
            assert_true(depth > 0);
            depth--;
            assert_true(strlen(names[depth]) == n && strncmp(names[depth], c + 2, n) == 0);
            c += n + 3;
        } else {
            size_t n = strcspn(++c, " />\n");
            char seen[512] = "";
            assert_true(depth < DEPTH && n > 0 && n < sizeof names[0]);
            snprintf(names[depth], sizeof names[0], "%.*s", (int)n, c);
            roots += depth == 0;
            for (c += n; *c != '>' && *c != '/';) {
                c += strspn(c, " \n");
                size_t length = strcspn(c, "=");
                char key[64];
                snprintf(key, sizeof key, " %.*s ", (int)length, c);
                assert_null(strstr(seen, key));
                strncat(seen, key, sizeof seen - strlen(seen) - 1);
                c += length + 1;
                assert_int_equal(*c, '"');
                for (c++; *c != '"';) {
                    assert_true(*c && *c != '<');
                    c = *c == '&' ? check_reference(c) : c + 1;
                }
                c++;
            }
            if (*c == '/')
                c++;
            else
                depth++;
            assert_int_equal(*c++, '>');
        }
    }
    assert_int_equal(depth, 0);
    assert_int_equal(roots, 1);
}

static void test_escapes(void **state)
{
    (void)state;
    const double x[] = {0, 1, 2}, y[] = {3, 2, 1};
    struct plot_series s = {"a<b & \"c\"\x01", "<best>", x, y, 3, 0, false, false};
    struct plot_arrow a = {1, 2, 2, 1, 0, "1.61\u00d7 <fewer> & more"};
    struct plot p = {.title = "</title><script>",
                     .x_label = "x & x",
                     .y_label = "y < y",
                     .series = &s,
                     .series_count = 1,
                     .arrows = &a,
                     .arrow_count = 1};
    char *text = print(&p);
    check_xml(text);
    assert_null(strstr(text, "<script"));
    assert_non_null(strstr(text, "a&lt;b &amp; &quot;c&quot;?"));
    assert_non_null(strstr(text, "1.61\u00d7 &lt;fewer&gt;"));
    assert_null(strstr(text, "http://www.w3.org/1999")); /* nothing from outside but the name space */
    free(text);
}

static double lowest_y_drawn(const char *text, double *highest)
{
    double low = -INFINITY;
    *highest = INFINITY;
    const char *c = strstr(text, "class=\"curve\"");
    assert_non_null(c);
    c = strstr(c, " d=\"") + 4;
    while (*c && *c != '"') {
        double px, py;
        int used;
        if (sscanf(c, " %*c%lf %lf%n", &px, &py, &used) != 2)
            break;
        low = fmax(low, py); /* y grows downwards */
        *highest = fmin(*highest, py);
        c += used;
    }
    return low;
}

static void test_spikes_survive(void **state)
{
    (void)state;
    enum { N = 200000 };
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = 2 + 0.01 * sin(i);
    }
    y[77777] = 1.5; /* one point among 150 of its pixel */
    struct plot_series s = {"spiky", NULL, x, y, N, 0, false, false};
    struct plot p = {.title = "t", .x_label = "x", .y_label = "y", .series = &s, .series_count = 1};
    struct plot_axis axis;
    assert_true(plot_y_axis(&p, &axis));
    char *text = print(&p);
    check_xml(text);
    assert_true(strlen(text) < 200000);
    double highest, low = lowest_y_drawn(text, &highest);
    double left, top, bottom;
    assert_int_equal(sscanf(strstr(text, "class=\"axis\" d=\"M72 ") + 12, " d=\"M%lf %lf V%lf", &left, &top, &bottom),
                     3);
    double wanted = top + (1 - plot_axis_place(&axis, 1.5)) * (bottom - top);
    assert_true(fabs(low - wanted) < 0.02);
    assert_true(highest < low - 100);
    free(text);
    free(x);
    free(y);
}

static void test_odd_plots(void **state)
{
    (void)state;
    const double x[] = {0, 1, 2, 3, 4}, y[] = {NAN, 1e300, 2, NAN, 1};
    struct plot_series s[60];
    for (int i = 0; i < 60; i++)
        s[i] = (struct plot_series){"s", i % 2 ? "d" : NULL, x, y, 5, i, i == 3, false};
    struct plot_arrow a = {-1e300, NAN, 1e300, 0, 59, "?"};
    struct plot p = {
        .title = "t", .x_label = "x", .y_label = "y", .series = s, .series_count = 60, .arrows = &a, .arrow_count = 1};
    char *text = print(&p);
    check_xml(text);
    assert_null(strstr(text, "nan\""));
    assert_null(strstr(text, "inf "));
    free(text);
    p.series_count = 0;
    text = print(&p);
    check_xml(text);
    assert_non_null(strstr(text, "no point to draw yet"));
    free(text);
}

struct box {
    double left, top, right, bottom;
};

/* Boxes of the lines of all texts of a class, as wide as a usual sans-serif makes them (0.55 of its size a letter). */
static size_t boxes_of(const char *text, const char *start, bool centred, struct box *out, size_t limit)
{
    size_t n = 0;
    for (const char *c = strstr(text, start); c; c = strstr(c + 1, start)) {
        double x, y, dy;
        assert_int_equal(sscanf(strstr(c, " x=\"") + 4, "%lf\" y=\"%lf", &x, &y), 2);
        struct box b = {INFINITY, INFINITY, -INFINITY, -INFINITY};
        const char *end = strstr(c, "</text>");
        double right = x;
        for (const char *t = strstr(c, "<tspan"); t && t < end; t = strstr(t + 1, "<tspan")) {
            const char *close = strchr(t, '>'), *line = strstr(t, "dy=\"");
            double length = 13 * 0.55 * (double)strcspn(close + 1, "<");
            if (line && line < close && sscanf(line + 4, "%lf", &dy) == 1) {
                y += dy;
                right = x;
            }
            right += length;
            b.left = fmin(b.left, centred ? x - length / 2 : x);
            b.right = fmax(b.right, centred ? x + length / 2 : right);
            b.top = fmin(b.top, y - 10);
            b.bottom = fmax(b.bottom, y + 3);
        }
        assert_true(n < limit);
        out[n++] = b;
    }
    return n;
}

static void assert_apart(const struct box *boxes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(boxes[i].right <= boxes[j].left || boxes[j].right <= boxes[i].left ||
                        boxes[i].bottom <= boxes[j].top || boxes[j].bottom <= boxes[i].top);
}

enum { RUNS = 20, EVALUATIONS = 30 };

static double runs_x[EVALUATIONS], runs_y[RUNS][EVALUATIONS];

/* n falling curves, some shorter than the others, of nearly equal ends; the last, the best, with three arrows. */
static struct plot many_runs(size_t n, struct plot_series *series, struct plot_arrow arrows[3], const char *name)
{
    for (int i = 0; i < EVALUATIONS; i++)
        runs_x[i] = (i + 1) / 10.0;
    for (size_t r = 0; r < n; r++) {
        for (int i = 0; i < EVALUATIONS; i++)
            runs_y[r][i] = 1.8 - 0.004 * (double)r + 0.8 * exp(-runs_x[i]);
        size_t count = EVALUATIONS - (r + 1 < n ? r % 3 * 5 : 0);
        series[r] =
            (struct plot_series){name, "1.8391, best 1.8388", runs_x, runs_y[r], count, (int)r, false, r + 1 == n};
    }
    size_t arrow_count = 0;
    for (size_t r = n - 1; r-- > 0 && arrow_count < 3; arrow_count++) {
        size_t last = series[r].count - 1;
        arrows[arrow_count] = (struct plot_arrow){
            runs_x[last - (last > 20 ? arrow_count : 0)], 1.7, runs_x[last], runs_y[r][last], (int)n - 1,
            "best passes another: 1.10 fewer tokens"};
    }
    return (struct plot){.title = "many runs",
                         .x_label = "epoch",
                         .y_label = "loss",
                         .series = series,
                         .series_count = n,
                         .arrows = arrows,
                         .arrow_count = arrow_count};
}

static void check_arrows(const char *text, size_t wanted)
{
    double left, top, bottom, right;
    assert_int_equal(
        sscanf(strstr(text, "class=\"axis\" d=\"M72 ") + 12, " d=\"M%lf %lf V%lf H%lf", &left, &top, &bottom, &right),
        4);
    size_t n = 0;
    for (const char *c = strstr(text, "class=\"head\""); c; c = strstr(c + 1, "class=\"head\""), n++) {
        double x, y, dx, dy, height;
        assert_int_equal(sscanf(strstr(c, " d=\"") + 4, "M%lf %lf l%lf %lf v%lf", &x, &y, &dx, &dy, &height), 5);
        assert_true(x >= left && x <= right && x + dx >= left && x + dx <= right + 0.01);
        assert_true(y + dy >= top && y + dy + height <= bottom);
    }
    assert_int_equal(n, wanted);
}

static void test_labels_apart(void **state)
{
    (void)state;
    static const char *const names[] = {"swiglu", "a-name-of-sixty-four-letters-which-is-the-most-that-is-allowed-0"};
    for (size_t n = 1; n <= RUNS; n++)
        for (int k = 0; k < 2; k++) {
            struct plot_series series[RUNS];
            struct plot_arrow arrows[3];
            struct box boxes[64];
            struct plot p = many_runs(n, series, arrows, names[k]);
            char *text = print(&p);
            double width, height;
            check_xml(text);
            assert_int_equal(sscanf(strstr(text, "viewBox=\"0 0 ") + 13, "%lf %lf", &width, &height), 2);
            size_t count = boxes_of(text, "<text class=\"label\" x=\"7", false, boxes, 64);
            count += boxes_of(text, "<text class=\"best\"", false, boxes + count, 64 - count);
            assert_int_equal(count, n);
            size_t notes = boxes_of(text, "<text class=\"note\"", true, boxes + count, 64 - count);
            assert_int_equal(notes, p.arrow_count);
            assert_apart(boxes, count + notes);
            for (size_t i = 0; i < count + notes; i++)
                assert_true(boxes[i].left >= 72 && boxes[i].right <= width && boxes[i].top >= 0 &&
                            boxes[i].bottom <= height);
            check_arrows(text, p.arrow_count);
            free(text);
        }
}

/* An end or an arrow outside the range of y is told, not drawn. */
static void test_beyond_the_picture(void **state)
{
    (void)state;
    struct plot_series series[3];
    struct plot_arrow arrows[3];
    struct plot p = many_runs(3, series, arrows, "run");
    runs_y[0][series[0].count - 1] = 1000;
    arrows[0].loser_y = 900;
    char *text = print(&p);
    check_xml(text);
    check_arrows(text, p.arrow_count - 1);
    assert_non_null(strstr(text, "(ends above)"));
    assert_non_null(strstr(text, "Arrows beyond the picture: 1."));
    size_t leaders = 0;
    for (const char *c = strstr(text, "<circle class=\"end\""); c; c = strstr(c + 1, "<circle class=\"end\""))
        leaders++;
    assert_int_equal(leaders, 2);
    free(text);
}

static void test_lines(void **state)
{
    (void)state;
    const char *text = "elephant passes mini_moe: 1.26 fewer";
    assert_int_equal(svg_text_fit(text, 10, 1000), strlen(text));
    for (double width = 1; width < 400; width++) {
        size_t fitted = svg_text_fit(text, 10, width);
        assert_true(fitted >= 1 && (fitted == 1 || svg_text_width(text, fitted, 10) <= width + 5));
        assert_true(fitted < 9 || text[fitted] == 0 || text[fitted - 1] == ' '); /* words that fit stay whole */
    }
    assert_int_equal(svg_text_fit("a-b_1.5", 10, 20), 2);
    assert_string_equal(svg_text_next("ab  cd", 2), "cd");
    char *out;
    size_t size;
    FILE *stream = open_memstream(&out, &size);
    svg_text_print(stream, "\xc3\xa9\xff\xef\xbf\xbf'\x1b", 99);
    fclose(stream);
    assert_string_equal(out, "\xc3\xa9?"
                             "?'?");
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_spikes_survive),
        cmocka_unit_test(test_odd_plots),
        cmocka_unit_test(test_labels_apart),
        cmocka_unit_test(test_beyond_the_picture),
        cmocka_unit_test(test_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
