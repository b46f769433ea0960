#include "cli/request_id.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>
#include "base/err.h"
#include "cli/client.h"

int request_post_once(struct client *client, const char *url, cJSON *body, cJSON **out, struct err *err)
{
    unsigned char random[16];
    char id[2 * sizeof random + 1];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return err_set_errno(err, errno, "no random numbers");
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(id + 2 * i, 3, "%02x", random[i]);
    cJSON_AddStringToObject(body, "request_id", id);
    int rc = client_post(client, url, body, out, err);
    if (rc != -ERR_UNAVAILABLE)
        return rc;
    nanosleep(&(struct timespec){0, 200000000}, NULL);
    return client_post(client, url, body, out, err);
}
