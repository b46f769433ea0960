/* event_file.h: TensorBoard's event files: records in TFRecord's framing, each an Event of
 * tensorflow/core/util/event.proto.
 *
 * A record is its length (uint64, little-endian), the length's masked CRC-32C, the bytes, their masked CRC-32C
 * (uint32); masked: the sum rotated right by 15 bits, plus 0xa282ead8. The first event says "brain.Event:2". A scalar
 * is a tensor of one double with the scalars plug-in's metadata, as TensorFlow 2 writes it: simple_value has 32 bits
 * and would round.
 *
 * Writes to a stream; its errors are the stream's (ferror). Thread: one a stream.
 */
#ifndef BAKA_CLI_EVENT_FILE_H
#define BAKA_CLI_EVENT_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct event_scalar {
    const char *tag; /* "train/loss"; at most EVENT_TAG_MAX bytes */
    double value;    /* NaN and infinities are values too */
};

enum { EVENT_TAG_MAX = 200, EVENT_SCALARS_MAX = 16 };

void event_file_begin(FILE *out, double wall_time);
/* One event of at most EVENT_SCALARS_MAX scalars. wall_time in Unix seconds. */
void event_file_add(FILE *out, double wall_time, int64_t step, const struct event_scalar *scalars, size_t count);

/* CRC-32C (Castagnoli), not masked. */
uint32_t event_crc32c(const void *data, size_t size);

#endif
