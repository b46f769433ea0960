#include "daemon/query_views.h"

#include <stddef.h>

#define RUN_ID(column) "printf('b%05d', " column ")"
#define NUMBER(column) "nullif(" column ", 'nan') AS " column

/* Of an evaluation or a step that several attempts recorded, the newest attempt's counts. */
const struct query_view query_views[] = {
    {"runs", "a row a run, imports and jobs too; spec is JSON: json_extract(spec, '$.model.ffn.type')",
     "SELECT " RUN_ID(
         "id") " AS id, name, kind, state, reason, data, "
               "(SELECT group_concat(tag) FROM main.tags WHERE run = r.id) AS tags, "
               "json_extract(nullif(spec, ''), '$.train.seed') AS seed, attempts, step, "
               "total_steps, " NUMBER("epoch") ", tokens, params, " NUMBER("flops_per_token") ", " NUMBER("train_loss") ", " NUMBER(
                   "last_loss") ", " NUMBER("val_loss") ", " NUMBER("best_val_loss") ", " NUMBER("tok_s") ", mfu, "
                                                                                                          "energy_j, "
                                                                                                          "ran_ms "
                                                                                                          "/ 1000.0 AS "
                                                                                                          "seconds, "
                                                                                                          "peak_memory "
                                                                                                          "AS "
                                                                                                          "peak_memory_"
                                                                                                          "bytes, "
                                                                                                          "cpus, gpus, "
                                                                                                          "priority, "
                                                                                                          "created_ms, "
                                                                                                          "started_ms, "
                                                                                                          "ended_ms, "
                                                                                                          "nondetermini"
                                                                                                          "sm, "
                                                                                                          "skipped_"
                                                                                                          "steps, "
                                                                                                          "missing_"
                                                                                                          "steps, "
                                                                                                          "spec_hash, "
                                                                                                          "nullif(spec,"
                                                                                                          " "
                                                                                                          "'') AS spec "
                                                                                                          "FROM "
                                                                                                          "main.runs "
                                                                                                          "r"},
    {"evals", "a row an evaluation of a run, by step and split",
     "SELECT " RUN_ID("run") " AS run, step, split, attempt, tokens, " NUMBER("epoch") ", " NUMBER("loss") ", " NUMBER(
         "perplexity") ", " NUMBER("bits_per_byte") ", " NUMBER("word_perplexity") ", predictions, " NUMBER("ms") " FRO"
                                                                                                                  "M "
                                                                                                                  "main"
                                                                                                                  ".eva"
                                                                                                                  "ls "
                                                                                                                  "e "
                                                                                                                  "WHER"
                                                                                                                  "E "
                                                                                                                  "atte"
                                                                                                                  "mpt "
                                                                                                                  "= "
                                                                                                                  "(SEL"
                                                                                                                  "ECT "
                                                                                                                  "max("
                                                                                                                  "atte"
                                                                                                                  "mpt)"
                                                                                                                  " FRO"
                                                                                                                  "M "
                                                                                                                  "main"
                                                                                                                  ".eva"
                                                                                                                  "ls "
                                                                                                                  "WHER"
                                                                                                                  "E "
                                                                                                                  "run "
                                                                                                                  "= "
                                                                                                                  "e."
                                                                                                                  "run "
                                                                                                                  "AND "
                                                                                                                  "step"
                                                                                                                  " = "
                                                                                                                  "e."
                                                                                                                  "step"
                                                                                                                  " AND"
                                                                                                                  " "
                                                                                                                  "spli"
                                                                                                                  "t = "
                                                                                                                  "e."
                                                                                                                  "spli"
                                                                                                                  "t)"},
    {"tags", "a row a tag of a run", "SELECT " RUN_ID("run") " AS run, tag FROM main.tags"},
    {"attempts", "a row a launch of a run",
     "SELECT " RUN_ID("run") " AS run, n, active, device, threads, numerics_id, resume_step, last_step, outcome, "
                             "end_reason, end_text, nondeterminism, drift, claimed_ms, ended_ms, exit_status, "
                             "exit_signal, maxrss_bytes, "
                             "memory_bytes, peak_flops FROM main.attempts"},
    {"events", "what happened to a run, oldest first by id",
     "SELECT id, " RUN_ID("run") " AS run, time_ms, attempt, kind, from_state, to_state, text FROM main.events"},
    {"checkpoints", "a row a checkpoint; mark is good, bad or pruned",
     "SELECT " RUN_ID("run") " AS run, step, attempt, path, bytes, mark FROM main.checkpoints"},
    {"gpu", "a row a look at a run's GPU; energy_j is of its attempt",
     "SELECT " RUN_ID("run") " AS run, attempt, step, time_ms, memory_used, memory_total, temperature_c, sm_clock_mhz, "
                             "power_w, energy_j, throttle, ecc_uncorrected, xid FROM main.gpu_samples"},
    {"jobs", "what evaluations and samples were asked for; parameters is JSON",
     "SELECT " RUN_ID("run") " AS run, " RUN_ID("source") " AS source, checkpoint, parameters FROM main.jobs"},
    {NULL, NULL, NULL},
};
