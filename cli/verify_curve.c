/* verify_curve.c: see verify_curve.h. A newer attempt's steps stand in place of an older one's, after they were
 * compared with them. */
#include "cli/verify_curve.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/file.h"
#include "base/path.h"

enum { JOURNAL_MAX = 1 << 30, STEPS_MAX = 1 << 26 };

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static bool same_step(const struct verify_step *a, const struct verify_step *b)
{
    return same_bits(a->loss, b->loss) && same_bits(a->grad_norm, b->grad_norm);
}

static int take_step(struct verify_curve *c, const struct journal_step *s, struct err *err)
{
    if (s->step < 1 || s->step > STEPS_MAX)
        return err_set(err, ERR_DAMAGED, "a journal has a step %lld", (long long)s->step);
    if ((size_t)s->step > c->size) {
        size_t size = (size_t)s->step > 2 * c->size ? (size_t)s->step : 2 * c->size;
        struct verify_step *grown = realloc(c->steps, size * sizeof *grown);
        if (!grown)
            return err_set(err, ERR_NO_MEMORY, "no memory for %zu steps", size);
        memset(grown + c->size, 0, (size - c->size) * sizeof *grown);
        c->steps = grown;
        c->size = size;
    }
    struct verify_step now = {s->loss, s->grad_norm, true}, *place = &c->steps[s->step - 1];
    if (place->there) {
        c->replayed++;
        c->replay_misses += !same_step(place, &now);
    }
    *place = now;
    return 0;
}

static const struct verify_eval *find_eval(const struct verify_curve *c, int64_t step, const char *split)
{
    for (size_t i = 0; i < c->eval_count; i++)
        if (c->evals[i].step == step && strcmp(c->evals[i].split, split) == 0)
            return &c->evals[i];
    return NULL;
}

static int take_eval(struct verify_curve *c, const struct journal_eval *e, struct err *err)
{
    struct verify_eval *grown;
    const struct verify_eval *old = find_eval(c, e->step, e->split);
    if (old) {
        c->replay_misses += !same_bits(old->loss, e->loss);
        return 0;
    }
    grown = realloc(c->evals, (c->eval_count + 1) * sizeof *grown);
    if (!grown)
        return err_set(err, ERR_NO_MEMORY, "no memory for %zu evaluations", c->eval_count + 1);
    c->evals = grown;
    grown[c->eval_count] = (struct verify_eval){.step = e->step, .loss = e->loss};
    memcpy(grown[c->eval_count++].split, e->split, sizeof e->split);
    return 0;
}

static int take_record(struct verify_curve *c, const struct journal_record *r, struct err *err)
{
    switch (r->kind) {
    case JOURNAL_START:
        c->total_steps = r->start.total_steps;
        c->other_numerics |= c->numerics_id[0] && strcmp(c->numerics_id, r->start.numerics_id) != 0;
        memcpy(c->numerics_id, r->start.numerics_id, sizeof c->numerics_id);
        return 0;
    case JOURNAL_STEP:
        return take_step(c, &r->step, err);
    case JOURNAL_EVAL:
        return take_eval(c, &r->eval, err);
    case JOURNAL_CHECKPOINT:
        memcpy(c->checkpoint, r->checkpoint.path, sizeof c->checkpoint);
        c->checkpoint_step = r->checkpoint.step;
        return 0;
    case JOURNAL_END:
        c->ended = true;
        c->end = r->end;
        return 0;
    default:
        return 0;
    }
}

static int read_journal(const char *run_dir, int attempt, struct verify_curve *c, struct err *err)
{
    char path[PATH_SIZE], *text;
    size_t size;
    c->ended = false;
    int rc = path_format(path, err, "%s/attempts/%d/journal", run_dir, attempt);
    if (rc == 0)
        rc = file_read_all(path, JOURNAL_MAX, &text, &size, err);
    if (rc == -ERR_NOT_FOUND) /* killed before it had one */
        return 0;
    if (rc != 0)
        return rc;
    for (char *line = text, *end; rc == 0 && (end = memchr(line, '\n', size - (size_t)(line - text))); line = end + 1) {
        struct journal_record r;
        rc = journal_parse(line, (size_t)(end - line), &r, err);
        if (rc == 0)
            rc = take_record(c, &r, err);
    }
    free(text);
    return rc;
}

static int64_t furthest(const struct verify_curve *c)
{
    size_t n = c->size;
    while (n > 0 && !c->steps[n - 1].there)
        n--;
    return (int64_t)n;
}

int verify_curve_read(const char *run_dir, int attempts, struct verify_curve *out, struct err *err)
{
    struct verify_curve c = {0};
    int rc = 0;
    for (int a = 1; a <= attempts && rc == 0; a++)
        rc = read_journal(run_dir, a, &c, err);
    if (rc != 0) {
        verify_curve_finish(&c);
        return rc;
    }
    c.size = (size_t)furthest(&c);
    *out = c;
    return 0;
}

void verify_curve_finish(struct verify_curve *c)
{
    free(c->steps);
    free(c->evals);
    *c = (struct verify_curve){0};
}

/* --- comparing --------------------------------------------------------------------------------------------------- */

static int64_t differ(struct verify_difference *first, int64_t step, const char *what, double a, double b)
{
    if (same_bits(a, b))
        return 0;
    if (first->step == 0)
        *first = (struct verify_difference){step, what, a, b};
    return 1;
}

static int64_t compare_evals(const struct verify_curve *a, const struct verify_curve *b, bool both,
                             struct verify_difference *first)
{
    int64_t n = 0;
    for (size_t i = 0; i < a->eval_count; i++) {
        const struct verify_eval *e = &a->evals[i], *other = find_eval(b, e->step, e->split);
        if (other ? both : true)
            n += differ(first, e->step > 0 ? e->step : 1, "validation loss", e->loss, other ? other->loss : NAN);
    }
    return n;
}

int64_t verify_curve_compare(const struct verify_curve *a, const struct verify_curve *b,
                             struct verify_difference *first)
{
    static const struct verify_step none = {NAN, NAN, false};
    int64_t n = 0;
    *first = (struct verify_difference){0};
    for (size_t i = 0; i < a->size || i < b->size; i++) {
        const struct verify_step *x = i < a->size && a->steps[i].there ? &a->steps[i] : &none;
        const struct verify_step *y = i < b->size && b->steps[i].there ? &b->steps[i] : &none;
        n += differ(first, (int64_t)i + 1, "loss", x->loss, y->loss);
        n += differ(first, (int64_t)i + 1, "gradient norm", x->grad_norm, y->grad_norm);
    }
    return n + compare_evals(a, b, true, first) + compare_evals(b, a, false, first);
}
