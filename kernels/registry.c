/* registry.c: the backends of this program by name. */
#include "kernels/backend.h"

#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "kernels/cpu/device.h"

/* In double precision, for finite differences: there only where a test links it. */
extern const struct backend_ops cpu_fp64_backend_ops __attribute__((weak));

int backend_open(const char *name, const struct backend_options *options, struct backend **out, struct err *err)
{
    const struct backend_ops *const known[] = {&cpu_backend_ops, &cpu_fp64_backend_ops};
    char names[128] = "";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!known[i])
            continue;
        if (strcmp(name, known[i]->name) == 0)
            return known[i]->open(options, out, err);
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", known[i]->name);
    }
    return err_set(err, ERR_UNAVAILABLE, "there is no backend \"%s\" in this program: it has %s", name, names);
}
