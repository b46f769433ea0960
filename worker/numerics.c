/* numerics.c: see numerics.h. */
#include "worker/numerics.h"

#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/json.h"

int numerics_build_id(char hex[SHA256_HEX_SIZE], struct err *err)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open /proc/self/exe");
    struct sha256 *hash = sha256_create();
    char block[1 << 16];
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) != 0) {
        if (n > 0)
            sha256_update(hash, block, (size_t)n);
        else if (errno != EINTR)
            break;
    }
    int e = errno;
    close(fd);
    if (n < 0) {
        sha256_destroy(hash);
        return err_set_errno(err, e, "cannot read /proc/self/exe");
    }
    sha256_finish(hash, hex);
    return 0;
}

int numerics_id(const struct numerics *n, char hex[SHA256_HEX_SIZE], struct err *err)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "spec", n->spec_hash);
    cJSON_AddStringToObject(json, "data", n->data_hash);
    cJSON_AddStringToObject(json, "build", n->build);
    cJSON_AddStringToObject(json, "backend", n->backend);
    cJSON_AddStringToObject(json, "device", n->device);
    cJSON_AddStringToObject(json, "libraries", n->libraries);
    cJSON_AddStringToObject(json, "libc", gnu_get_libc_version());
    json_add_int64(json, "micro_batch", n->micro_batch);
    json_add_int64(json, "world_size", 1);
    cJSON_AddStringToObject(json, "init", n->init);
    char *text = json && cJSON_GetArraySize(json) == 10 ? json_canonical(json) : NULL;
    cJSON_Delete(json);
    if (!text)
        return err_set(err, ERR_NO_MEMORY, "no memory for the numerics id");
    sha256_hex(text, strlen(text), hex);
    free(text);
    return 0;
}
