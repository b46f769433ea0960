#include "worker/health.h"

#include <inttypes.h>
#include "base/clock.h"
#include "base/log.h"
#include "kernels/backend.h"
#include "worker/journal_writer.h"

int health_record(struct health *h, int64_t step, int64_t now_us, struct err *err)
{
    struct journal_record r = {.kind = JOURNAL_GPU};
    int64_t begin = clock_monotonic_us();
    h->looked_us = now_us;
    if (!h->backend->ops->health(h->backend, &r.gpu.health))
        return 0;
    log_event(LOG_LEVEL_INFO, "gpu_looked_at", "step=%" PRId64 " ms=%.1f", step,
              (double)(clock_monotonic_us() - begin) / 1e3);
    r.gpu.step = step;
    r.gpu.time_ms = clock_wall_ms();
    return journal_writer_append(h->journal, &r, err);
}

int health_record_if_due(struct health *h, int64_t step, int64_t now_us, struct err *err)
{
    return now_us - h->looked_us < HEALTH_SECONDS * INT64_C(1000000) ? 0 : health_record(h, step, now_us, err);
}
