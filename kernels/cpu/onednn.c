/* onednn.c: finds oneDNN when a backend opens, so that a process which never computes does not load it. */
#include "kernels/cpu/device.h"

#include <dlfcn.h>
#include <stdio.h>

/* dnnl_types.h; declared here because building needs no header of a library that is loaded by name. */
struct onednn_version {
    int major, minor, patch;
    const char *hash;
    unsigned cpu_runtime, gpu_runtime;
};

int cpu_load_onednn(cpu_sgemm_fn **sgemm, char *name, size_t size, struct err *err)
{
    static const char *const names[] = {"libdnnl.so.2", "libdnnl.so.3", "libdnnl.so"};
    void *handle = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !handle; i++)
        handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle)
        return err_set(err, ERR_UNAVAILABLE, "the cpu backend needs oneDNN (Debian package libdnnl2): %s", dlerror());
    void *gemm = dlsym(handle, "dnnl_sgemm"), *version = dlsym(handle, "dnnl_version");
    if (!gemm || !version)
        return err_set(err, ERR_UNAVAILABLE, "the oneDNN library that was found lacks dnnl_sgemm");
    const struct onednn_version *v = ((const struct onednn_version *(*)(void))version)();
    snprintf(name, size, "onednn %d.%d.%d", v->major, v->minor, v->patch);
    *sgemm = (cpu_sgemm_fn *)gemm;
    return 0;
}
