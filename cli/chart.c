/* chart.c: see chart.h. A cell belongs to the series that was drawn last into it; text put over the dots (letters, the
 * arrow) hides them. Aborts when memory is exhausted. */
#include "cli/chart.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "cli/plot.h"

enum { CHART_WIDTH_MIN = 40, CHART_HEIGHT_MIN = 4, LETTERS = 62, NOBODY = -1 };

static const char letters[LETTERS + 1] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
static const char *const palette[] = {"36", "35", "33", "32", "34", "31", "96", "95", "93"};

struct cell {
    uint8_t dots;  /* bits as in U+2800 */
    int16_t owner; /* colour, or NOBODY */
    char text[4];  /* one character, UTF-8; stands instead of the dots */
};

struct canvas {
    int columns, rows;
    struct cell *cells;
    bool colour;
};

static struct cell *cell_at(struct canvas *c, int column, int row)
{
    return column >= 0 && column < c->columns && row >= 0 && row < c->rows ? &c->cells[row * c->columns + column]
                                                                           : NULL;
}

static void put_dot(struct canvas *c, long x, long y, int colour)
{
    static const uint8_t bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    if (x < 0 || y < 0 || x >= 2L * c->columns || y >= 4L * c->rows)
        return;
    struct cell *cell = cell_at(c, (int)(x / 2), (int)(y / 4));
    cell->dots |= bits[y % 4][x % 2];
    cell->owner = (int16_t)colour;
}

static bool put_text(struct canvas *c, int column, int row, const char *text, int colour, bool over_text)
{
    struct cell *cell = cell_at(c, column, row);
    if (!cell || (*cell->text && !over_text))
        return false;
    memcpy(cell->text, text, strlen(text) + 1 < sizeof cell->text ? strlen(text) + 1 : sizeof cell->text);
    cell->owner = (int16_t)colour;
    return true;
}

struct view {
    struct canvas canvas;
    struct plot_axis x, y;
};

/* Dots from the left and from the top; clamped far outside so that conversions are safe. */
static double dot_x(const struct view *v, double x)
{
    return fmin(fmax(plot_axis_place(&v->x, x) * (2.0 * v->canvas.columns - 1), -1e5), 1e5);
}

static double dot_y(const struct view *v, double y)
{
    return fmin(fmax((1 - plot_axis_place(&v->y, y)) * (4.0 * v->canvas.rows - 1), -1e5), 1e5);
}

static void draw_line(struct view *v, double x0, double y0, double x1, double y1, int colour)
{
    double length = fmax(fabs(x1 - x0), fabs(y1 - y0));
    long n = lround(length);
    for (long i = 0; i <= n; i++) {
        double t = n ? (double)i / (double)n : 0;
        put_dot(&v->canvas, lround(x0 + t * (x1 - x0)), lround(y0 + t * (y1 - y0)), colour);
    }
}

static void draw_series(struct view *v, const struct plot_series *s)
{
    bool open = false;
    double px = 0, py = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (!isfinite(s->x[i]) || !isfinite(s->y[i])) {
            open = false;
            continue;
        }
        double x = dot_x(v, s->x[i]), y = dot_y(v, s->y[i]);
        draw_line(v, open ? px : x, open ? py : y, x, y, s->colour);
        px = x;
        py = y;
        open = true;
    }
}

static const char *letter_text(size_t index, char out[2])
{
    out[0] = index < LETTERS ? letters[index] : '*';
    out[1] = 0;
    return out;
}

/* y of the series at column's middle; NaN where it has none. */
static double value_at(const struct plot_series *s, double x)
{
    for (size_t i = 1; i < s->count; i++)
        if (isfinite(s->y[i]) && isfinite(s->y[i - 1]) && s->x[i - 1] <= x && x <= s->x[i])
            return s->x[i] > s->x[i - 1]
                       ? s->y[i - 1] + (s->y[i] - s->y[i - 1]) * (x - s->x[i - 1]) / (s->x[i] - s->x[i - 1])
                       : s->y[i];
    return NAN;
}

/* Letters on the curves, at different columns for different series. */
static void draw_letters(struct view *v, const struct plot *p)
{
    int spacing = (int)p->series_count * 4 > 14 ? (int)p->series_count * 4 : 14;
    for (size_t s = 0; s < p->series_count; s++) {
        char letter[2];
        for (int column = 2 + (int)s * spacing / (int)p->series_count; column < v->canvas.columns; column += spacing) {
            double x = v->x.min + (column + 0.5) / v->canvas.columns * (v->x.max - v->x.min);
            double y = value_at(&p->series[s], x);
            if (isfinite(y))
                put_text(&v->canvas, column, (int)floor(dot_y(v, y) / 4), letter_text(s, letter), p->series[s].colour,
                         false);
        }
    }
}

static void draw_arrows(struct view *v, const struct plot *p)
{
    for (size_t i = 0; i < p->arrow_count; i++) {
        const struct plot_arrow *a = &p->arrows[i];
        int row = (int)floor(dot_y(v, a->loser_y) / 4);
        int from = (int)floor(dot_x(v, a->winner_x) / 2), to = (int)floor(dot_x(v, a->loser_x) / 2);
        int direction = to >= from ? 1 : -1;
        for (int column = from + direction; column != to && (to - column) * direction > 0; column += direction) {
            struct cell *cell = cell_at(&v->canvas, column, row);
            if (cell && !cell->dots)
                put_text(&v->canvas, column, row, "\u2500", a->colour, false);
        }
        put_text(&v->canvas, from, row, direction > 0 ? "\u25c4" : "\u25ba", a->colour, true);
    }
}

static void start_colour(FILE *out, const struct canvas *c, int colour)
{
    if (c->colour && colour >= 0)
        fprintf(out, "\033[%sm", palette[(size_t)colour % (sizeof palette / sizeof *palette)]);
}

static void end_colour(FILE *out, const struct canvas *c, int colour)
{
    if (c->colour && colour >= 0)
        fputs("\033[0m", out);
}

static void print_cells(FILE *out, const struct canvas *c, int row)
{
    int last = c->columns;
    while (last > 0 && !c->cells[row * c->columns + last - 1].dots && !*c->cells[row * c->columns + last - 1].text)
        last--;
    int colour = NOBODY;
    for (int column = 0; column < last; column++) {
        const struct cell *cell = &c->cells[row * c->columns + column];
        int wanted = cell->dots || *cell->text ? cell->owner : NOBODY;
        if (wanted != colour) {
            end_colour(out, c, colour);
            start_colour(out, c, wanted);
            colour = wanted;
        }
        if (*cell->text)
            fputs(cell->text, out);
        else if (cell->dots) /* U+2800 + dots, in UTF-8 */
            fprintf(out, "\xe2%c%c", 0xa0 | (cell->dots >> 6), 0x80 | (cell->dots & 0x3f));
        else
            putc(' ', out);
    }
    end_colour(out, c, colour);
}

struct end {
    int series, row;
    double y;
};

static int higher_first(const void *a, const void *b)
{
    const struct end *x = a, *y = b;
    return x->y != y->y ? (x->y < y->y ? 1 : -1) : x->series - y->series;
}

/* The letters at the right of the last column, each on the row where its curve ends, pushed apart where several end on
 * one, in the curves' order from above to below. */
static void place_ends(const struct view *v, const struct plot *p, int *series_of_row)
{
    int rows = v->canvas.rows, n = 0;
    struct end *ends = calloc(p->series_count + 1, sizeof *ends);
    if (!ends)
        abort();
    for (int row = 0; row < rows; row++)
        series_of_row[row] = NOBODY;
    for (size_t s = 0; s < p->series_count; s++) {
        const struct plot_series *series = &p->series[s];
        size_t i = series->count;
        while (i > 0 && !(isfinite(series->x[i - 1]) && isfinite(series->y[i - 1])))
            i--;
        if (i > 0)
            ends[n++] = (struct end){(int)s, (int)fmin(fmax(floor(dot_y(v, series->y[i - 1]) / 4), 0), rows - 1),
                                     series->y[i - 1]};
    }
    qsort(ends, (size_t)n, sizeof *ends, higher_first);
    for (int i = 1; i < n; i++)
        ends[i].row = ends[i].row > ends[i - 1].row ? ends[i].row : ends[i - 1].row + 1;
    for (int i = n - 1, floor_row = rows; i >= 0; i--) {
        ends[i].row = ends[i].row < floor_row ? ends[i].row : floor_row - 1;
        floor_row = ends[i].row;
        if (floor_row >= 0)
            series_of_row[floor_row] = ends[i].series;
    }
    free(ends);
}

static void print_rows(FILE *out, const struct view *v, const struct plot *p, int margin)
{
    struct plot_tick ticks[PLOT_TICKS_MAX];
    size_t n = plot_ticks(&v->y, (size_t)(v->canvas.rows / 2 + 1), ticks);
    int *ends = malloc((size_t)v->canvas.rows * sizeof *ends);
    if (!ends)
        abort();
    place_ends(v, p, ends);
    for (int row = 0; row < v->canvas.rows; row++) {
        const char *label = "";
        for (size_t t = 0; t < n; t++)
            if ((int)floor(dot_y(v, ticks[t].value) / 4) == row)
                label = ticks[t].label;
        fprintf(out, "%*s %s", margin, label, *label ? "\u2524" : "\u2502");
        print_cells(out, &v->canvas, row);
        if (ends[row] != NOBODY) {
            char letter[2];
            int used = v->canvas.columns;
            while (used > 0 && !v->canvas.cells[row * v->canvas.columns + used - 1].dots &&
                   !*v->canvas.cells[row * v->canvas.columns + used - 1].text)
                used--;
            fprintf(out, "%*s", v->canvas.columns - used + 1, "");
            start_colour(out, &v->canvas, p->series[ends[row]].colour);
            fputs(letter_text((size_t)ends[row], letter), out);
            end_colour(out, &v->canvas, p->series[ends[row]].colour);
        }
        putc('\n', out);
    }
    free(ends);
}

static void print_x_axis(FILE *out, const struct view *v, const struct plot *p, int margin)
{
    struct plot_tick ticks[PLOT_TICKS_MAX];
    int columns = v->canvas.columns;
    size_t n = plot_ticks(&v->x, (size_t)(columns / 10 < 2 ? 2 : columns / 10), ticks);
    char *labels = malloc((size_t)columns + 64);
    bool *marked = calloc((size_t)columns, sizeof *marked);
    if (!labels || !marked)
        abort();
    memset(labels, ' ', (size_t)columns + 64);
    int end = 0;
    for (size_t t = 0; t < n; t++) {
        int column = (int)floor(dot_x(v, ticks[t].value) / 2), length = (int)strlen(ticks[t].label);
        int start = column - length / 2 < 0 ? 0 : column - length / 2;
        if (column < 0 || column >= columns)
            continue;
        marked[column] = true;
        if (start >= end + (end > 0) && start + length <= columns + 2) {
            memcpy(labels + start, ticks[t].label, (size_t)length);
            end = start + length;
        }
    }
    labels[end] = 0;
    fprintf(out, "%*s \u2514", margin, "");
    for (int column = 0; column < columns; column++)
        fputs(marked[column] ? "\u252c" : "\u2500", out);
    fprintf(out, "\n%*s  %s %s\n", margin, "", labels, p->x_label);
    free(labels);
    free(marked);
}

static void print_legend(FILE *out, const struct view *v, const struct plot *p, int margin, int width)
{
    int used = width;
    for (size_t s = 0; s < p->series_count; s++) {
        const struct plot_series *series = &p->series[s];
        char letter[2];
        int length = 2 + (int)strlen(series->label) + (series->detail ? 1 + (int)strlen(series->detail) : 0);
        if (s == 0 || used + 3 + length > width) {
            fprintf(out, "%s%*s", s ? "\n" : "", margin + 2, "");
            used = margin + 2;
        } else {
            fputs("   ", out);
            used += 3;
        }
        start_colour(out, &v->canvas, series->colour);
        fprintf(out, "%s %s", letter_text(s, letter), series->label);
        end_colour(out, &v->canvas, series->colour);
        if (series->detail)
            fprintf(out, " %s", series->detail);
        used += length;
    }
    putc('\n', out);
}

void chart_print(FILE *out, const struct plot *p, const struct chart_options *options)
{
    struct view v = {.canvas = {.colour = options->colour}};
    if (!plot_x_axis(p, &v.x) || !plot_y_axis(p, &v.y)) {
        fprintf(out, "%s: no point to draw yet\n", p->y_label);
        return;
    }
    int width = options->width < CHART_WIDTH_MIN ? CHART_WIDTH_MIN : options->width;
    struct plot_tick ticks[PLOT_TICKS_MAX];
    size_t n = plot_ticks(&v.y, PLOT_TICKS_MAX, ticks);
    int margin = 4;
    for (size_t t = 0; t < n; t++)
        margin = (int)strlen(ticks[t].label) > margin ? (int)strlen(ticks[t].label) : margin;
    v.canvas.rows = options->height < CHART_HEIGHT_MIN ? CHART_HEIGHT_MIN : options->height;
    v.canvas.columns = width - margin - 2 - 3; /* the axis at the left, a letter at the right */
    v.canvas.cells = calloc((size_t)v.canvas.columns * (size_t)v.canvas.rows, sizeof *v.canvas.cells);
    if (!v.canvas.cells)
        abort();
    for (size_t s = 0; s < p->series_count; s++)
        draw_series(&v, &p->series[s]);
    if (!options->colour)
        draw_letters(&v, p);
    draw_arrows(&v, p);
    if (options->colour)
        fprintf(out, "%*s\033[1m%s\033[0m%s\n", margin + 2, "", p->title, v.y.log ? " (log)" : "");
    else
        fprintf(out, "%*s%s%s\n", margin + 2, "", p->title, v.y.log ? " (log)" : "");
    print_rows(out, &v, p, margin);
    print_x_axis(out, &v, p, margin);
    print_legend(out, &v, p, margin, width);
    free(v.canvas.cells);
}
