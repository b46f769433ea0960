/* damage_checkpoint.c: RUN_DIR checkpoints/STEP-aN SEED FLIPS: hurts each file of a checkpoint of a real run and asks
 * the worker's own loader for it: cut at each 4 KiB (and one byte to either side), and FLIPS single bits turned at
 * random places. Each must be refused; the whole one must be taken before and after. Prints the counts. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/file.h"
#include "base/path.h"
#include "base/philox.h"
#include "worker/checkpoint.h"

enum { PAGE = 4096, FILES = 3, MAX_BYTES = 1 << 28 };

static const char *const names[FILES] = {"manifest.json", "state.json", "model.safetensors"};

struct victim {
    char path[PATH_SIZE], *whole;
    size_t size;
    int fd;
};

static void require(bool ok, const char *what, const char *path, long long at)
{
    if (ok)
        return;
    fprintf(stderr, "damage_checkpoint: %s: %s at %lld\n", path, what, at);
    exit(1);
}

static bool loads(const char *run_dir, const char *checkpoint)
{
    struct checkpoint *c = NULL;
    struct err err;
    if (checkpoint_open(run_dir, checkpoint, &c, &err) != 0)
        return false;
    checkpoint_close(c);
    return true;
}

static void put_back(const struct victim *v)
{
    require(pwrite(v->fd, v->whole, v->size, 0) == (ssize_t)v->size, "cannot restore", v->path, 0);
}

static long cut(const struct victim *v, const char *run_dir, const char *checkpoint)
{
    long done = 0;
    for (int64_t at = 0; at <= (int64_t)v->size; at += PAGE)
        for (int64_t size = at > 0 ? at - 1 : 0; size <= at + 1 && size < (int64_t)v->size; size++) {
            require(ftruncate(v->fd, size) == 0, "cannot cut", v->path, size);
            require(!loads(run_dir, checkpoint), "loaded although cut", v->path, size);
            put_back(v);
            done++;
        }
    return done;
}

static void flip(const struct victim *v, const char *run_dir, const char *checkpoint, uint64_t bit)
{
    char turned = (char)(v->whole[bit / 8] ^ (1 << bit % 8));
    require(pwrite(v->fd, &turned, 1, (off_t)(bit / 8)) == 1, "cannot write", v->path, (long long)bit);
    require(!loads(run_dir, checkpoint), "loaded with a bit turned", v->path, (long long)bit);
    require(pwrite(v->fd, &v->whole[bit / 8], 1, (off_t)(bit / 8)) == 1, "cannot write", v->path, (long long)bit);
}

int main(int argc, char **argv)
{
    struct victim victims[FILES];
    struct philox random;
    struct err err;
    uint64_t all = 0;
    long cuts = 0, flips = argc == 5 ? atol(argv[4]) : 0;
    require(argc == 5, "usage: damage_checkpoint RUN_DIR checkpoints/STEP-aN SEED FLIPS", "", 0);
    const char *run_dir = argv[1], *checkpoint = argv[2];
    require(loads(run_dir, checkpoint), "does not load as it is", checkpoint, 0);
    philox_init(&random, strtoull(argv[3], NULL, 10), "test", "damage_checkpoint");
    for (int i = 0; i < FILES; i++) {
        struct victim *v = &victims[i];
        snprintf(v->path, sizeof v->path, "%s/%s/%s", run_dir, checkpoint, names[i]);
        require(file_read_all(v->path, MAX_BYTES, &v->whole, &v->size, &err) == 0, "cannot be read", v->path, 0);
        v->fd = open(v->path, O_RDWR | O_CLOEXEC);
        require(v->fd >= 0, "cannot be opened", v->path, 0);
        cuts += cut(v, run_dir, checkpoint);
        all += v->size;
    }
    for (long n = 0; n < flips; n++) { /* each tenth in one of the small files, which a fair draw would hardly meet */
        struct victim *v = &victims[2];
        uint64_t at = philox_below(&random, n % 10 ? victims[2].size * 8 : (all - victims[2].size) * 8);
        if (n % 10 == 0) {
            v = at < victims[0].size * 8 ? &victims[0] : &victims[1];
            at = v == &victims[0] ? at : at - victims[0].size * 8;
        }
        flip(v, run_dir, checkpoint, at);
    }
    require(loads(run_dir, checkpoint), "does not load after all is put back", checkpoint, 0);
    printf("%ld cuts and %ld turned bits of a checkpoint of %" PRIu64 " bytes, none loaded\n", cuts, flips, all);
    for (int i = 0; i < FILES; i++) {
        free(victims[i].whole);
        close(victims[i].fd);
    }
    return 0;
}
