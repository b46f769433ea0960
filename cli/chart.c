/* chart.c: see chart.h. A cell belongs to the series that was drawn last into it; text put over the dots (letters, the
 * arrow) hides them. Right of the dots the canvas has room for the letters of curves that end there. Aborts when memory
 * is exhausted. */
#include "cli/chart.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/json_check.h"
#include "cli/plot.h"

enum { CHART_WIDTH_MIN = 20, CHART_HEIGHT_MIN = 4, LETTERS = 62, NOBODY = -1 };

static const char letters[LETTERS + 1] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
static const char *const palette[] = {"36", "35", "33", "32", "34", "31", "96", "95", "93"};

struct cell {
    uint8_t dots;  /* bits as in U+2800 */
    int16_t owner; /* colour, or NOBODY */
    char text[4];  /* one character, UTF-8; stands instead of the dots */
    bool firm;     /* the text may not be replaced */
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

static bool put_text(struct canvas *c, int column, int row, const char *text, int colour, bool firm)
{
    struct cell *cell = cell_at(c, column, row);
    if (!cell || cell->firm)
        return false;
    cell->firm = firm;
    memcpy(cell->text, text, strlen(text) + 1 < sizeof cell->text ? strlen(text) + 1 : sizeof cell->text);
    cell->owner = (int16_t)colour;
    return true;
}

struct view {
    struct canvas canvas;
    int columns; /* of dots; the canvas has some more */
    struct plot_axis x, y;
    bool *lettered; /* [series]: a letter stands where the curve ends */
};

/* Dots from the left and from the top; clamped far outside so that conversions are safe. */
static double dot_x(const struct view *v, double x)
{
    return fmin(fmax(plot_axis_place(&v->x, x) * (2.0 * v->columns - 1), -1e5), 1e5);
}

static double dot_y(const struct view *v, double y)
{
    return fmin(fmax((1 - plot_axis_place(&v->y, y)) * (4.0 * v->canvas.rows - 1), -1e5), 1e5);
}

static void draw_line(struct view *v, double x0, double y0, double x1, double y1, int colour, bool faint)
{
    double length = fmax(fabs(x1 - x0), fabs(y1 - y0));
    long n = lround(length);
    for (long i = 0; i <= n; i++) {
        double t = n ? (double)i / (double)n : 0;
        long x = lround(x0 + t * (x1 - x0)), y = lround(y0 + t * (y1 - y0));
        if (!faint || (x + y) % 2 == 0)
            put_dot(&v->canvas, x, y, colour);
    }
}

/* A faint curve is dotted: what is drawn over it stays legible without colours too. */
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
        draw_line(v, open ? px : x, open ? py : y, x, y, s->colour, s->faint);
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

/* Faint curves have no letter. */
static size_t letter_index(const struct plot *p, size_t series)
{
    size_t index = 0;
    for (size_t s = 0; s < series; s++)
        index += !p->series[s].faint;
    return index;
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

static bool is_alone(struct canvas *c, int column, int row)
{
    for (int near = column - 1; near <= column + 1; near++) {
        const struct cell *cell = cell_at(c, near, row);
        if (cell && *cell->text)
            return false;
    }
    return true;
}

/* Letters on the curves, at different columns for different series and apart from those at the ends. */
static void draw_letters(struct view *v, const struct plot *p)
{
    int spacing = (int)p->series_count * 4 > 14 ? (int)p->series_count * 4 : 14;
    for (size_t s = 0; s < p->series_count; s++) {
        char letter[2];
        if (p->series[s].faint)
            continue;
        for (int column = 2 + (int)s * spacing / (int)p->series_count; column < v->columns; column += spacing) {
            double x = plot_axis_value(&v->x, (column + 0.5) / v->columns);
            double y = value_at(&p->series[s], x);
            int row = (int)floor(dot_y(v, y) / 4);
            if (isfinite(y) && is_alone(&v->canvas, column, row))
                put_text(&v->canvas, column, row, letter_text(letter_index(p, s), letter), p->series[s].colour, true);
        }
    }
}

static bool arrow_is_drawn(const struct view *v, const struct plot_arrow *a)
{
    return plot_axis_holds(&v->y, a->loser_y) && plot_axis_holds(&v->x, a->winner_x) &&
           plot_axis_holds(&v->x, a->loser_x);
}

static const char *arrow_head(const struct plot_arrow *a)
{
    return a->loser_x >= a->winner_x ? "\u25c4" : "\u25ba";
}

static void draw_arrows(struct view *v, const struct plot *p)
{
    for (size_t i = 0; i < p->arrow_count; i++) {
        const struct plot_arrow *a = &p->arrows[i];
        if (!arrow_is_drawn(v, a))
            continue;
        int row = (int)floor(dot_y(v, a->loser_y) / 4);
        int from = (int)floor(dot_x(v, a->winner_x) / 2), to = (int)floor(dot_x(v, a->loser_x) / 2);
        int direction = to >= from ? 1 : -1;
        for (int column = from + direction; column != to && (to - column) * direction > 0; column += direction) {
            struct cell *cell = cell_at(&v->canvas, column, row);
            if (cell && !cell->dots)
                put_text(&v->canvas, column, row, "\u2500", a->colour, false);
        }
        put_text(&v->canvas, from, row, arrow_head(a), a->colour, true);
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
    size_t series;
    int column, row;
    double y;
};

static int in_reading_order(const void *a, const void *b)
{
    const struct end *x = a, *y = b;
    if (x->row != y->row)
        return x->row - y->row;
    if (x->column != y->column)
        return x->column - y->column;
    return x->y != y->y ? (x->y > y->y ? 1 : -1) : (x->series > y->series) - (x->series < y->series);
}

/* The cells where curves end, but for those outside the range of y: their letter could only stand in a wrong place, so
 * the legend tells. Caller frees. */
static struct end *find_ends(const struct view *v, const struct plot *p, size_t *count)
{
    struct end *ends = calloc(p->series_count + 1, sizeof *ends);
    if (!ends)
        abort();
    *count = 0;
    for (size_t s = 0; s < p->series_count; s++) {
        ptrdiff_t last = plot_series_end(&p->series[s]);
        if (p->series[s].faint || last < 0 || !plot_axis_holds(&v->y, p->series[s].y[last]))
            continue;
        double y = p->series[s].y[last];
        ends[(*count)++] =
            (struct end){s, (int)(lround(dot_x(v, p->series[s].x[last])) / 2), (int)(lround(dot_y(v, y)) / 4), y};
    }
    qsort(ends, *count, sizeof *ends, in_reading_order);
    return ends;
}

/* Each letter right behind its curve's last cell; curves that end together share a row of letters, the lowest first. */
static void draw_ends(struct view *v, const struct plot *p)
{
    size_t n;
    struct end *ends = find_ends(v, p, &n);
    for (size_t i = 0; i < n; i++) {
        char letter[2];
        int column = ends[i].column + 1;
        for (const struct cell *cell = cell_at(&v->canvas, column, ends[i].row); cell && cell->firm;
             cell = cell_at(&v->canvas, ++column, ends[i].row))
            continue;
        v->lettered[ends[i].series] =
            put_text(&v->canvas, column, ends[i].row, letter_text(letter_index(p, ends[i].series), letter),
                     p->series[ends[i].series].colour, true);
    }
    free(ends);
}

/* Columns that the letters need right of the dots: the most that may stand in one row there, and a blank. */
static int columns_for_letters(const struct view *v, const struct plot *p)
{
    size_t n, most = 1, here = 0;
    struct end *ends = find_ends(v, p, &n);
    for (size_t i = 0; i < n; i++) {
        here = i && ends[i].row == ends[i - 1].row ? here + 1 : 1;
        most = here > most ? here : most;
    }
    free(ends);
    return (int)(most < CHART_WIDTH_MIN / 2 ? most : CHART_WIDTH_MIN / 2) + 1;
}

static void print_rows(FILE *out, const struct view *v, int margin)
{
    struct plot_tick ticks[PLOT_TICKS_MAX];
    size_t n = plot_ticks(&v->y, (size_t)(v->canvas.rows / 2 + 1), ticks);
    for (int row = 0; row < v->canvas.rows; row++) {
        const char *label = "";
        for (size_t t = 0; t < n; t++)
            if ((int)floor(dot_y(v, ticks[t].value) / 4) == row)
                label = ticks[t].label;
        fprintf(out, "%*s %s", margin, label, *label ? "\u2524" : "\u2502");
        print_cells(out, &v->canvas, row);
        putc('\n', out);
    }
}

static void print_x_axis(FILE *out, const struct view *v, const struct plot *p, int margin)
{
    struct plot_tick ticks[PLOT_TICKS_MAX];
    int columns = v->columns;
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
        if (start >= end + (end > 0) && start + length <= v->canvas.columns) {
            memcpy(labels + start, ticks[t].label, (size_t)length);
            end = start + length;
        }
    }
    labels[end] = 0;
    fprintf(out, "%*s \u2514", margin, "");
    for (int column = 0; column < columns; column++)
        fputs(marked[column] ? "\u252c" : "\u2500", out);
    fprintf(out, "\n%*s %s\n", margin + 1, p->x_label, labels);
    free(labels);
    free(marked);
}

static int columns_of(const char *text)
{
    const char *end = text + strlen(text);
    int n = 0;
    for (size_t size; text < end; text += size ? size : 1, n++)
        size = json_utf8_length((const unsigned char *)text, (const unsigned char *)end);
    return n;
}

struct legend {
    FILE *out;
    int indent, width, used; /* used: columns of the line so far */
};

/* Room for so many columns, on this line or the next. */
static void legend_next(struct legend *l, int columns)
{
    if (l->used > l->indent && l->used + 3 + columns <= l->width) {
        fputs("   ", l->out);
        l->used += 3;
    } else {
        fprintf(l->out, "%s%*s", l->used ? "\n" : "", l->indent, "");
        l->used = l->indent;
    }
    l->used += columns;
}

static void print_entry(struct legend *l, const struct view *v, const struct plot *p, size_t s)
{
    const struct plot_series *series = &p->series[s];
    ptrdiff_t last = plot_series_end(series);
    char letter[2];
    const char *where = v->lettered[s] || last < 0   ? ""
                        : series->y[last] > v->y.max ? " (ends above)"
                                                     : " (end hidden)";
    int label = 2 + columns_of(series->label);
    int detail = (series->detail ? 1 + columns_of(series->detail) : 0) + columns_of(where);
    bool whole = l->indent + label + detail <= l->width;
    legend_next(l, whole ? label + detail : label);
    start_colour(l->out, &v->canvas, series->colour);
    fprintf(l->out, "%s %s", letter_text(letter_index(p, s), letter), series->label);
    end_colour(l->out, &v->canvas, series->colour);
    if (!whole) { /* a long name has its numbers on a line of their own */
        fprintf(l->out, "\n%*s", l->indent + 1, "");
        l->used = l->width;
    }
    fprintf(l->out, "%s%s%s", series->detail ? " " : "", series->detail ? series->detail : "", where);
}

/* Behind `at` columns of a line; broken at spaces where it has no room. */
static void print_words(FILE *out, const char *text, int at, int width)
{
    for (int used = at - 1; *text;) {
        size_t size = strcspn(text, " ");
        char word[256];
        snprintf(word, sizeof word, "%.*s", (int)size, text);
        if (used > at && used + 1 + columns_of(word) > width) {
            fprintf(out, "\n%*s", at - 1, "");
            used = at - 1;
        }
        fprintf(out, " %.*s", (int)size, text);
        used += 1 + columns_of(word);
        text += size + (text[size] == ' ');
    }
}

static void print_legend(FILE *out, const struct view *v, const struct plot *p, int margin, int width)
{
    struct legend l = {out, margin + 2, width, 0};
    for (size_t s = 0; s < p->series_count; s++)
        if (!p->series[s].faint)
            print_entry(&l, v, p, s);
    for (size_t i = 0; i < p->arrow_count; i++) {
        const struct plot_arrow *a = &p->arrows[i];
        if (!arrow_is_drawn(v, a))
            continue;
        l.used = width; /* a line of its own */
        legend_next(&l, 2 + columns_of(a->text));
        start_colour(out, &v->canvas, a->colour);
        fputs(arrow_head(a), out);
        end_colour(out, &v->canvas, a->colour);
        print_words(out, a->text, margin + 4, width);
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
    int margin = columns_of(p->x_label) > 5 ? columns_of(p->x_label) - 1 : 4;
    for (size_t t = 0; t < n; t++)
        margin = (int)strlen(ticks[t].label) > margin ? (int)strlen(ticks[t].label) : margin;
    v.canvas.rows = options->height < CHART_HEIGHT_MIN ? CHART_HEIGHT_MIN : options->height;
    v.canvas.columns = width - margin - 2;
    v.columns = v.canvas.columns - columns_for_letters(&v, p);
    v.canvas.cells = calloc((size_t)v.canvas.columns * (size_t)v.canvas.rows, sizeof *v.canvas.cells);
    v.lettered = calloc(p->series_count + 1, sizeof *v.lettered);
    if (!v.canvas.cells || !v.lettered)
        abort();
    for (size_t s = 0; s < p->series_count; s++)
        draw_series(&v, &p->series[s]);
    draw_arrows(&v, p);
    draw_ends(&v, p);
    if (!options->colour)
        draw_letters(&v, p);
    const char *bold = options->colour ? "\033[1m" : "", *plain = options->colour ? "\033[0m" : "";
    const char *log = v.y.log ? " (log)" : "";
    /* "validation loss (nats a prediction)" begins at the edge, then without its parentheses, where it has no room */
    int label = columns_of(p->y_label) + (int)strlen(log), start = margin + 2 + label <= width ? margin + 2 : 0;
    const char *parenthesis = strstr(p->y_label, " (");
    int length = start + label <= width || !parenthesis ? (int)strlen(p->y_label) : (int)(parenthesis - p->y_label);
    fprintf(out, "%*s%s%.*s%s%s\n", start, "", bold, length, p->y_label, plain,
            length + (int)strlen(log) <= width ? log : "");
    print_rows(out, &v, margin);
    print_x_axis(out, &v, p, margin);
    print_legend(out, &v, p, margin, width);
    free(v.canvas.cells);
    free(v.lettered);
}
