/* svg.c: see svg.h. Lengths are in SVG user units, one to a pixel at 100 %. */
#include "cli/svg.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "cli/plot.h"
#include "cli/svg_labels.h"
#include "cli/svg_text.h"

enum {
    LEFT = 72,
    TOP = 24, /* above the title */
    TITLE_PX = 17,
    TITLE_LINE = 23,
    PLOT_WIDTH = 660,
    PLOT_HEIGHT_MIN = 420,
    BELOW = 62, /* the axis with its name */
    NOTE_PX = 12,
    NOTE_LINE = 17,
    RIGHT = 16
};

struct pen {
    bool drawing;
};

static void pen_to(const struct svg_view *v, struct pen *pen, double x, double y)
{
    fprintf(v->out, "%s%.2f %.2f", pen->drawing ? " L" : " M", x, y);
    pen->drawing = true;
}

/* One path; runs of points that fall on the same half pixel are drawn as first, lowest, highest and last of them. */
static void print_path(const struct svg_view *v, const struct plot_series *s)
{
    struct pen pen = {0};
    size_t i = 0;
    while (i < s->count) {
        if (!isfinite(s->x[i]) || !isfinite(s->y[i])) {
            pen.drawing = false;
            i++;
            continue;
        }
        double at = floor(svg_place_x(v, s->x[i]) * 2);
        size_t end = i + 1, low = i, high = i;
        while (end < s->count && isfinite(s->x[end]) && isfinite(s->y[end]) &&
               floor(svg_place_x(v, s->x[end]) * 2) == at) {
            low = s->y[end] < s->y[low] ? end : low;
            high = s->y[end] > s->y[high] ? end : high;
            end++;
        }
        size_t early = low < high ? low : high, late = low < high ? high : low;
        size_t kept[] = {i, early, late, end - 1};
        for (int k = 0; k < 4; k++)
            if (k == 0 || kept[k] != kept[k - 1])
                pen_to(v, &pen, svg_place_x(v, s->x[kept[k]]), svg_place_y(v, s->y[kept[k]]));
        if (end - i == 1 && (end == s->count || !isfinite(s->y[end])) && (i == 0 || !isfinite(s->y[i - 1])))
            fputs(" h0.01", v->out); /* a point without neighbours: the round cap shows it */
        i = end;
    }
}

static void print_series(const struct svg_view *v, const struct plot_series *s)
{
    fprintf(v->out, "<path class=\"%s\"", s->faint ? "faint" : s->strong ? "strong" : "curve");
    svg_print_stroke(v->out, s->colour);
    fputs(" d=\"", v->out);
    print_path(v, s);
    fputs("\"><title>", v->out);
    svg_text_print(v->out, s->label, strlen(s->label));
    fputs("</title></path>\n", v->out);
}

static void print_axes(const struct svg_view *v, const struct plot *p)
{
    struct plot_tick ticks[PLOT_TICKS_MAX];
    double bottom = v->top + v->height;
    size_t n = plot_ticks(&v->y, (size_t)(v->height / 40), ticks);
    for (size_t i = 0; i < n; i++) {
        double y = svg_place_y(v, ticks[i].value);
        fprintf(v->out,
                "<path class=\"grid\" d=\"M%d %.2f h%d\"/><text x=\"%d\" y=\"%.2f\" text-anchor=\"end\">%s</text>\n",
                LEFT, y, PLOT_WIDTH, LEFT - 8, y + 4, ticks[i].label);
    }
    n = plot_ticks(&v->x, 11, ticks);
    for (size_t i = 0; i < n; i++) {
        double x = svg_place_x(v, ticks[i].value);
        fprintf(v->out,
                "<path class=\"axis\" d=\"M%.2f %.2f v5\"/><text x=\"%.2f\" y=\"%.2f\" "
                "text-anchor=\"middle\">%s</text>\n",
                x, bottom, x, bottom + 20, ticks[i].label);
    }
    fprintf(v->out, "<path class=\"axis\" d=\"M%d %.2f V%.2f H%d\"/>\n", LEFT, v->top, bottom, LEFT + PLOT_WIDTH);
    fprintf(v->out, "<text class=\"label\" x=\"%d\" y=\"%.2f\" text-anchor=\"middle\">", LEFT + PLOT_WIDTH / 2,
            bottom + 44);
    svg_text_print(v->out, p->x_label, strlen(p->x_label));
    fprintf(v->out,
            "</text>\n<text class=\"label\" text-anchor=\"middle\" transform=\"translate(20 %.2f) rotate(-90)\">",
            v->top + v->height / 2);
    svg_text_print(v->out, p->y_label, strlen(p->y_label));
    fprintf(v->out, "%s</text>\n", v->y.log ? ", logarithmic" : "");
}

static double lines_of(const char *text, double font_px, double width)
{
    double n = 0;
    for (; *text; n++)
        text = svg_text_next(text, svg_text_fit(text, font_px, width));
    return n;
}

/* Returns the baseline of the line after the last. */
static double print_lines(FILE *out, const char *class, const char *text, double font_px, double width, double y,
                          int line_height)
{
    while (*text) {
        size_t fitted = svg_text_fit(text, font_px, width);
        fprintf(out, "<text class=\"%s\" x=\"%d\" y=\"%.2f\">", class, LEFT, y);
        svg_text_print(out, text, fitted);
        fputs("</text>\n", out);
        text = svg_text_next(text, fitted);
        y += line_height;
    }
    return y;
}

static const char style[] =
    "<style>"
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,'DejaVu Sans',sans-serif;fill:#444}"
    ".title{font-size:17px;font-weight:600;fill:#111}.label{font-size:13px;fill:#222}"
    ".best{font-size:13px;font-weight:600;fill:#111}"
    ".muted{font-size:12px;font-weight:400;fill:#666}"
    ".note{font-size:13px;font-weight:600;fill:#111;stroke:#fff;stroke-width:4px;stroke-linejoin:round;"
    "paint-order:stroke}"
    ".grid{stroke:#e6e6e6;fill:none}.axis{stroke:#888;fill:none}"
    ".curve,.strong{fill:none;stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}.strong{stroke-width:2.8}"
    ".faint{fill:none;stroke-width:1;stroke-opacity:.4;stroke-linejoin:round;stroke-linecap:round}"
    ".leader,.level{fill:none;stroke:#888;stroke-width:.8}.level{stroke-dasharray:1 4}"
    ".shaft{fill:none;stroke-width:2}.end{stroke:#fff;stroke-width:1}"
    "</style>\n";

static void print_picture(const struct svg_view *v, const struct plot *p)
{
    print_axes(v, p);
    fprintf(v->out,
            "<clipPath id=\"area\"><rect x=\"%d\" y=\"%.2f\" width=\"%d\" height=\"%.2f\"/></clipPath>\n"
            "<g clip-path=\"url(#area)\">\n",
            LEFT, v->top, PLOT_WIDTH + 2, v->height + 2);
    for (size_t i = 0; i < p->series_count; i++)
        print_series(v, &p->series[i]);
    fputs("</g>\n", v->out);
    svg_print_names(v, p);
}

void svg_print(FILE *out, const struct plot *p)
{
    struct svg_view v = {.out = out, .left = LEFT, .width = PLOT_WIDTH};
    double names_width, names_height, note_lines = 1;
    bool drawn = plot_x_axis(p, &v.x) && plot_y_axis(p, &v.y);
    svg_names_size(&v, p, &names_width, &names_height);
    double width = LEFT + PLOT_WIDTH + names_width + RIGHT, text_width = width - LEFT - RIGHT;
    for (size_t i = 0; i < p->note_count; i++)
        note_lines += lines_of(p->notes[i], NOTE_PX, text_width);
    v.top = TOP + lines_of(p->title, TITLE_PX, text_width) * TITLE_LINE + 8;
    v.height = fmax(PLOT_HEIGHT_MIN, names_height);
    double height = v.top + v.height + BELOW + note_lines * NOTE_LINE + 8;
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" "
            "height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n<title>",
            width, height, width, height);
    svg_text_print(out, p->title, strlen(p->title));
    fprintf(out, "</title>\n%s<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", style);
    print_lines(out, "title", p->title, TITLE_PX, text_width, TOP + 12, TITLE_LINE);
    char cut[64] = "";
    if (drawn) {
        print_picture(&v, p);
        size_t left_out = svg_print_arrows(&v, p);
        if (left_out)
            snprintf(cut, sizeof cut, "Arrows beyond the picture: %zu.", left_out);
    } else {
        fprintf(out, "<text x=\"%d\" y=\"%.2f\">no point to draw yet</text>\n", LEFT, v.top + 40);
    }
    double y = print_lines(out, "muted", cut, NOTE_PX, text_width, v.top + v.height + BELOW + 8, NOTE_LINE);
    for (size_t i = 0; i < p->note_count; i++)
        y = print_lines(out, "muted", p->notes[i], NOTE_PX, text_width, y, NOTE_LINE);
    fputs("</svg>\n", out);
}
