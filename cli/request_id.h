/* request_id.h: requests that make something, made once however often they are sent. */
#ifndef BAKA_CLI_REQUEST_ID_H
#define BAKA_CLI_REQUEST_ID_H

#include <cjson/cJSON.h>

struct err;
struct client;

/* POST with a random "request_id" added to the body. When the connection breaks it is sent once more under the same id,
 * and the daemon answers with what the first one made, if it came through. Errors as client_post. */
int request_post_once(struct client *client, const char *url, cJSON *body, cJSON **out, struct err *err);

#endif
