/* Axes and the Braille chart, read back from what they print. */
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
#include "cli/chart.h"
#include "cli/plot.h"

enum { POINTS = 60 };

static double x[POINTS], low[POINTS], high[POINTS];

static void fill(void)
{
    for (int i = 0; i < POINTS; i++) {
        x[i] = (i + 1) / 20.0;
        low[i] = 1.5 + 4 * exp(-4 * x[i]);
        high[i] = 1.8 + 4 * exp(-4 * x[i]);
    }
}

static struct plot two_curves(struct plot_series series[2])
{
    fill();
    series[0] = (struct plot_series){"upper", "best 1.8", x, high, POINTS, 0, false, false};
    series[1] = (struct plot_series){"lower", NULL, x, low, POINTS, 1, false, false};
    return (struct plot){
        .title = "validation loss", .x_label = "epoch", .y_label = "loss", .series = series, .series_count = 2};
}

static char *print(const struct plot *p, int width, int height, bool colour)
{
    static char *text; /* static: gcc 12 takes the stream's hold on a local for a dangling pointer */
    static size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    chart_print(out, p, &(struct chart_options){width, height, colour});
    fclose(out);
    return text;
}

static int columns_of(const char *line, const char *end)
{
    int n = 0;
    for (; line < end; line++)
        n += ((unsigned char)*line & 0xc0) != 0x80;
    return n;
}

static void test_axis_ignores_the_start(void **state)
{
    (void)state;
    struct plot_series series[2];
    struct plot p = two_curves(series);
    struct plot_axis y, axis_x;
    assert_true(plot_y_axis(&p, &y));
    assert_true(plot_x_axis(&p, &axis_x));
    assert_true(axis_x.min == 0 && axis_x.max == 3);
    assert_true(y.min < 1.5 && y.min > 1.3);
    assert_true(y.max < 2.6 && y.max > 1.9); /* the first point is at 4.8 */
    assert_false(y.log);
    /* one explosion at the end does not flatten the rest */
    low[POINTS - 1] = 1e30;
    assert_true(plot_y_axis(&p, &y));
    assert_true(y.max < 4);
}

static void test_axis_odd_data(void **state)
{
    (void)state;
    const double nan3[] = {NAN, INFINITY, -INFINITY}, one[] = {2}, where[] = {1, 2, 3}, wide[] = {0.001, 1, 1000};
    struct plot_series s = {"s", NULL, where, nan3, 3, 0, false, false};
    struct plot p = {.title = "t", .x_label = "x", .y_label = "y", .series = &s, .series_count = 1};
    struct plot_axis axis;
    assert_false(plot_x_axis(&p, &axis));
    assert_false(plot_y_axis(&p, &axis));
    s = (struct plot_series){"s", NULL, where, one, 1, 0, false, false};
    assert_true(plot_y_axis(&p, &axis));
    assert_true(axis.min < 2 && axis.max > 2);
    s = (struct plot_series){"s", NULL, where, wide, 3, 0, false, false};
    assert_true(plot_y_axis(&p, &axis));
    assert_true(axis.log);
    assert_true(fabs(plot_axis_place(&axis, axis.min)) < 1e-12 && fabs(plot_axis_place(&axis, axis.max) - 1) < 1e-12);
}

static void test_ticks(void **state)
{
    (void)state;
    struct plot_tick ticks[PLOT_TICKS_MAX];
    srand(3);
    for (int round = 0; round < 5000; round++) {
        double scale = pow(10, rand() % 12 - 6), from = scale * (rand() % 1000 - 300) / 100.0;
        struct plot_axis axis = {from, from + scale * (1 + rand() % 1000) / 300.0, false};
        axis.log = axis.min > 0 && axis.max > 4 * axis.min;
        size_t wanted = 2 + (size_t)(rand() % 12), n = plot_ticks(&axis, wanted, ticks);
        assert_true(n <= wanted);
        assert_true(wanted < 4 || n >= 1);
        for (size_t i = 0; i < n; i++) {
            double room = 1e-6 * (axis.max - axis.min);
            assert_true(ticks[i].value >= axis.min - room && ticks[i].value <= axis.max + room);
            assert_true(i == 0 || ticks[i].value > ticks[i - 1].value);
            assert_true(fabs(strtod(ticks[i].label, NULL) - ticks[i].value) <=
                        1e-5 * (axis.max - axis.min) + 1e-6 * fabs(ticks[i].value));
        }
    }
}

static void test_chart_fits(void **state)
{
    (void)state;
    struct plot_series series[2];
    struct plot p = two_curves(series);
    for (int width = 40; width <= 200; width += 23) {
        char *text = print(&p, width, 15, false);
        int lines = 0;
        for (const char *line = text; *line; lines++) {
            const char *end = strchr(line, '\n');
            assert_non_null(end);
            assert_true(columns_of(line, end) <= width);
            line = end + 1;
        }
        assert_true(lines <= 21);
        assert_non_null(strstr(text, "A upper best 1.8"));
        assert_non_null(strstr(text, "B lower"));
        assert_non_null(strstr(text, " loss\n")); /* the name of y stands above it */
        assert_non_null(strstr(text, "epoch 0"));
        assert_null(strchr(text, '\033'));
        free(text);
    }
}

/* The letter at the right of the upper curve stands above that of the lower one. */
static void test_letters_and_order(void **state)
{
    (void)state;
    struct plot_series series[2];
    struct plot p = two_curves(series);
    char *text = print(&p, 80, 15, false);
    const char *last_a = NULL, *last_b = NULL, *axis = strstr(text, "\u2514");
    assert_non_null(axis);
    for (const char *c = text; c < axis; c++) {
        if (*c == 'A' && c[1] == '\n')
            last_a = c;
        if (*c == 'B' && c[1] == '\n')
            last_b = c;
    }
    assert_non_null(last_a);
    assert_non_null(last_b);
    assert_true(last_a < last_b);
    int marks = 0;
    for (const char *c = text; c < axis; c++)
        marks += *c == 'B';
    assert_true(marks > 2); /* on the curve too, where there are no colours */
    free(text);
    text = print(&p, 80, 15, true);
    assert_non_null(strstr(text, "\033[36m"));
    assert_non_null(strstr(text, "\033[35m"));
    free(text);
}

/* A flat line at the middle lights up every column, in one row. */
static void test_dots(void **state)
{
    (void)state;
    const double ends[] = {0, 1}, level[] = {1, 1}, frame[] = {0, 2};
    struct plot_series series[2] = {{"flat", NULL, ends, level, 2, 0, false, false},
                                    {"frame", NULL, ends, frame, 2, 1, false, false}};
    struct plot p = {.title = "t", .x_label = "x", .y_label = "y", .series = series, .series_count = 1};
    char *text = print(&p, 60, 8, true);
    int rows_with_dots = 0;
    for (const char *line = text; *line;) {
        const char *end = strchr(line, '\n');
        int cells = 0;
        for (const char *c = line; c + 2 < end; c++)
            cells += (unsigned char)c[0] == 0xe2 && ((unsigned char)c[1] & 0xfc) == 0xa0;
        if (cells) {
            rows_with_dots++;
            assert_true(cells > 45);
        }
        line = end + 1;
    }
    assert_int_equal(rows_with_dots, 1);
    free(text);
}

static void test_nothing_to_draw(void **state)
{
    (void)state;
    struct plot p = {.title = "t", .x_label = "x", .y_label = "loss"};
    char *text = print(&p, 80, 15, false);
    assert_string_equal(text, "loss: no point to draw yet\n");
    free(text);
}

static void test_many_and_broken(void **state)
{
    (void)state;
    struct plot_series series[80];
    fill();
    low[10] = NAN;
    low[20] = INFINITY;
    for (int i = 0; i < 80; i++)
        series[i] = (struct plot_series){"s", NULL, x, i % 2 ? low : high, POINTS, i, false, false};
    struct plot_arrow arrow = {1e300, 1.6, -1e300, -1e300, 3, "far"};
    struct plot p = {.title = "t",
                     .x_label = "x",
                     .y_label = "y",
                     .series = series,
                     .series_count = 80,
                     .arrows = &arrow,
                     .arrow_count = 1};
    char *text = print(&p, 80, 15, false);
    assert_true(strlen(text) > 100);
    free(text);
}

/* The character (its first byte) at a row and column of what was printed; rows count from the first with an axis. */
static const char *cell_of(const char *text, int row, int column)
{
    const char *line = strchr(text, '\n') + 1;
    for (; row > 0; row--)
        line = strchr(line, '\n') + 1;
    for (; column > 0 && *line != '\n'; column--)
        do
            line++;
        while (((unsigned char)*line & 0xc0) == 0x80);
    return line;
}

static bool is_dots(const char *c)
{
    return (unsigned char)c[0] == 0xe2 && ((unsigned char)c[1] & 0xfc) == 0xa0;
}

static int count_of(const char *text, char letter)
{
    int n = 0;
    for (const char *c = text; c < strstr(text, "\u2514"); c++)
        n += *c == letter;
    return n;
}

/* Where a letter stands in the picture, which holds it once. */
static void find_letter(const char *text, char letter, int *row, int *column)
{
    const char *line = strchr(text, '\n') + 1;
    assert_int_equal(count_of(text, letter), 1);
    for (*row = 0; line < strstr(text, "\u2514"); ++*row, line = strchr(line, '\n') + 1)
        for (*column = 0; *cell_of(text, *row, *column) != '\n'; ++*column)
            if (*cell_of(text, *row, *column) == letter)
                return;
    fail();
}

/* In colour, where letters stand at ends only; the sequences are taken out. */
static char *print_plain(const struct plot *p, int width)
{
    char *text = print(p, width, 15, true), *to = text;
    for (const char *from = text; *from;) {
        if (*from == '\033')
            from = strchr(from, 'm') + 1;
        else
            *to++ = *from++;
    }
    *to = 0;
    return text;
}

/* Curves that end at two thirds, outside the range, and together: no letter stands where its curve does not end. */
static void test_ends(void **state)
{
    (void)state;
    const double exploded[] = {2.2, 2.0, 1000}, at[] = {1, 2, 2.5};
    struct plot_series series[5];
    struct plot p = two_curves(series);
    series[1].count = 40; /* lower ends at 2 */
    series[2] =
        (struct plot_series){.label = "gone", .detail = "1000", .x = at, .y = exploded, .count = 3, .colour = 2};
    series[3] = series[4] = series[0];
    series[3].label = "twin";
    series[4].label = "triplet";
    p.series_count = 5;
    for (int width = 60; width <= 140; width += 20) {
        char *text = print_plain(&p, width);
        int row[5], column[5];
        find_letter(text, 'A', &row[0], &column[0]);
        find_letter(text, 'B', &row[1], &column[1]);
        find_letter(text, 'D', &row[3], &column[3]);
        find_letter(text, 'E', &row[4], &column[4]);
        assert_int_equal(count_of(text, 'C'), 0);
        assert_non_null(strstr(text, "C gone 1000 (ends above)"));
        assert_true(row[0] == row[3] && row[3] == row[4]);
        assert_true(column[3] == column[0] + 1 && column[4] == column[0] + 2);
        assert_true(is_dots(cell_of(text, row[0], column[0] - 1)));
        assert_true(is_dots(cell_of(text, row[1], column[1] - 1)));
        assert_false(is_dots(cell_of(text, row[1], column[1] + 1)));
        /* six columns are the axis'; the others run from 0 to 3 up to A */
        assert_true(abs(column[1] - 1 - 6 - (column[0] - 7) * 2 / 3) <= 1);
        assert_true(row[1] > row[0]);
        free(text);
    }
}

/* The arrow lies in the loser's row, its head in the winner's column; out of sight it is not listed either. */
static void test_arrow(void **state)
{
    (void)state;
    struct plot_series series[2];
    struct plot p = two_curves(series);
    struct plot_arrow arrow = {0.65, 1.79, 3, 1.8, 1, "lower passes upper: 4.62\u00d7 fewer tokens"};
    p.arrows = &arrow;
    p.arrow_count = 1;
    char *text = print_plain(&p, 80);
    const char *head = strstr(text, "\u25c4"), *axis = strstr(text, "\u2514");
    assert_true(head && head < axis);
    assert_non_null(strstr(axis, "\u25c4 lower passes upper"));
    int row, column, head_column = -1;
    find_letter(text, 'A', &row, &column);
    for (int c = 0; c < column; c++)
        if (strncmp(cell_of(text, row, c), "\u25c4", 3) == 0)
            head_column = c;
    assert_true(abs(head_column - 6 - (int)((column - 7) * 0.65 / 3)) <= 1);
    free(text);
    arrow.loser_y = 1000;
    text = print_plain(&p, 80);
    assert_null(strstr(text, "\u25c4"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_axis_ignores_the_start),
        cmocka_unit_test(test_axis_odd_data),
        cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_chart_fits),
        cmocka_unit_test(test_letters_and_order),
        cmocka_unit_test(test_dots),
        cmocka_unit_test(test_nothing_to_draw),
        cmocka_unit_test(test_many_and_broken),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_arrow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
