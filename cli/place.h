/* place.h: where labels stand so that they hide neither each other nor what is drawn. Pure; lengths in the caller's
 * units. Aborts when memory is exhausted. Thread: any. */
#ifndef BAKA_CLI_PLACE_H
#define BAKA_CLI_PLACE_H

#include <stdbool.h>
#include <stddef.h>

struct place_item {
    double wanted, size; /* the middle that is asked for, and the extent */
    double at;           /* the middle that is given */
    size_t index;        /* the caller's */
};

/* Sorts by what is wanted, then by index, and moves the items as little as possible (least squares) so that none
 * overlaps the next and the order stays; all within min ... max if their sizes allow it. */
void place_spread(struct place_item *items, size_t count, double min, double max);

struct place_box {
    double x, y, width, height; /* x, y: the upper left corner */
};

/* What is drawn already, on a grid of a few units. */
struct place_map;

struct place_map *place_map_create(struct place_box area);
void place_map_destroy(struct place_map *m);
enum place_kind { PLACE_CURVE = 1, PLACE_ARROW = 40, PLACE_LABEL = 1000 };

void place_map_add_line(struct place_map *m, enum place_kind kind, double x0, double y0, double x1, double y1);
/* A label: nothing may be put over it, not even a leader. */
void place_map_add_box(struct place_map *m, struct place_box box);

struct place_leader {
    double from_x, from_y, to_x, to_y;
};

/* The box of this size in the area that lies over least and whose leader to the level line x0 ... x1 at y is short and
 * crosses little, no label if it can be helped. The result is not added. */
struct place_box place_map_find(const struct place_map *m, double width, double height, double x0, double x1, double y,
                                struct place_leader *leader);

#endif
