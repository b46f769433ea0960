/* query_views.h: what may be asked of in SQL. These names and columns are a contract; the tables behind them are not.
 * In all of them a run is its id ("b00012"), times are Unix milliseconds, and a number that is not known or not a
 * number is NULL, so that sums and means pass over it. Constant data. */
#ifndef BAKA_DAEMON_QUERY_VIEWS_H
#define BAKA_DAEMON_QUERY_VIEWS_H

struct query_view {
    const char *name, *about, *select;
};

extern const struct query_view query_views[]; /* ends with a NULL name */

#endif
