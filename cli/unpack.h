/* unpack.h: chosen members of a zip archive to files (libzip). Names on the disk are the caller's, never the archive's;
 * an archive in which any name leads out of its folder is refused as a whole. Each file is whole or absent: written
 * beside its place, synced, renamed when all are there; libzip checks each member's CRC.
 */
#ifndef BAKA_CLI_UNPACK_H
#define BAKA_CLI_UNPACK_H

#include <stddef.h>
#include <stdint.h>

struct err;

struct unpack_member {
    const char *member; /* its whole name in the archive */
    const char *file;   /* in dir; replaced */
};

/* Of all members together at most max_bytes. ERR_DAMAGED for what is no such archive. Signals must be caught
 * (interrupt.h). bytes (NULL or one a member) gets the sizes. `label` is for the progress line. */
int unpack_zip(const char *archive, const char *dir, const struct unpack_member *members, size_t count,
               int64_t max_bytes, const char *label, int64_t *bytes, struct err *err);

#endif
