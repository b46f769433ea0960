/* svg_labels.c: see svg_labels.h. Aborts when memory is exhausted. */
#include "cli/svg_labels.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "cli/place.h"
#include "cli/svg_text.h"

enum {
    LEADER = 26, /* from the area's edge to the line before the name */
    SWATCH = 22,
    NAME_INDENT = LEADER + SWATCH + 8,
    NAME_WIDTH = 250, /* of a line; longer names are broken */
    NAME_PX = 13,
    DETAIL_PX = 12,
    LINE = 16,
    NAME_GAP = 5,
    NOTE_PX = 13,
    NOTE_LINE = 17,
    NOTE_WIDTH = 260,
    HEAD = 11,
    HEAD_HALF = 5
};

static const char *const palette[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#333333"};
static const char *const patterns[] = {"", "7 3", "2 3", "9 3 2 3"};

enum { COLOURS = sizeof palette / sizeof *palette, PATTERNS = sizeof patterns / sizeof *patterns };

void svg_print_stroke(FILE *out, int colour)
{
    const char *pattern = patterns[colour / COLOURS % PATTERNS];
    fprintf(out, " stroke=\"%s\"", palette[colour % COLOURS]);
    if (*pattern)
        fprintf(out, " stroke-dasharray=\"%s\"", pattern);
}

/* Clamped, so that an exploded value cannot give a number that renderers refuse. */
double svg_place_x(const struct svg_view *v, double x)
{
    return v->left + fmin(fmax(plot_axis_place(&v->x, x), -10), 10) * v->width;
}

double svg_place_y(const struct svg_view *v, double y)
{
    return v->top + (1 - fmin(fmax(plot_axis_place(&v->y, y), -10), 10)) * v->height;
}

/* Lines of a name, and whether the detail has room behind the last of them. */
struct name {
    int lines;
    bool detail_apart;
    double width;
};

static const char *where_it_ends(const struct svg_view *v, const struct plot_series *s)
{
    ptrdiff_t last = plot_series_end(s);
    return last < 0 || plot_axis_holds(&v->y, s->y[last]) ? ""
           : s->y[last] > v->y.max                        ? " (ends above)"
                                                          : " (ends below)";
}

static struct name measure(const struct svg_view *v, const struct plot_series *s)
{
    const char *where = where_it_ends(v, s);
    struct name n = {0};
    double last = 0;
    for (const char *text = s->label; *text; n.lines++) {
        size_t fitted = svg_text_fit(text, NAME_PX, NAME_WIDTH);
        last = svg_text_width(text, fitted, NAME_PX);
        n.width = fmax(n.width, last);
        text = svg_text_next(text, fitted);
    }
    double detail = svg_text_width(where, strlen(where), DETAIL_PX);
    if (s->detail)
        detail += svg_text_width(s->detail, strlen(s->detail), DETAIL_PX);
    n.detail_apart = detail > 0 && last + 8 + detail > NAME_WIDTH;
    n.lines += n.detail_apart;
    n.width = fmax(n.width, n.detail_apart ? detail : last + 8 + detail);
    return n;
}

void svg_names_size(const struct svg_view *v, const struct plot *p, double *width, double *height)
{
    *width = *height = 0;
    for (size_t i = 0; i < p->series_count; i++) {
        if (p->series[i].faint)
            continue;
        struct name n = measure(v, &p->series[i]);
        *width = fmax(*width, NAME_INDENT + n.width);
        *height += n.lines * LINE + NAME_GAP;
    }
}

static void print_leader(const struct svg_view *v, const struct plot_series *s, double y)
{
    ptrdiff_t last = plot_series_end(s);
    double x = svg_place_x(v, s->x[last]), from = svg_place_y(v, s->y[last]), right = v->left + v->width;
    if (x < right - 1)
        fprintf(v->out, "<path class=\"level\" d=\"M%.2f %.2f H%.2f\"/>", x + 5, from, right);
    fprintf(v->out, "<path class=\"leader\" d=\"M%.2f %.2f L%.2f %.2f\"/><circle class=\"end\"", right + 3, from,
            right + LEADER - 2, y);
    fprintf(v->out, " fill=\"%s\" cx=\"%.2f\" cy=\"%.2f\" r=\"3\"/>\n", palette[s->colour % COLOURS], x, from);
}

static void print_name(const struct svg_view *v, const struct plot_series *s, double middle)
{
    struct name n = measure(v, s);
    double x = v->left + v->width + LEADER, y = middle - n.lines * LINE / 2.0 + 12;
    ptrdiff_t last = plot_series_end(s);
    bool ends_here = last >= 0 && plot_axis_holds(&v->y, s->y[last]);
    fputs("<g class=\"name\">", v->out);
    if (ends_here)
        print_leader(v, s, middle);
    fprintf(v->out, "<path class=\"%s\"", s->strong ? "strong" : "curve");
    svg_print_stroke(v->out, s->colour);
    fprintf(v->out, " d=\"M%.2f %.2f h%d\"/>", x, middle, SWATCH);
    fprintf(v->out, "<text class=\"%s\" x=\"%.2f\" y=\"%.2f\">", s->strong ? "best" : "label", x + SWATCH + 8, y);
    int line = 0;
    for (const char *text = s->label; *text; line++) {
        size_t fitted = svg_text_fit(text, NAME_PX, NAME_WIDTH);
        if (line)
            fprintf(v->out, "</tspan><tspan x=\"%.2f\" dy=\"%d\">", x + SWATCH + 8, LINE);
        else
            fputs("<tspan>", v->out);
        svg_text_print(v->out, text, fitted);
        text = svg_text_next(text, fitted);
    }
    fputs(line ? "</tspan>" : "", v->out);
    if (n.detail_apart)
        fprintf(v->out, "<tspan class=\"muted\" x=\"%.2f\" dy=\"%d\">", x + SWATCH + 8, LINE);
    else
        fputs("<tspan class=\"muted\" dx=\"8\">", v->out);
    if (s->detail)
        svg_text_print(v->out, s->detail, strlen(s->detail));
    fprintf(v->out, "%s</tspan></text></g>\n", where_it_ends(v, s));
}

void svg_print_names(const struct svg_view *v, const struct plot *p)
{
    struct place_item *items = calloc(p->series_count + 1, sizeof *items);
    if (!items)
        abort();
    size_t n = 0;
    for (size_t i = 0; i < p->series_count; i++) {
        const struct plot_series *s = &p->series[i];
        ptrdiff_t last = plot_series_end(s);
        if (s->faint)
            continue;
        double y = last < 0 ? v->top + v->height : svg_place_y(v, s->y[last]);
        y = fmin(fmax(y, v->top - 1), v->top + v->height + 1);
        items[n++] = (struct place_item){y, measure(v, s).lines * LINE + NAME_GAP, 0, i};
    }
    place_spread(items, n, v->top - 8, v->top + v->height + 8);
    for (size_t i = 0; i < n; i++)
        print_name(v, &p->series[items[i].index], items[i].at);
    free(items);
}

static void occupy(const struct svg_view *v, const struct plot *p, struct place_map *map)
{
    for (size_t s = 0; s < p->series_count; s++)
        for (size_t i = 0; i < p->series[s].count; i++) {
            const double *x = p->series[s].x, *y = p->series[s].y;
            size_t from = i ? i - 1 : 0;
            if (isfinite(x[i]) && isfinite(y[i]) && isfinite(x[from]) && isfinite(y[from]))
                place_map_add_line(map, PLACE_CURVE, svg_place_x(v, x[from]), svg_place_y(v, y[from]),
                                   svg_place_x(v, x[i]), svg_place_y(v, y[i]));
        }
    for (size_t i = 0; i < p->arrow_count; i++) {
        double y = svg_place_y(v, p->arrows[i].loser_y);
        place_map_add_line(map, PLACE_ARROW, svg_place_x(v, p->arrows[i].winner_x), y,
                           svg_place_x(v, p->arrows[i].loser_x), y);
    }
}

static bool is_drawn(const struct svg_view *v, const struct plot_arrow *a)
{
    return plot_axis_holds(&v->x, a->winner_x) && plot_axis_holds(&v->x, a->loser_x) &&
           plot_axis_holds(&v->y, a->loser_y);
}

/* From the loser's best, a ring, at the same loss to where the winner has passed it. */
static void print_shaft(const struct svg_view *v, const struct plot_arrow *a)
{
    double y = svg_place_y(v, a->loser_y), from = svg_place_x(v, a->loser_x), to = svg_place_x(v, a->winner_x);
    double head = fmin(HEAD, fabs(from - to)) * (to <= from ? 1 : -1);
    const char *colour = palette[a->colour % COLOURS];
    fprintf(v->out, "<path class=\"shaft\" stroke=\"%s\" d=\"M%.2f %.2f H%.2f\"/>", colour, from, y, to + head);
    fprintf(v->out, "<path class=\"head\" fill=\"%s\" d=\"M%.2f %.2f l%.2f %d v%d z\"/>", colour, to, y, head,
            -HEAD_HALF, 2 * HEAD_HALF);
    fprintf(v->out, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"4\" fill=\"#fff\" stroke=\"%s\" stroke-width=\"2\"/>\n", from,
            y, colour);
}

static void print_note(const struct svg_view *v, const struct plot_arrow *a, struct place_map *map)
{
    double width = 0, y = svg_place_y(v, a->loser_y);
    double left = fmin(svg_place_x(v, a->loser_x), svg_place_x(v, a->winner_x));
    double right = fmax(svg_place_x(v, a->loser_x), svg_place_x(v, a->winner_x));
    double inset = fmin(HEAD + 4, (right - left) / 2); /* a leader ends on the shaft, not on the head or the ring */
    int lines = 0;
    for (const char *text = a->text; *text; lines++) {
        size_t fitted = svg_text_fit(text, NOTE_PX, NOTE_WIDTH);
        width = fmax(width, svg_text_width(text, fitted, NOTE_PX));
        text = svg_text_next(text, fitted);
    }
    struct place_leader l;
    struct place_box box = place_map_find(map, width, lines * NOTE_LINE, left + inset, right - inset, y, &l);
    place_map_add_box(map, box);
    place_map_add_line(map, PLACE_ARROW, l.from_x, l.from_y, l.to_x, l.to_y);
    fprintf(v->out, "<path class=\"leader\" d=\"M%.2f %.2f L%.2f %.2f\"/>", l.from_x, l.from_y, l.to_x, l.to_y);
    fprintf(v->out, "<text class=\"note\" x=\"%.2f\" y=\"%.2f\" text-anchor=\"middle\">", box.x + width / 2, box.y - 4);
    for (const char *text = a->text; *text;) {
        size_t fitted = svg_text_fit(text, NOTE_PX, NOTE_WIDTH);
        fprintf(v->out, "<tspan x=\"%.2f\" dy=\"%d\">", box.x + width / 2, NOTE_LINE);
        svg_text_print(v->out, text, fitted);
        fputs("</tspan>", v->out);
        text = svg_text_next(text, fitted);
    }
    fputs("</text>\n", v->out);
}

size_t svg_print_arrows(const struct svg_view *v, const struct plot *p)
{
    struct place_map *map = place_map_create((struct place_box){v->left, v->top, v->width, v->height});
    size_t drawn = 0;
    occupy(v, p, map);
    for (size_t i = 0; i < p->arrow_count; i++)
        if (is_drawn(v, &p->arrows[i])) {
            print_shaft(v, &p->arrows[i]);
            drawn++;
        }
    for (size_t i = 0; i < p->arrow_count; i++)
        if (is_drawn(v, &p->arrows[i]))
            print_note(v, &p->arrows[i], map);
    place_map_destroy(map);
    return p->arrow_count - drawn;
}
