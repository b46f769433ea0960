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
    struct plot_series s = {"a<b & \"c\"\x01", "<best>", x, y, 3, 0, false};
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
    struct plot_series s = {"spiky", NULL, x, y, N, 0, false};
    struct plot p = {.title = "t", .x_label = "x", .y_label = "y", .series = &s, .series_count = 1};
    struct plot_axis axis;
    assert_true(plot_y_axis(&p, &axis));
    char *text = print(&p);
    check_xml(text);
    assert_true(strlen(text) < 200000);
    double highest, low = lowest_y_drawn(text, &highest);
    double wanted = 56 + (1 - plot_axis_place(&axis, 1.5)) * 400;
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
        s[i] = (struct plot_series){"s", i % 2 ? "d" : NULL, x, y, 5, i, i == 3};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_spikes_survive),
        cmocka_unit_test(test_odd_plots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
