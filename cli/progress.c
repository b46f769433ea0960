/* progress.c: see progress.h. Writes nothing at all unless standard error is a terminal. */
#include "cli/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/output.h"

enum { REDRAW_US = 100000, BAR_CELLS = 20, LINE_SIZE = 512 };

struct progress {
    char label[64];
    bool active, drawn;
    int64_t start_us, drawn_us;
};

struct progress *progress_create(const char *label)
{
    struct progress *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    snprintf(p->label, sizeof p->label, "%s", label);
    p->active = output_is_terminal(stderr);
    p->start_us = clock_monotonic_us();
    return p;
}

static int stderr_width(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        return size.ws_col;
    return 80;
}

/* Cuts at `columns` characters (not bytes), so that the line never wraps and can be redrawn with \r. */
static void cut_to_width(char *line, int columns)
{
    int seen = 0;
    for (char *c = line; *c; c++) {
        if (((unsigned char)*c & 0xc0) != 0x80 && seen++ == columns) {
            *c = '\0';
            return;
        }
    }
}

static void draw(struct progress *p, double share, double eta_s, const char *text)
{
    char line[LINE_SIZE], bar[BAR_CELLS + 1] = "", percent[16] = "", eta[64] = "";
    if (!isnan(share)) {
        share = share < 0 ? 0 : share > 1 ? 1 : share;
        int full = (int)(share * BAR_CELLS);
        memset(bar, '#', (size_t)full);
        memset(bar + full, '.', (size_t)(BAR_CELLS - full));
        bar[BAR_CELLS] = '\0';
        snprintf(percent, sizeof percent, " %3.0f%%", floor(share * 100));
    }
    if (!isnan(eta_s) && eta_s >= 0) {
        char duration[32];
        clock_format_duration(eta_s, duration);
        snprintf(eta, sizeof eta, "  %s left", duration);
    }
    snprintf(line, sizeof line, "%s%s%s%s  %s%s", p->label, *bar ? " " : "", bar, percent, text, eta);
    cut_to_width(line, stderr_width() - 1);
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
    p->drawn = true;
}

__attribute__((format(printf, 5, 0))) static void update(struct progress *p, double share, double eta_s, bool estimate,
                                                         const char *format, va_list ap)
{
    if (!p->active)
        return;
    int64_t now = clock_monotonic_us();
    if (p->drawn && now - p->drawn_us < REDRAW_US)
        return;
    p->drawn_us = now;
    if (estimate) {
        /* Below half a second or a hundredth the rate says nothing yet. */
        double elapsed = (double)(now - p->start_us) / 1e6;
        eta_s = isnan(share) || share < 0.01 || elapsed < 0.5 ? NAN : elapsed * (1 - share) / share;
    }
    char text[LINE_SIZE / 2];
    vsnprintf(text, sizeof text, format, ap);
    draw(p, share, eta_s, text);
}

void progress_update(struct progress *p, double share, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    update(p, share, NAN, true, format, ap);
    va_end(ap);
}

void progress_update_eta(struct progress *p, double share, double eta_s, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    update(p, share, eta_s, false, format, ap);
    va_end(ap);
}

void progress_hide(struct progress *p)
{
    if (p->drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        p->drawn = false;
    }
}

void progress_destroy(struct progress *p)
{
    if (!p)
        return;
    progress_hide(p);
    free(p);
}
