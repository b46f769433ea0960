/* place.c: see place.h. */
#include "cli/place.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

static int wanted_first(const void *a, const void *b)
{
    const struct place_item *x = a, *y = b;
    return x->wanted != y->wanted ? (x->wanted > y->wanted ? 1 : -1) : (x->index > y->index) - (x->index < y->index);
}

struct block {
    double sum; /* of what its items want, less their place in the stack of all */
    size_t count;
};

/* Pool adjacent violators: neighbours that overlap become one block at their mean. */
void place_spread(struct place_item *items, size_t count, double min, double max)
{
    struct block *blocks = calloc(count + 1, sizeof *blocks);
    if (!blocks)
        abort();
    qsort(items, count, sizeof *items, wanted_first);
    double stacked = 0;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        blocks[n++] = (struct block){items[i].wanted - stacked - items[i].size / 2, 1};
        stacked += items[i].size;
        while (n > 1 &&
               blocks[n - 1].sum / (double)blocks[n - 1].count <= blocks[n - 2].sum / (double)blocks[n - 2].count) {
            blocks[n - 2].sum += blocks[n - 1].sum;
            blocks[n - 2].count += blocks[n - 1].count;
            n--;
        }
    }
    double below = 0;
    for (size_t b = 0, i = 0; b < n; b++) {
        double start = fmax(fmin(blocks[b].sum / (double)blocks[b].count, max - stacked), min);
        for (size_t end = i + blocks[b].count; i < end; i++) {
            items[i].at = start + below + items[i].size / 2;
            below += items[i].size;
        }
    }
    free(blocks);
}

enum { CELL = 4, MAP_MAX = 1024 };

/* What a leader may be longer, in units of length, to spare its box or itself the crossing of one cell of a curve. */
#define COST_UNDER_BOX 100.0
#define COST_UNDER_LEADER 10.0

struct place_map {
    struct place_box area;
    int columns, rows;
    uint32_t *cells;
};

static int cells_of(double length)
{
    return (int)fmin(fmax(floor(length / CELL), 1), MAP_MAX);
}

struct place_map *place_map_create(struct place_box area)
{
    struct place_map *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    *m = (struct place_map){.area = area, .columns = cells_of(area.width), .rows = cells_of(area.height)};
    m->cells = calloc((size_t)m->columns * (size_t)m->rows, sizeof *m->cells);
    if (!m->cells)
        abort();
    return m;
}

void place_map_destroy(struct place_map *m)
{
    if (m)
        free(m->cells);
    free(m);
}

static uint32_t *cell_at(const struct place_map *m, double x, double y)
{
    double column = floor((x - m->area.x) / CELL), row = floor((y - m->area.y) / CELL);
    if (!(column >= 0 && column < m->columns && row >= 0 && row < m->rows))
        return NULL;
    return &m->cells[(size_t)row * (size_t)m->columns + (size_t)column];
}

/* Steps of half a cell; lines that leave the area far behind are cut by what is worth a step. */
static size_t steps_of(double x0, double y0, double x1, double y1)
{
    return (size_t)fmin(fmax(fabs(x1 - x0), fabs(y1 - y0)) / (CELL / 2.0) + 1, 100000);
}

void place_map_add_line(struct place_map *m, enum place_kind kind, double x0, double y0, double x1, double y1)
{
    size_t n = steps_of(x0, y0, x1, y1);
    for (size_t i = 0; i <= n; i++) {
        double t = (double)i / (double)n;
        uint32_t *cell = cell_at(m, x0 + t * (x1 - x0), y0 + t * (y1 - y0));
        if (cell && *cell < (uint32_t)kind)
            *cell = (uint32_t)kind;
    }
}

void place_map_add_box(struct place_map *m, struct place_box box)
{
    for (double y = box.y; y < box.y + box.height + CELL; y += CELL)
        for (double x = box.x; x < box.x + box.width + CELL; x += CELL) {
            uint32_t *cell = cell_at(m, fmin(x, box.x + box.width), fmin(y, box.y + box.height));
            if (cell)
                *cell = PLACE_LABEL;
        }
}

/* sums[r][c]: of the cells above and to the left; one row and column more than there are cells. */
static uint64_t *sum_table(const struct place_map *m)
{
    size_t stride = (size_t)m->columns + 1;
    uint64_t *sums = calloc(stride * ((size_t)m->rows + 1), sizeof *sums);
    if (!sums)
        abort();
    for (size_t r = 0; r < (size_t)m->rows; r++)
        for (size_t c = 0; c < (size_t)m->columns; c++)
            sums[(r + 1) * stride + c + 1] = m->cells[r * (size_t)m->columns + c] + sums[r * stride + c + 1] +
                                             sums[(r + 1) * stride + c] - sums[r * stride + c];
    return sums;
}

static struct place_leader leader_of(struct place_box box, double x0, double x1, double y)
{
    double to_x = fmin(fmax(box.x + box.width / 2, fmin(x0, x1)), fmax(x0, x1));
    return (struct place_leader){fmin(fmax(to_x, box.x), box.x + box.width), fmin(fmax(y, box.y), box.y + box.height),
                                 to_x, y};
}

/* The last bit is left out: there the leader meets its own line. */
static double cost_of_leader(const struct place_map *m, const struct place_leader *l)
{
    double length = hypot(l->to_x - l->from_x, l->to_y - l->from_y), cost = length;
    for (double at = 0; at < length - 1.5 * CELL; at += CELL) {
        double t = at / length;
        const uint32_t *cell = cell_at(m, l->from_x + t * (l->to_x - l->from_x), l->from_y + t * (l->to_y - l->from_y));
        cost += cell ? COST_UNDER_LEADER * *cell : 0;
    }
    return cost;
}

struct place_box place_map_find(const struct place_map *m, double width, double height, double x0, double x1, double y,
                                struct place_leader *leader)
{
    int w = cells_of(width) + 2, h = cells_of(height) + 2; /* some air around it */
    size_t stride = (size_t)m->columns + 1;
    uint64_t *sums = sum_table(m);
    struct place_box best = {m->area.x, m->area.y, width, height};
    *leader = leader_of(best, x0, x1, y);
    double lowest = INFINITY;
    for (int r = 0; r + h <= m->rows; r++)
        for (int c = 0; c + w <= m->columns; c++) {
            size_t top = (size_t)r * stride, bottom = (size_t)(r + h) * stride, left = (size_t)c,
                   right = (size_t)(c + w);
            uint64_t over = sums[bottom + right] - sums[top + right] - sums[bottom + left] + sums[top + left];
            if (COST_UNDER_BOX * (double)over >= lowest)
                continue;
            struct place_box box = {m->area.x + CELL * (c + 0.5), m->area.y + CELL * (r + 0.5), width, height};
            struct place_leader l = leader_of(box, x0, x1, y);
            double off = fabs(box.x + width / 2 - (x0 + x1) / 2); /* best over the middle, all else equal */
            double cost = COST_UNDER_BOX * (double)over + cost_of_leader(m, &l) + 0.1 * off;
            if (cost < lowest) {
                lowest = cost;
                best = box;
                *leader = l;
            }
        }
    free(sums);
    return best;
}
