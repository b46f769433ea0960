/* svg.c: see svg.h. Lengths are in SVG user units, one to a pixel at 100 %. */
#include "cli/svg.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "cli/plot.h"

enum {
    LEFT = 72,
    TOP = 56,
    PLOT_WIDTH = 680,
    PLOT_HEIGHT_MIN = 400,
    BOTTOM = 64,
    LEGEND_GAP = 24,
    LEGEND_WIDTH_MIN = 200,
    LEGEND_INDENT = 36,
    LETTER_WIDTH = 8, /* of a legend's bold text, about */
    LEGEND_LINE = 38,
    NOTE_HALF = 80 /* half the width of an arrow's text, about */
};

/* Okabe & Ito's colours, apart from each other for the colour-blind too, without their yellow (too light here). */
static const char *const palette[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#333333"};
/* With more series than colours the line's pattern goes on. */
static const char *const patterns[] = {"", "7 3", "2 3", "9 3 2 3"};

enum { COLOURS = sizeof palette / sizeof *palette, PATTERNS = sizeof patterns / sizeof *patterns };

struct view {
    FILE *out;
    int height; /* of the plot's area */
    struct plot_axis x, y;
};

/* XML 1.0 allows no control bytes but tab and newline, escaped or not; they become '?'. */
static void print_escaped(FILE *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '&')
            fputs("&amp;", out);
        else if (c == '<')
            fputs("&lt;", out);
        else if (c == '>')
            fputs("&gt;", out);
        else if (c == '"')
            fputs("&quot;", out);
        else
            putc(c < 0x20 && c != '\t' && c != '\n' ? '?' : c, out);
    }
}

/* Clamped, so that an exploded value cannot give a number that renderers refuse. */
static double place_x(const struct view *v, double x)
{
    return LEFT + fmin(fmax(plot_axis_place(&v->x, x), -10), 10) * PLOT_WIDTH;
}

static double place_y(const struct view *v, double y)
{
    return TOP + (1 - fmin(fmax(plot_axis_place(&v->y, y), -10), 10)) * v->height;
}

static void print_stroke(const struct view *v, int colour)
{
    const char *pattern = patterns[colour / COLOURS % PATTERNS];
    fprintf(v->out, " stroke=\"%s\"", palette[colour % COLOURS]);
    if (*pattern)
        fprintf(v->out, " stroke-dasharray=\"%s\"", pattern);
}

struct pen {
    bool drawing;
};

static void pen_to(const struct view *v, struct pen *pen, double x, double y)
{
    fprintf(v->out, "%s%.2f %.2f", pen->drawing ? " L" : " M", x, y);
    pen->drawing = true;
}

/* One path; runs of points that fall on the same half pixel are drawn as first, lowest, highest and last of them. */
static void print_path(const struct view *v, const struct plot_series *s)
{
    struct pen pen = {0};
    size_t i = 0;
    while (i < s->count) {
        if (!isfinite(s->x[i]) || !isfinite(s->y[i])) {
            pen.drawing = false;
            i++;
            continue;
        }
        double at = floor(place_x(v, s->x[i]) * 2);
        size_t end = i + 1, low = i, high = i;
        while (end < s->count && isfinite(s->x[end]) && isfinite(s->y[end]) && floor(place_x(v, s->x[end]) * 2) == at) {
            low = s->y[end] < s->y[low] ? end : low;
            high = s->y[end] > s->y[high] ? end : high;
            end++;
        }
        size_t early = low < high ? low : high, late = low < high ? high : low;
        size_t kept[] = {i, early, late, end - 1};
        for (int k = 0; k < 4; k++)
            if (k == 0 || kept[k] != kept[k - 1])
                pen_to(v, &pen, place_x(v, s->x[kept[k]]), place_y(v, s->y[kept[k]]));
        if (end - i == 1 && (end == s->count || !isfinite(s->y[end])) && (i == 0 || !isfinite(s->y[i - 1])))
            fputs(" h0.01", v->out); /* a point without neighbours: the round cap shows it */
        i = end;
    }
}

static void print_series(const struct view *v, const struct plot_series *s)
{
    fprintf(v->out, "<path class=\"%s\"", s->faint ? "faint" : "curve");
    print_stroke(v, s->colour);
    fputs(" d=\"", v->out);
    print_path(v, s);
    fputs("\"><title>", v->out);
    print_escaped(v->out, s->label);
    fputs("</title></path>\n", v->out);
}

static void print_axes(const struct view *v, const struct plot *p)
{
    struct plot_tick ticks[PLOT_TICKS_MAX];
    int bottom = TOP + v->height;
    size_t n = plot_ticks(&v->y, (size_t)(v->height / 40), ticks);
    for (size_t i = 0; i < n; i++) {
        double y = place_y(v, ticks[i].value);
        fprintf(v->out,
                "<path class=\"grid\" d=\"M%d %.2f h%d\"/><text x=\"%d\" y=\"%.2f\" text-anchor=\"end\">%s</text>\n",
                LEFT, y, PLOT_WIDTH, LEFT - 8, y + 4, ticks[i].label);
    }
    n = plot_ticks(&v->x, 11, ticks);
    for (size_t i = 0; i < n; i++) {
        double x = place_x(v, ticks[i].value);
        fprintf(v->out,
                "<path class=\"axis\" d=\"M%.2f %d v5\"/><text x=\"%.2f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
                x, bottom, x, bottom + 20, ticks[i].label);
    }
    fprintf(v->out, "<path class=\"axis\" d=\"M%d %d V%d H%d\"/>\n", LEFT, TOP, bottom, LEFT + PLOT_WIDTH);
    fprintf(v->out, "<text class=\"label\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">", LEFT + PLOT_WIDTH / 2,
            bottom + 46);
    print_escaped(v->out, p->x_label);
    fprintf(v->out, "</text>\n<text class=\"label\" text-anchor=\"middle\" transform=\"translate(22 %d) rotate(-90)\">",
            TOP + v->height / 2);
    print_escaped(v->out, p->y_label);
    fprintf(v->out, "%s</text>\n", v->y.log ? " (logarithmic)" : "");
}

/* The upper edge of all that is drawn where a note around `middle` would stand. */
static double highest_near(const struct view *v, const struct plot *p, double middle)
{
    double highest = TOP + v->height;
    for (size_t s = 0; s < p->series_count; s++)
        for (size_t i = 0; i < p->series[s].count; i++)
            if (isfinite(p->series[s].x[i]) && isfinite(p->series[s].y[i]) &&
                fabs(place_x(v, p->series[s].x[i]) - middle) < NOTE_HALF + 8)
                highest = fmin(highest, place_y(v, p->series[s].y[i]));
    return highest;
}

static void print_arrow(const struct view *v, const struct plot *p, size_t index)
{
    const struct plot_arrow *a = &p->arrows[index];
    double y = place_y(v, a->loser_y), from = place_x(v, a->loser_x), to = place_x(v, a->winner_x);
    double direction = to <= from ? 1 : -1; /* the head points from the loser's best to the winner */
    const char *colour = palette[a->colour % COLOURS];
    fprintf(v->out, "<g class=\"arrow\"><path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" d=\"M%.2f %.2f H%.2f\"/>",
            colour, from, y, to + 9 * direction);
    fprintf(v->out, "<path fill=\"%s\" d=\"M%.2f %.2f l%.2f -5 v10 z\"/>", colour, to, y, 11 * direction);
    fprintf(v->out, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"4\" fill=\"#fff\" stroke=\"%s\" stroke-width=\"2\"/>", from, y,
            colour);
    double middle = fmin(fmax((from + to) / 2, LEFT + NOTE_HALF), LEFT + PLOT_WIDTH - NOTE_HALF);
    double text_y = fmax(fmin(highest_near(v, p, middle), y) - 18 - 20.0 * (double)index, TOP + 14);
    fprintf(v->out, "<path stroke=\"%s\" stroke-width=\"1\" d=\"M%.2f %.2f L%.2f %.2f\"/>", colour, middle, text_y + 5,
            (from + to) / 2, y - 2);
    fprintf(v->out, "<text class=\"note\" x=\"%.2f\" y=\"%.2f\" text-anchor=\"middle\" style=\"fill:%s\">", middle,
            text_y, colour);
    print_escaped(v->out, a->text);
    fputs("</text></g>\n", v->out);
}

static void print_legend(const struct view *v, const struct plot *p)
{
    int x = LEFT + PLOT_WIDTH + LEGEND_GAP, y = TOP + 12;
    bool faint = false;
    for (size_t i = 0; i < p->series_count; i++) {
        const struct plot_series *s = &p->series[i];
        faint |= s->faint;
        if (s->faint)
            continue;
        fprintf(v->out, "<path class=\"curve\" d=\"M%d %d h28\"", x, y - 4);
        print_stroke(v, s->colour);
        fprintf(v->out, "/><text class=\"name\" x=\"%d\" y=\"%d\">", x + LEGEND_INDENT, y);
        print_escaped(v->out, s->label);
        fputs("</text>\n", v->out);
        if (s->detail) {
            fprintf(v->out, "<text class=\"muted\" x=\"%d\" y=\"%d\">", x + LEGEND_INDENT, y + 16);
            print_escaped(v->out, s->detail);
            fputs("</text>\n", v->out);
        }
        y += LEGEND_LINE;
    }
    if (faint)
        fprintf(v->out,
                "<path class=\"faint\" stroke=\"#333333\" d=\"M%d %d h28\"/><text class=\"muted\" x=\"%d\" y=\"%d\">"
                "training loss</text>\n",
                x, y - 4, x + LEGEND_INDENT, y);
}

static const char style[] =
    "<style>"
    "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#444}"
    ".title{font-size:18px;font-weight:600;fill:#111}.label{font-size:14px;fill:#222}"
    ".name{font-weight:600;fill:#111}.muted{font-size:12px;fill:#666}"
    ".note{font-size:14px;font-weight:600;stroke:#fff;stroke-width:4px;stroke-linejoin:round;paint-order:stroke}"
    ".grid{stroke:#e6e6e6;fill:none}.axis{stroke:#888;fill:none}"
    ".curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    ".faint{fill:none;stroke-width:1;stroke-opacity:.45;stroke-linejoin:round;stroke-linecap:round}"
    "</style>\n";

void svg_print(FILE *out, const struct plot *p)
{
    struct view v = {.out = out, .height = PLOT_HEIGHT_MIN};
    int entries = 1, legend_width = LEGEND_WIDTH_MIN;
    for (size_t i = 0; i < p->series_count; i++) {
        int label_width = LEGEND_INDENT + LETTER_WIDTH * (int)strlen(p->series[i].label) + LEGEND_GAP;
        if (p->series[i].faint)
            continue;
        entries++;
        if (label_width > legend_width)
            legend_width = label_width;
    }
    if (entries * LEGEND_LINE > v.height)
        v.height = entries * LEGEND_LINE;
    int width = LEFT + PLOT_WIDTH + LEGEND_GAP + legend_width, height = TOP + v.height + BOTTOM;
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
            "height=\"%d\" viewBox=\"0 0 %d %d\" role=\"img\">\n<title>",
            width, height, width, height);
    print_escaped(out, p->title);
    fprintf(out,
            "</title>\n%s<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n<text class=\"title\" x=\"%d\" y=\"32\">",
            style, width, height, LEFT);
    print_escaped(out, p->title);
    fputs("</text>\n", out);
    if (plot_x_axis(p, &v.x) && plot_y_axis(p, &v.y)) {
        print_axes(&v, p);
        fprintf(out,
                "<clipPath id=\"area\"><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/></clipPath>\n"
                "<g clip-path=\"url(#area)\">\n",
                LEFT, TOP, PLOT_WIDTH + 2, v.height + 2);
        for (size_t i = 0; i < p->series_count; i++)
            print_series(&v, &p->series[i]);
        fputs("</g>\n", out);
        for (size_t i = 0; i < p->arrow_count; i++)
            print_arrow(&v, p, i);
    } else {
        fprintf(out, "<text x=\"%d\" y=\"%d\">no point to draw yet</text>\n", LEFT, TOP + 40);
    }
    print_legend(&v, p);
    fputs("</svg>\n", out);
}
