#include "worker/schedule.h"

#include <math.h>

int64_t schedule_part_steps(double part, int64_t total_steps)
{
    double steps = floor((part >= 1 ? part : part * (double)total_steps) + 0.5);
    return steps > 0 && steps < 0x1p62 ? (int64_t)steps : 0;
}

double schedule_lr(const struct spec *s, int64_t step, int64_t total_steps)
{
    double lr = s->train.optimizer.lr, ratio = s->train.min_lr_ratio;
    int64_t warmup = schedule_part_steps(s->train.warmup, total_steps);
    if (step <= warmup)
        return lr * (double)step / (double)warmup;
    if (s->train.schedule == SCHEDULE_CONSTANT)
        return lr;
    if (step >= total_steps)
        return lr * ratio;
    int64_t from = warmup;
    if (s->train.schedule == SCHEDULE_WSD) {
        int64_t cooldown = schedule_part_steps(s->train.cooldown, total_steps);
        from = total_steps - cooldown > warmup ? total_steps - cooldown : warmup;
    }
    if (step <= from)
        return lr;
    double progress = (double)(step - from) / (double)(total_steps - from);
    if (s->train.schedule != SCHEDULE_COSINE)
        return lr * (1 - (1 - ratio) * progress);
    return lr * (ratio + (1 - ratio) * 0.5 * (1 + cos(M_PI * progress)));
}
