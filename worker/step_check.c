#include "worker/step_check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "worker/model.h"

static size_t bytes_of(const struct model *model, int index)
{
    struct model_tensor t;
    model_state_tensor(model, index, &t);
    return t.bytes;
}

static int make_room(struct step_check *k, const struct model *model, struct err *err)
{
    size_t largest = 1, all = 0;
    if (k->tensors)
        return 0;
    int count = model_state_count(model);
    bool made = (k->tensors = calloc((size_t)count + 1, sizeof *k->tensors)) != NULL;
    k->count = count;
    for (int i = 0; i < count; i++) {
        size_t bytes = bytes_of(model, i);
        largest = bytes > largest ? bytes : largest;
        all += bytes;
        made = made && (k->tensors[i] = malloc(bytes)) != NULL;
    }
    made = made && (k->spare = malloc(largest)) != NULL;
    return made ? 0 : err_set(err, ERR_NO_MEMORY, "no memory of %zu MiB for train.verify_every", (all + largest) >> 20);
}

int step_check_keep(struct step_check *k, struct model *model, struct err *err)
{
    int rc = make_room(k, model, err);
    for (int i = 0; i < k->count && rc == 0; i++)
        rc = model_read_state(model, i, k->tensors[i], err);
    return rc ? rc : model_read_updates(model, &k->updates, err);
}

int step_check_swap(struct step_check *k, struct model *model, struct err *err)
{
    int64_t after;
    int rc = model_read_updates(model, &after, err);
    for (int i = 0; i < k->count && rc == 0; i++) {
        rc = model_read_state(model, i, k->spare, err);
        if (rc == 0)
            rc = model_write_state(model, i, k->tensors[i], err);
        if (rc == 0)
            memcpy(k->tensors[i], k->spare, bytes_of(model, i));
    }
    if (rc == 0)
        rc = model_write_updates(model, k->updates, err);
    k->updates = after;
    return rc;
}

int step_check_compare(struct step_check *k, struct model *model, struct err *err)
{
    int64_t updates;
    int rc = model_read_updates(model, &updates, err);
    if (rc == 0 && updates != k->updates)
        rc = err_set(err, ERR_DAMAGED, "the count of updates is %" PRId64 " and %" PRId64, k->updates, updates);
    for (int i = 0; i < k->count && rc == 0; i++) {
        struct model_tensor t;
        model_state_tensor(model, i, &t);
        rc = model_read_state(model, i, k->spare, err);
        if (rc == 0 && memcmp(k->spare, k->tensors[i], t.bytes) != 0)
            rc = err_set(err, ERR_DAMAGED, "%s differs", t.name);
    }
    return rc;
}

void step_check_finish(struct step_check *k)
{
    for (int i = 0; k->tensors && i < k->count; i++)
        free(k->tensors[i]);
    free(k->tensors);
    free(k->spare);
    *k = (struct step_check){0};
}
