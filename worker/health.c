#include "worker/health.h"

#include "base/clock.h"
#include "kernels/backend.h"
#include "worker/journal_writer.h"

int health_record(struct health *h, int64_t step, int64_t now_us, struct err *err)
{
    struct journal_record r = {.kind = JOURNAL_GPU};
    h->looked_us = now_us;
    if (!h->backend->ops->health(h->backend, &r.gpu.health))
        return 0;
    r.gpu.step = step;
    r.gpu.time_ms = clock_wall_ms();
    return journal_writer_append(h->journal, &r, err);
}

int health_record_if_due(struct health *h, int64_t step, int64_t now_us, struct err *err)
{
    return now_us - h->looked_us < HEALTH_SECONDS * INT64_C(1000000) ? 0 : health_record(h, step, now_us, err);
}
