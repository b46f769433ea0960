/* panel.h: several lines on standard error that are redrawn in place, as progress.h does with one. Silent when standard
 * error is no terminal. Thread: the main one. */
#ifndef BAKA_CLI_PANEL_H
#define BAKA_CLI_PANEL_H

#include <stdbool.h>

enum { PANEL_LINES = 16, PANEL_LINE_SIZE = 512 };

struct panel {
    bool active;
    int drawn; /* lines on the screen */
    int count; /* lines of the next drawing */
    long long drawn_us;
    char lines[PANEL_LINES][PANEL_LINE_SIZE];
};

void panel_init(struct panel *p);
/* True when a drawing would be seen and the last one is a tenth of a second old. */
bool panel_is_due(const struct panel *p);
/* Adds a line to the next drawing; lines beyond PANEL_LINES are dropped. */
void panel_line(struct panel *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Draws what was added over what stands there, and starts anew. */
void panel_draw(struct panel *p);
/* Removes the lines from the screen. */
void panel_hide(struct panel *p);

#endif
