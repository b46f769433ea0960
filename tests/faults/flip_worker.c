/* flip_worker.c: linked in front of baka-worker's own sources (--wrap=backend_open): a worker whose memory turns a bit.
 * FAULT_FLIP="N FILE": before the optimizer's N-th call of this process one bit of a gradient is turned, if FILE does
 * not exist yet; it is made then, so that it happens once. Optimizers: adamw and sgd. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "kernels/backend.h"

int __real_backend_open(const char *name, const struct backend_options *options, struct backend **out, struct err *err);
int __wrap_backend_open(const char *name, const struct backend_options *options, struct backend **out, struct err *err);

static const struct backend_ops *real;
static struct backend_ops flipping;

static void flip(const struct optimizer_tensor *tensors, int count)
{
    static int calls;
    char path[4096];
    int nth;
    const char *wish = getenv("FAULT_FLIP");
    if (!wish || sscanf(wish, "%d %4095s", &nth, path) != 2 || ++calls != nth)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    close(fd);
    const struct optimizer_tensor *t = &tensors[count / 2];
    ((uint32_t *)t->grad)[t->n / 2] ^= UINT32_C(1) << 12;
}

static void adamw(struct backend *b, const struct adamw_args *a)
{
    flip(a->tensors, a->count);
    real->adamw(b, a);
}

static void sgd(struct backend *b, const struct sgd_args *a)
{
    flip(a->tensors, a->count);
    real->sgd(b, a);
}

int __wrap_backend_open(const char *name, const struct backend_options *options, struct backend **out, struct err *err)
{
    int rc = __real_backend_open(name, options, out, err);
    if (rc != 0)
        return rc;
    real = (*out)->ops;
    flipping = *real;
    flipping.adamw = adamw;
    flipping.sgd = sgd;
    (*out)->ops = &flipping;
    return 0;
}
