/* test_neox.c: GPT-NeoX models as Hugging Face saves them against the logits that make_neox_fixtures.py has for them in
 * float64: imported, as one pass and position by position; and what the importer must refuse. argv[1]: the folder neox;
 * argv[2]: one more model to look at, made by that script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/path.h"
#include "kernels/backend.h"
#include "worker/import_hf.h"
#include "worker/model.h"
#include "worker/model_store.h"
#include "worker/neox_tensors.h"

static const char *fixtures, *extra;
static char home[64];

/* --- a model and what is expected of it -------------------------------------------------------------------------- */

struct expected {
    char *file;
    int64_t sequences, positions, vocab;
    const int32_t *tokens;
    const float *logits;
};

static void expected_read(struct expected *e, const char *folder)
{
    char path[PATH_SIZE];
    size_t size;
    struct err err = {0};
    snprintf(path, sizeof path, "%s/expected.bin", folder);
    if (file_read_all(path, 1u << 30, &e->file, &size, &err) != 0)
        fail_msg("%s", err.message);
    assert_memory_equal(e->file, "BAKANEOX", 8);
    int64_t shape[3];
    memcpy(shape, e->file + 8, sizeof shape);
    e->sequences = shape[0];
    e->positions = shape[1];
    e->vocab = shape[2];
    e->tokens = (const int32_t *)(const void *)(e->file + 32);
    e->logits = (const float *)(const void *)(e->tokens + e->sequences * e->positions);
    assert_int_equal(size, 32 + 4 * (size_t)(e->sequences * e->positions * (1 + e->vocab)));
}

struct imported {
    struct spec spec;
    struct plan plan;
    struct model *model;
};

static int import_text(const char *folder, const char *name, char **text, struct err *err)
{
    size_t size;
    FILE *out = open_memstream(text, &size);
    int rc = import_hf(home, folder, name, out, err);
    fclose(out);
    return rc;
}

static void must(int rc, const struct err *err)
{
    if (rc != 0)
        fail_msg("%s: %s", err->path, err->message);
}

static void open_model(struct imported *m, const char *folder, const char *name, int64_t seq_len)
{
    char *text = NULL;
    struct err err = {0};
    struct stored_model *stored;
    struct backend *b;
    must(import_text(folder, name, &text, &err), &err);
    cJSON *described = cJSON_Parse(text), *o = cJSON_CreateObject(), *train = cJSON_AddObjectToObject(o, "train");
    cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "data"), "name", "any");
    cJSON_AddNumberToObject(train, "seq_len", (double)seq_len);
    cJSON_AddNumberToObject(train, "batch", 1);
    cJSON_AddStringToObject(train, "recompute", "none");
    cJSON_AddItemToObject(o, "model", cJSON_DetachItemFromObject(described, "model"));
    must(spec_from_json(o, &m->spec, &err), &err);
    cJSON_Delete(o);
    cJSON_Delete(described);
    free(text);
    must(plan_make(&m->spec, 0, &plan_device_cpu, &m->plan, &err), &err);
    const struct backend_options options = {
        .storage = DTYPE_F32, .threads = 2, .workspace_bytes = m->plan.bytes.by_class[PLAN_WORKSPACE]};
    must(backend_open("cpu", &options, &b, &err), &err);
    must(model_create(&m->spec, &m->plan, b, &m->model, &err), &err);
    must(model_store_open(home, name, &stored, &err), &err);
    must(model_store_check(stored, &m->spec, &err), &err);
    must(model_store_load(stored, &m->plan, m->model, &err), &err);
    model_store_close(stored);
}

static void close_model(struct imported *m)
{
    model_destroy(m->model);
    plan_finish(&m->plan);
}

static double distance(const float *a, const float *b, int64_t n)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, isfinite(a[i]) ? fabs((double)a[i] - (double)b[i]) : INFINITY);
    return worst;
}

/* Each prefix as one pass, and each position after a first few that were one pass: the logits are within 1e-4. */
static void check_folder(const char *folder, const char *name, int64_t stride)
{
    struct expected e;
    struct imported m;
    struct err err = {0};
    double worst = 0, worst_next = 0;
    expected_read(&e, folder);
    open_model(&m, folder, name, e.positions);
    assert_int_equal(m.plan.vocab, e.vocab);
    float *logits = calloc((size_t)e.vocab, sizeof *logits);
    for (int64_t s = 0; s < e.sequences; s++) {
        const int32_t *tokens = e.tokens + s * e.positions;
        const float *wanted = e.logits + s * e.positions * e.vocab;
        for (int64_t n = 1; n <= e.positions; n += stride) {
            must(model_read(m.model, tokens, n, logits, &err), &err);
            worst = fmax(worst, distance(logits, wanted + (n - 1) * e.vocab, e.vocab));
        }
        must(model_read(m.model, tokens, 3, logits, &err), &err);
        for (int64_t i = 3; i < e.positions; i++) {
            must(model_read_next(m.model, tokens[i], logits, &err), &err);
            worst_next = fmax(worst_next, distance(logits, wanted + i * e.vocab, e.vocab));
        }
    }
    print_message("%s: logits within %.2g, position by position within %.2g\n", name, worst, worst_next);
    assert_true(worst <= 1e-4 && worst_next <= 1e-4);
    free(logits);
    free(e.file);
    close_model(&m);
}

static void logits_are_those_of_hugging_face(void **state)
{
    (void)state;
    static const char *const cases[] = {"pythia", "sequential", "tied"};
    char folder[PATH_SIZE];
    for (int i = 0; i < 3; i++) {
        snprintf(folder, sizeof folder, "%s/%s", fixtures, cases[i]);
        check_folder(folder, cases[i], 1);
    }
    if (extra)
        check_folder(extra, "extra", 33);
}

static int32_t greatest(const float *logits, int64_t n)
{
    int32_t best = 0;
    for (int64_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? (int32_t)i : best;
    return best;
}

/* What the model goes on with, position by position, is what it goes on with when it reads all of the text each time.
 */
static void greedy_text_is_that_of_whole_passes(void **state)
{
    (void)state;
    enum { PROMPT = 3, N = 40 };
    char folder[PATH_SIZE];
    struct imported m;
    struct err err = {0};
    int32_t text[N] = {5, 17, 2}, again[N] = {5, 17, 2};
    float logits[61];
    snprintf(folder, sizeof folder, "%s/pythia", fixtures);
    open_model(&m, folder, "greedy", N);
    assert_int_equal(m.plan.vocab, 61);
    must(model_read(m.model, text, PROMPT, logits, &err), &err);
    for (int i = PROMPT; i < N; i++) {
        text[i] = greatest(logits, 61);
        must(model_read_next(m.model, text[i], logits, &err), &err);
    }
    for (int i = PROMPT; i < N; i++) {
        must(model_read(m.model, again, i, logits, &err), &err);
        again[i] = greatest(logits, 61);
    }
    assert_memory_equal(text, again, sizeof text);
    close_model(&m);
}

static void fused_rows_go_and_come_back(void **state)
{
    (void)state;
    enum { HEADS = 3, HEAD_DIM = 2, COLS = 5, N = 3 * HEADS * HEAD_DIM * COLS };
    float theirs[N], ours[N], again[N];
    for (int i = 0; i < N; i++)
        theirs[i] = (float)i;
    neox_qkv_split(theirs, ours, HEADS, HEAD_DIM, COLS);
    /* head 1's first key row: theirs (1*3 + 1) * 2, ours (3 + 1) * 2 */
    assert_true(ours[(HEADS + 1) * HEAD_DIM * COLS] == theirs[(1 * 3 + 1) * HEAD_DIM * COLS]);
    assert_true(ours[2 * HEADS * HEAD_DIM * COLS] == theirs[2 * HEAD_DIM * COLS]);
    neox_qkv_fuse(ours, again, HEADS, HEAD_DIM, COLS);
    assert_memory_equal(theirs, again, sizeof theirs);
}

/* --- what is refused --------------------------------------------------------------------------------------------- */

static void write_file(const char *folder, const char *name, const char *text, size_t size)
{
    char path[PATH_SIZE];
    struct err err = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    must(file_write_atomic(path, text, size, 0644, &err), &err);
}

static char *read_file(const char *folder, const char *name, size_t *size)
{
    char path[PATH_SIZE], *text = NULL;
    struct err err = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    must(file_read_all(path, 1 << 24, &text, size, &err), &err);
    return text;
}

/* A copy of a fixture in HOME/broken with one text of one file replaced by another of the same length. */
static void copy_fixture(const char *name, const char *const *files, const char *changed, const char *from,
                         const char *to, char folder[PATH_SIZE])
{
    char source[PATH_SIZE];
    struct err err = {0};
    snprintf(source, sizeof source, "%s/%s", fixtures, name);
    snprintf(folder, PATH_SIZE, "%.40s/broken", home);
    must(file_remove_tree(folder, &err), &err);
    must(file_make_dirs(folder, 0755, &err), &err);
    for (; *files; files++) {
        size_t size;
        char *text = read_file(source, *files, &size);
        if (changed && strcmp(*files, changed) == 0) {
            char *at = memmem(text, size, from, strlen(from));
            assert_non_null(at);
            assert_int_equal(strlen(from), strlen(to));
            memcpy(at, to, strlen(to));
        }
        write_file(folder, *files, text, size);
        free(text);
    }
}

static void refused(const char *folder, const char *why)
{
    char *text = NULL, path[PATH_SIZE];
    struct err err = {0};
    int rc = import_text(folder, "broken-model", &text, &err);
    if (rc == 0 || !strstr(err.message, why))
        fail_msg("wanted: %s; got %d: %s", why, rc, err.message);
    assert_null(strchr(err.message, '\n'));
    snprintf(path, sizeof path, "%s/models/broken-model", home);
    assert_false(file_exists(path));
    free(text);
}

static const char *const single[] = {"config.json", "model.safetensors", NULL};
static const char *const sharded[] = {"config.json",
                                      "model.safetensors.index.json",
                                      "model-00001-of-00003.safetensors",
                                      "model-00002-of-00003.safetensors",
                                      "model-00003-of-00003.safetensors",
                                      NULL};

static void other_configurations_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *why;
    } cases[] = {
        {"\"gpt_neox\"", "\"llama\"   ", "model_type is \"llama\": only \"gpt_neox\""},
        {"GPTNeoXForCausalLM", "GPTNeoXForSequence", "only \"GPTNeoXForCausalLM\" can be read"},
        {"\"gelu\"", "\"silu\"", "hidden_act is \"silu\""},
        {"\"layer_norm_eps\": 1e-05", "\"layer_norm_eps\": 1e-06", "layer_norm_eps is 1e-06: only 1e-05"},
        {"\"attention_bias\": true", "\"attention_bias\":false", "attention_bias is false"},
        {"\"hidden_size\": 32", "\"hidden_size\": -2", "hidden_size is -2: a whole number of at least 1"},
        {"\"hidden_size\": 32", "\"hidden_siz_\": 32", "hidden_size is missing"},
        {"\"num_attention_heads\": 2", "\"num_attention_heads\": 3", "model.heads"},
        {"\"rotary_pct\": 0.25", "\"rotary_pct\": 7.25", "model.rotary_pct is 7.25"},
        {"\"rotary_pct\": 0.25", "\"rotary_pct\": 0.20", "odd number"},
        {"\"use_parallel_residual\": true", "\"use_parallel_residual\": 1234", "use_parallel_residual is 1234"},
        {"\"torch_dtype\": \"float32\"", "\"rope_scaling\": \"float3\"", "scaled rotary embeddings"},
        {"{", "[", "config.json"},
    };
    char folder[PATH_SIZE];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        copy_fixture("pythia", single, "config.json", cases[i].from, cases[i].to, folder);
        refused(folder, cases[i].why);
    }
}

static void other_tensors_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *why;
    } cases[] = {
        {"gpt_neox.embed_in.weight", "gpt_neox.embed_on.weight", "there is no tensor gpt_neox.embed_in.weight"},
        {"\"dtype\": \"F32\", \"shape\": [61, 32]", "\"dtype\": \"I32\", \"shape\": [61, 32]",
         "embed_in.weight is I32: F32, F16 or BF16"},
        {"\"shape\": [61, 32]", "\"shape\": [32, 61]", "embed_in.weight is [32, 61], config.json makes it [61, 32]"},
        {"\"shape\": [61, 32]", "\"shape\": [62, 32]", "another size than its shape"},
        {"\"data_offsets\": [0, 7808]", "\"data_offsets\": [8, 7816]", "embed_in.weight follows a hole"},
        {"layers.1.mlp.dense_4h_to_h.bias", "layers.7.mlp.dense_4h_to_h.bias",
         "no tensor gpt_neox.layers.1.mlp.dense_4h_"},
    };
    char folder[PATH_SIZE];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        copy_fixture("pythia", single, "model.safetensors", cases[i].from, cases[i].to, folder);
        refused(folder, cases[i].why);
    }
    /* a layer that the configuration has not */
    copy_fixture("tied", single, "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", folder);
    refused(folder, "is none of a GPTNeoXForCausalLM of 1 layers");
    copy_fixture("pythia", single, NULL, NULL, NULL, folder);
    char weights[PATH_SIZE];
    snprintf(weights, sizeof weights, "%.200s/model.safetensors", folder);
    assert_int_equal(unlink(weights), 0);
    refused(folder, "neither model.safetensors nor model.safetensors.index.json");
}

static void shards_are_those_of_the_index(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *why;
    } cases[] = {
        {"\"weight_map\"", "\"height_map\"", "weight_map"},
        {"model-00001-of-00003.safetensors", "../../01-of-00003.safetensors___", "the name of a file beside it"},
        {"model-00002-of-00003.safetensors", "model-00009-of-00003.safetensors", "cannot open"},
        {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "is not in model-00002"},
        {"gpt_neox.embed_in.weight", "gpt_neox.embed_xx.weight", "tensor gpt_neox.embed_xx.weight is not in"},
    };
    char folder[PATH_SIZE];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        copy_fixture("sequential", sharded, "model.safetensors.index.json", cases[i].from, cases[i].to, folder);
        refused(folder, cases[i].why);
    }
    /* one tensor in two files: the second shard is the first one once more */
    copy_fixture("sequential", sharded, NULL, NULL, NULL, folder);
    size_t size;
    char *text = read_file(folder, "model-00001-of-00003.safetensors", &size);
    write_file(folder, "model-00002-of-00003.safetensors", text, size);
    free(text);
    refused(folder, "is not in model-00002-of-00003.safetensors");
}

/* The same model twice is one; another under its name is refused, and a damaged one found. */
static void a_stored_model_never_changes(void **state)
{
    (void)state;
    char folder[PATH_SIZE], path[PATH_SIZE], *text = NULL;
    struct err err = {0};
    struct stored_model *stored;
    snprintf(folder, sizeof folder, "%s/pythia", fixtures);
    must(import_text(folder, "kept", &text, &err), &err);
    free(text);
    must(import_text(folder, "kept", &text, &err), &err);
    free(text);
    snprintf(folder, sizeof folder, "%s/tied", fixtures);
    assert_int_equal(import_text(folder, "kept", &text, &err), -ERR_CONFLICT);
    free(text);

    must(model_store_open(home, "kept", &stored, &err), &err);
    struct spec spec;
    must(spec_parse("{\"data\":{\"name\":\"any\"},\"model\":{\"dim\":64,\"heads\":2}}", 52, &spec, &err), &err);
    assert_int_equal(model_store_check(stored, &spec, &err), -ERR_INVALID);
    assert_string_equal(err.path, "model.dim");
    model_store_close(stored);

    size_t size;
    snprintf(path, sizeof path, "%s/models/kept", home);
    text = read_file(path, "model.safetensors", &size);
    text[size - 1] ^= 1;
    write_file(path, "model.safetensors", text, size);
    free(text);
    assert_int_equal(model_store_open(home, "kept", &stored, &err), -ERR_DAMAGED);
    assert_int_equal(model_store_open(home, "absent", &stored, &err), -ERR_NOT_FOUND);
    assert_string_equal(err.path, "train.init_from");
}

int main(int argc, char **argv)
{
    fixtures = argc > 1 ? argv[1] : "neox";
    extra = argc > 2 ? argv[2] : NULL;
    snprintf(home, sizeof home, "/tmp/baka-neox-XXXXXX");
    if (!mkdtemp(home))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_hugging_face),
        cmocka_unit_test(fused_rows_go_and_come_back),
        cmocka_unit_test(greedy_text_is_that_of_whole_passes),
        cmocka_unit_test(other_configurations_are_named),
        cmocka_unit_test(other_tensors_are_named),
        cmocka_unit_test(shards_are_those_of_the_index),
        cmocka_unit_test(a_stored_model_never_changes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    file_remove_tree(home, NULL);
    return failed;
}
