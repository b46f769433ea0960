/* schedule.h: the learning rate of a step. After which steps is evaluated says schema/spec_schedule.h. Pure.
 *
 * With w warm-up steps of N: steps 1 … w rise linearly, lr * step / w; then with p = (step - w) / (N - w) in (0, 1] and
 * r = min_lr_ratio
 *   constant  lr
 *   linear    lr * (1 - (1 - r) * p)
 *   cosine    lr * (r + (1 - r) * (1 + cos(pi * p)) / 2)
 *   wsd       lr, and in the last c steps lr * (1 - (1 - r) * (step - (N - c)) / c)
 *
 * so the last step has lr * r exactly (as GPT-NeoX counts), and steps beyond N stay there. w = warmup where it is at
 * least 1 (rounded to the nearest whole number), else the nearest whole number to warmup * N; c likewise of cooldown,
 * at least 1 and at most N - w. cosine: Loshchilov & Hutter 2017, eq. 5, without restarts; wsd: Hu et al. 2024, section
 * 4.2, with the linear decay of Haegele et al. 2024.
 */
#ifndef BAKA_WORKER_SCHEDULE_H
#define BAKA_WORKER_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>
#include "schema/spec.h"
#include "schema/spec_schedule.h"

/* Steps of a warm-up or cooldown; may be more than total_steps: the end is then on the way up. */
int64_t schedule_part_steps(double part, int64_t total_steps);
/* Learning rate of a step, counted from 1. */
double schedule_lr(const struct spec *s, int64_t step, int64_t total_steps);

#endif
