/* verbs.c: the registry of bakactl's verbs, in the order of the help. Each stands in a file of its own. */
#include "cli/verb.h"

extern const struct verb verb_cancel;
extern const struct verb verb_compare;
extern const struct verb verb_data;
extern const struct verb verb_eval;
extern const struct verb verb_evals;
extern const struct verb verb_export;
extern const struct verb verb_import;
extern const struct verb verb_leaderboard;
extern const struct verb verb_list;
extern const struct verb verb_logs;
extern const struct verb verb_pause;
extern const struct verb verb_priority;
extern const struct verb verb_query;
extern const struct verb verb_report;
extern const struct verb verb_resume;
extern const struct verb verb_retry;
extern const struct verb verb_sample;
extern const struct verb verb_show;
extern const struct verb verb_status;
extern const struct verb verb_steps;
extern const struct verb verb_submit;
extern const struct verb verb_verify_resume;
extern const struct verb verb_wait;

const struct verb *const verbs[] = {
    &verb_submit,
    &verb_wait,
    &verb_list,
    &verb_status,
    &verb_show,
    &verb_logs,
    &verb_compare,
    &verb_leaderboard,
    &verb_report,
    &verb_query,
    &verb_steps,
    &verb_evals,
    &verb_eval,
    &verb_sample,
    &verb_pause,
    &verb_resume,
    &verb_priority,
    &verb_cancel,
    &verb_retry,
    &verb_verify_resume,
    &verb_import,
    &verb_export,
    &verb_data,
    NULL,
};
