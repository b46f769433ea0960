/* test_trainer_memory.c: an attempt whose device has no room, at each place where memory is asked for. The backends are
 * fakes that compute nothing; each attempt runs in a process of its own, and its journal tells the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "kernels/backend.h"
#include "schema/journal.h"
#include "text/token_file.h"
#include "worker/arguments.h"
#include "worker/signals.h"
#include "worker/trainer.h"

/* --- the backends ------------------------------------------------------------------------------------------------ */

enum refusal { REFUSES_NOTHING, REFUSES_WORKSPACE, REFUSES_ARENA, REFUSES_STEP };

static enum refusal refuses;
static uint64_t device_memory = UINT64_C(8) << 30;

static const char *kind_of(const struct backend *b)
{
    (void)b;
    return "fake";
}

static int make_arena(struct backend *b, size_t bytes, void **base, struct err *err)
{
    (void)b;
    if (refuses == REFUSES_ARENA)
        return err_set(err, ERR_NO_MEMORY, "the GPU has 10.0 MiB free");
    *base = aligned_alloc(256, (bytes + 255) / 256 * 256);
    assert_non_null(*base);
    return 0;
}

static void close_nothing(struct backend *b)
{
    (void)b;
}

static void move(struct backend *b, void *to, const void *from, size_t bytes)
{
    (void)b;
    memset(to, 0, bytes);
    (void)from;
}

static void zero(struct backend *b, void *to, size_t bytes)
{
    (void)b;
    memset(to, 0, bytes);
}

static int wait_for(struct backend *b, struct err *err)
{
    (void)b;
    (void)err;
    return 0;
}

static int wait_for_step(struct backend *b, struct err *err)
{
    (void)b;
    return refuses == REFUSES_STEP ? err_set(err, ERR_NO_MEMORY, "adamw at step 1: no room for a graph") : 0;
}

static void begin(struct backend *b, const struct step_values *values)
{
    (void)b;
    (void)values;
}

#define COMPUTES_NOTHING(name, args)                                                                                   \
    static void name(struct backend *b, const struct args *a)                                                          \
    {                                                                                                                  \
        (void)b;                                                                                                       \
        (void)a;                                                                                                       \
    }
COMPUTES_NOTHING(embed, embed_args)
COMPUTES_NOTHING(norm_forward, norm_forward_args)
COMPUTES_NOTHING(norm_backward, norm_backward_args)
COMPUTES_NOTHING(linear_forward, linear_args)
COMPUTES_NOTHING(linear_backward, linear_backward_args)
COMPUTES_NOTHING(ffn_up_forward, ffn_up_args)
COMPUTES_NOTHING(ffn_up_backward, ffn_up_backward_args)
COMPUTES_NOTHING(attention, attention_args)
COMPUTES_NOTHING(classifier, classifier_args)
COMPUTES_NOTHING(grad_squares, grad_squares_args)
COMPUTES_NOTHING(norm_of_squares, norm_of_squares_args)
COMPUTES_NOTHING(adamw, adamw_args)
COMPUTES_NOTHING(sgd, sgd_args)
COMPUTES_NOTHING(lion, lion_args)
COMPUTES_NOTHING(muon, muon_args)
COMPUTES_NOTHING(adalomo, adalomo_args)
COMPUTES_NOTHING(copy_parameters, copy_parameters_args)

static double no_peak(const struct backend *b)
{
    (void)b;
    return 0;
}

static bool no_health(struct backend *b, struct gpu_health *out)
{
    (void)b;
    (void)out;
    return false;
}

static const struct backend_ops ops = {
    .name = "fake",
    .peak_flops = no_peak,
    .health = no_health,
    .close = close_nothing,
    .device_kind = kind_of,
    .library_versions = kind_of,
    .arena = make_arena,
    .upload = move,
    .download = move,
    .zero = zero,
    .sync = wait_for,
    .steps_in_flight = 1,
    .step_begin = begin,
    .step_end = close_nothing,
    .branches_begin = close_nothing,
    .branches_next = close_nothing,
    .branches_end = close_nothing,
    .step_wait = wait_for_step,
    .embed_forward = embed,
    .embed_backward = embed,
    .norm_forward = norm_forward,
    .norm_backward = norm_backward,
    .linear_forward = linear_forward,
    .linear_backward = linear_backward,
    .ffn_up_forward = ffn_up_forward,
    .ffn_up_backward = ffn_up_backward,
    .attention_forward = attention,
    .attention_backward = attention,
    .attention_next = attention,
    .classifier = classifier,
    .grad_squares = grad_squares,
    .norm_of_squares = norm_of_squares,
    .adamw = adamw,
    .sgd = sgd,
    .lion = lion,
    .muon = muon,
    .adalomo = adalomo,
    .copy_parameters = copy_parameters,
};

int backend_probe(const char *name, struct backend_device *out, struct err *err)
{
    (void)name;
    (void)err;
    *out = (struct backend_device){.kind = "fake", .memory_bytes = device_memory};
    return 0;
}

int backend_open(const char *name, const struct backend_options *options, struct backend **out, struct err *err)
{
    static struct backend fake;
    (void)name;
    (void)options;
    if (refuses == REFUSES_WORKSPACE)
        return err_set(err, ERR_NO_MEMORY, "no workspace");
    fake = (struct backend){.ops = &ops, .storage = DTYPE_F32};
    *out = &fake;
    return 0;
}

/* --- an attempt -------------------------------------------------------------------------------------------------- */

static char home[64], run_dir[96];
static int attempts;

static int set_up(void **state)
{
    (void)state;
    struct token_writer *w = NULL;
    struct token_file_header made;
    int32_t ids[1000];
    for (int i = 0; i < 1000; i++)
        ids[i] = i % 256;
    snprintf(home, sizeof home, "/tmp/baka-memory-XXXXXX");
    if (!mkdtemp(home))
        return -1;
    snprintf(run_dir, sizeof run_dir, "%s/run", home);
    int rc = token_writer_create(home, "text", "bytes", 256, 0, &w, NULL);
    if (rc == 0)
        rc = token_writer_begin_document(w, NULL);
    if (rc == 0)
        rc = token_writer_add(w, ids, 1000, 1000, NULL);
    if (rc == 0)
        rc = token_writer_finish(w, (struct share){0}, &made, NULL);
    token_writer_destroy(w);
    return rc;
}

static int tear_down(void **state)
{
    (void)state;
    return file_remove_tree(home, NULL);
}

struct story {
    bool started;
    struct journal_start start;
    struct journal_end end;
};

static struct story read_journal(const char *attempt_dir)
{
    char path[160], *text = NULL;
    size_t size = 0;
    struct err err = {0};
    struct story told = {0};
    struct journal_record r = {0};
    snprintf(path, sizeof path, "%s/journal", attempt_dir);
    if (file_read_all(path, 1 << 20, &text, &size, &err) != 0)
        fail_msg("%s", err.message);
    for (char *line = text, *end; (end = memchr(line, '\n', size - (size_t)(line - text))) != NULL; line = end + 1) {
        assert_int_equal(journal_parse(line, (size_t)(end - line), &r, &err), 0);
        if (r.kind == JOURNAL_START) {
            told.started = true;
            told.start = r.start;
        }
    }
    assert_int_equal(r.kind, JOURNAL_END);
    told.end = r.end;
    free(text);
    return told;
}

static struct story attempt(const char *spec, int limit)
{
    struct arguments args = {.attempt = ++attempts, .threads = 1, .micro_batch_limit = limit, .lock_fd = -1};
    struct err err = {0};
    char dir[128], path[160];
    snprintf(args.home, sizeof args.home, "%s", home);
    snprintf(args.run_dir, sizeof args.run_dir, "%s", run_dir);
    snprintf(dir, sizeof dir, "%s/attempts/%d", run_dir, attempts);
    snprintf(path, sizeof path, "%s/spec.json", run_dir);
    assert_int_equal(file_make_dirs(dir, 0700, &err), 0);
    assert_int_equal(file_write_atomic(path, spec, strlen(spec), 0600, &err), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signals_block();
        _exit(trainer_run(&args, 0));
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    struct story told = read_journal(dir);
    assert_int_equal(WEXITSTATUS(status), told.end.reason == END_FINISHED ? 0 : 1);
    return told;
}

#define GPU                                                                                                            \
    "{\"data\":{\"name\":\"text\"},\"resources\":{\"gpus\":1},\"train\":{\"steps\":2,\"device\":\"cuda\",\"seq_len\":" \
    "32"
#define CPU "{\"data\":{\"name\":\"text\"},\"train\":{\"steps\":2,\"device\":\"cpu\",\"seq_len\":32"

static void check_end(const struct story *told, enum journal_end_reason reason, const char *text)
{
    if (told->end.reason != reason || !strstr(told->end.text, text))
        fail_msg("ended with %s: %s", journal_end_reason_word(told->end.reason), told->end.text);
}

static void no_room_is_told_with_what_it_was_for(void **state)
{
    (void)state;
    static const char gpu[] = "; the run needs 750 MiB, workspace 200 MiB, activations 9 MiB";
    static const char cpu[] = "; the run needs 54 MiB, workspace 32 MiB, activations 9 MiB";
    static const struct {
        enum refusal refuses;
        const char *text;
        bool started;
    } cases[] = {{REFUSES_WORKSPACE, "no workspace", false},
                 {REFUSES_ARENA, "the GPU has 10.0 MiB free", true},
                 {REFUSES_STEP, "adamw at step 1: no room for a graph", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        refuses = cases[i].refuses;
        struct story told = attempt(GPU "}}", 0);
        check_end(&told, END_OOM_GPU, cases[i].text);
        check_end(&told, END_OOM_GPU, gpu);
        assert_int_equal(told.started, cases[i].started);
        assert_int_equal(told.end.step, 0);
        told = attempt(CPU "}}", 0);
        check_end(&told, END_OOM_HOST, cases[i].text);
        check_end(&told, END_OOM_HOST, cpu);
    }
    refuses = REFUSES_NOTHING;
    struct story told = attempt(GPU "}}", 0);
    check_end(&told, END_FINISHED, "");
}

static void the_limit_is_for_a_micro_batch_left_open(void **state)
{
    (void)state;
    refuses = REFUSES_NOTHING;
    struct story told = attempt(GPU ",\"batch\":12}}", 0);
    assert_int_equal(told.start.micro_batch, 12);
    told = attempt(GPU ",\"batch\":12}}", 5);
    assert_int_equal(told.start.micro_batch, 4);
    told = attempt(GPU ",\"batch\":12,\"micro_batch\":6}}", 5);
    assert_int_equal(told.start.micro_batch, 6);
}

static void larger_than_the_device_is_a_bad_spec(void **state)
{
    (void)state;
    device_memory = UINT64_C(765) << 20;
    struct story told = attempt(GPU ",\"batch\":1024,\"micro_batch\":1024}}", 0);
    check_end(&told, END_BAD_SPEC, "train.micro_batch 1024 needs ");
    check_end(&told, END_BAD_SPEC, "; train.micro_batch 32 fits");
    assert_false(told.started);
    device_memory = UINT64_C(8) << 30;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_room_is_told_with_what_it_was_for),
        cmocka_unit_test(the_limit_is_for_a_micro_batch_left_open),
        cmocka_unit_test(larger_than_the_device_is_a_bad_spec),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
