#include "cli/panel.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/clock.h"
#include "cli/output.h"

void panel_init(struct panel *p)
{
    p->active = output_is_terminal(stderr);
    p->drawn = p->count = 0;
    p->drawn_us = 0;
}

bool panel_is_due(const struct panel *p)
{
    return p->active && (p->drawn == 0 || clock_monotonic_us() - p->drawn_us >= 100000);
}

void panel_line(struct panel *p, const char *format, ...)
{
    if (p->count == PANEL_LINES)
        return;
    va_list ap;
    va_start(ap, format);
    vsnprintf(p->lines[p->count++], PANEL_LINE_SIZE, format, ap);
    va_end(ap);
}

/* A line that wrapped would make the count of rows wrong. */
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

void panel_draw(struct panel *p)
{
    struct winsize size;
    int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20 ? size.ws_col : 80;
    panel_hide(p);
    for (int i = 0; i < p->count && p->active; i++) {
        cut_to_width(p->lines[i], width - 1);
        fprintf(stderr, "%s\n", p->lines[i]);
    }
    fflush(stderr);
    p->drawn = p->active ? p->count : 0;
    p->count = 0;
    p->drawn_us = clock_monotonic_us();
}

void panel_hide(struct panel *p)
{
    if (p->drawn == 0)
        return;
    fprintf(stderr, "\033[%dA\r\033[J", p->drawn);
    p->drawn = 0;
}
