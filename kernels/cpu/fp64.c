/* fp64.c: the backend "cpu-fp64": the same operators in double, for finite differences. Only tests link it; it needs no
 * oneDNN. */
#include "kernels/cpu/cpu.h"

#include <stdio.h>

static int open_fp64(const struct backend_options *options, struct backend **out, struct err *err)
{
    if (options->storage != DTYPE_F64)
        return err_set(err, ERR_INVALID, "the cpu-fp64 backend computes in double only");
    struct cpu_backend *c;
    int rc = cpu_create(options, "cpu-fp64", "cpu-fp64", SYM(cpu_fill), &c, err);
    if (rc)
        return rc;
    snprintf(c->libraries, sizeof c->libraries, "none");
    *out = &c->base;
    return 0;
}

extern const struct backend_ops cpu_fp64_backend_ops;
const struct backend_ops cpu_fp64_backend_ops = {.name = "cpu-fp64", .open = open_fp64};
