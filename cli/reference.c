#include "cli/reference.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "cli/client.h"
#include "cli/run_view.h"

/* Ids grow in number, and then in length. */
static bool is_newer(const cJSON *a, const cJSON *b)
{
    size_t na = strlen(run_text(a, "id")), nb = strlen(run_text(b, "id"));
    return na != nb ? na > nb : strcmp(run_text(a, "id"), run_text(b, "id")) > 0;
}

/* The run that `ref` means by name, the newest of that name: others may be there for another word's sake. A ref that
 * means a tag is no run's name, or it would mean that run. */
static const cJSON *find_named(const char *ref, const cJSON *runs)
{
    const cJSON *run, *named = NULL;
    cJSON_ArrayForEach(run, runs) {
        if (strcmp(run_text(run, "id"), ref) == 0)
            return NULL;
        if (strcmp(run_text(run, "name"), ref) == 0 && (!named || is_newer(run, named)))
            named = run;
    }
    return named;
}

/* Up to two runs of a tag, for the caller to delete; NULL when it cannot be asked for. */
static cJSON *ask_tag(struct client *client, const char *tag)
{
    struct client_url url;
    struct err err;
    cJSON *page = NULL;
    client_url_start(&url, "/v1/runs");
    client_url_param(&url, "tag", "%s", tag);
    client_url_param(&url, "limit", "%d", 2);
    client_get(client, client_url_text(&url), &page, &err);
    client_url_finish(&url);
    return page;
}

void reference_note(struct client *client, const char *ref, const cJSON *runs)
{
    const cJSON *named = find_named(ref, runs), *run;
    cJSON *page = named ? ask_tag(client, ref) : NULL;
    /* of two runs one is another */
    cJSON_ArrayForEach(run, cJSON_GetObjectItemCaseSensitive(page, "runs"))
        if (strcmp(run_text(run, "id"), run_text(named, "id")) != 0) {
            fprintf(
                stderr,
                "bakactl: note: %s is the run %s here; the tag %s has other runs: bakactl list --tag %s shows them\n",
                ref, run_text(named, "id"), ref, ref);
            break;
        }
    cJSON_Delete(page);
}

void reference_explain(struct client *client, const char *ref, struct err *err)
{
    cJSON *page = err->code == ERR_NOT_FOUND ? ask_tag(client, ref) : NULL;
    if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(page, "runs")) > 0)
        err_set(err, ERR_NOT_FOUND, "%s is a tag, and runs are needed here: bakactl list --tag %s shows them", ref,
                ref);
    cJSON_Delete(page);
}

int reference_compare(struct client *client, const char *const *refs, int count, cJSON **answer, struct err *err)
{
    struct client_url url;
    client_url_start(&url, "/v1/compare");
    for (int i = 0; i < count; i++)
        client_url_param(&url, "ref", "%s", refs[i]);
    int rc = client_get(client, client_url_text(&url), answer, err);
    client_url_finish(&url);
    for (int i = 0; i < count && rc == 0; i++)
        reference_note(client, refs[i], cJSON_GetObjectItemCaseSensitive(*answer, "runs"));
    return rc;
}
