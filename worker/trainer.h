/* trainer.h: one attempt of a run, from spec.json to the journal's `end`. */
#ifndef BAKA_WORKER_TRAINER_H
#define BAKA_WORKER_TRAINER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/path.h"
#include "schema/journal.h"
#include "schema/plan.h"
#include "schema/spec.h"
#include "text/order.h"
#include "text/token_file.h"
#include "worker/device.h"
#include "worker/health.h"

struct arguments;
struct backend;
struct checkpoint;
struct err;
struct journal_writer;
struct model;
struct stored_model;

/* What start-up gathered, for the train loop. Owned by trainer_run; a NULL or false member was not reached. */
struct trainer {
    const struct arguments *args;
    struct journal_writer *journal;
    struct spec spec;
    struct token_file data;
    bool data_open, plan_made;
    struct device device;
    struct plan plan;
    struct backend *backend; /* until the model takes it */
    struct model *model;
    struct health health; /* of the model's backend; there when the model is */
    double peak_flops;    /* the device's, 0: not known */
    struct order *order;
    struct checkpoint *resumed; /* closed when it was restored */
    struct stored_model *init;  /* train.init_from; closed when its parameters were loaded, or not needed */
    struct order_batch batch;   /* room for batch (and micro_batch) rows */
    char spec_hash[SHA256_HEX_SIZE], build[SHA256_HEX_SIZE], numerics_id[SHA256_HEX_SIZE];
    int threads;
    int64_t resume_step, total_steps, steps_per_epoch, predictions_per_epoch;
    enum journal_end_reason blame; /* the reason for `end` if the next thing fails and its error code says no better */
    int64_t step;                  /* last one done */
};

/* Runs the attempt and returns the process's exit status: 0 finished or stopped, 1 failed. Main thread. */
int trainer_run(const struct arguments *args, int keeper_pid);

/* The records that more than one file writes. */
int trainer_note(struct trainer *t, struct err *err, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
