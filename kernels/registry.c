/* registry.c: the backends of this program by name. The CUDA backend is a plug-in, so that one program runs with and
 * without the libraries of a GPU; it is loaded when somebody asks for it, and stays (its runtime does not unload). */
#include "kernels/backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "kernels/cpu/device.h"

/* In double precision, for finite differences: there only where a test links it. */
extern const struct backend_ops cpu_fp64_backend_ops __attribute__((weak));

static const struct backend_ops *load_cuda(struct err *err)
{
    static const char file[] = "libbaka_cuda.so"; /* found by the program's RUNPATH */
    void *plugin = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!plugin) {
        err_set(err, ERR_UNAVAILABLE, "no GPU: the CUDA backend does not load: %.500s", dlerror());
        return NULL;
    }
    const struct backend_ops *ops = dlsym(plugin, "cuda_backend_ops");
    const size_t *bytes = dlsym(plugin, "cuda_backend_ops_bytes");
    if (!ops || !bytes || *bytes != sizeof(struct backend_ops)) {
        err_set(err, ERR_UNAVAILABLE, "%s is not of this build of baka", file);
        return NULL;
    }
    return ops;
}

/* NULL with an error when this program has none of that name. */
static const struct backend_ops *find(const char *name, struct err *err)
{
    if (strcmp(name, "cuda") == 0)
        return load_cuda(err);
    const struct backend_ops *const known[] = {&cpu_backend_ops, &cpu_fp64_backend_ops};
    char names[128] = "";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!known[i])
            continue;
        if (strcmp(name, known[i]->name) == 0)
            return known[i];
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", known[i]->name);
    }
    err_set(err, ERR_UNAVAILABLE, "there is no backend \"%s\" in this program: it has %s, cuda", name, names);
    return NULL;
}

int backend_open(const char *name, const struct backend_options *options, struct backend **out, struct err *err)
{
    const struct backend_ops *ops = find(name, err);
    return ops ? ops->open(options, out, err) : -ERR_UNAVAILABLE;
}

int backend_probe(const char *name, struct backend_device *out, struct err *err)
{
    const struct backend_ops *ops = find(name, err);
    return ops ? ops->probe(out, err) : -ERR_UNAVAILABLE;
}
