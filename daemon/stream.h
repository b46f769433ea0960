/* stream.h: GET /v1/stream: the present state of runs, and what changes, as Server-Sent Events.
 *
 * A client gets a `run` event for each of its runs at once and at each change of state, and `step` events, at most five
 * a second and run. It is written when the client can take it, from the newest knowledge: a slow reader misses steps in
 * between, never the last state. A comment line every 15 s keeps dead connections from looking alive. Loop's thread.
 */
#ifndef BAKA_DAEMON_STREAM_H
#define BAKA_DAEMON_STREAM_H

#include <stdint.h>

struct bakad;
struct err;
struct journal_step;
struct stream_hub;

enum { STREAM_MAX_RUNS = 4096 /* a client */, STREAM_STEP_MS = 200, STREAM_COMMENT_MS = 15000 };

int stream_hub_create(struct bakad *b, struct stream_hub **out, struct err *err);
/* When no stream is open and the store has closed. */
void stream_hub_destroy(struct stream_hub *hub);
/* The run's state, reason or attempt has changed (and the change is committed). */
void stream_run_changed(struct stream_hub *hub, int64_t run);
/* The newest step of a running attempt; total_steps STORE_UNKNOWN. */
void stream_step(struct stream_hub *hub, int64_t run, const struct journal_step *step, int64_t total_steps);

#endif
