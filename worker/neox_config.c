/* neox_config.c: see neox_config.h. Keys and defaults: transformers' GPTNeoXConfig; newer versions move the rotary
 * settings to "rope_parameters". Dropout is a matter of their training and not read. */
#include "worker/neox_config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "schema/plan.h"

/* The epsilon of our norms. */
static const double norm_eps = 1e-5;

struct reader {
    const cJSON *config;
    const char *what;
    struct err *err;
};

static const cJSON *get(const struct reader *r, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(r->config, key);
}

/* "config.json: KEY is VALUE: ALLOWED" */
static int refuse(const struct reader *r, const char *key, const cJSON *value, const char *allowed)
{
    char *text = value ? json_canonical(value) : NULL;
    err_set(r->err, ERR_INVALID, "%s: %s is %.60s: %s", r->what, key, text ? text : "missing", allowed);
    cJSON_free(text);
    return -ERR_INVALID;
}

static int read_integer(const struct reader *r, const char *key, int64_t fallback, int64_t *out)
{
    const cJSON *item = get(r, key);
    *out = fallback;
    if (!item && fallback > 0)
        return 0;
    if (!cJSON_IsNumber(item) || !json_read_int64(item, out) || *out < 1)
        return refuse(r, key, item, "a whole number of at least 1 is needed");
    return 0;
}

static int read_bool(const struct reader *r, const char *key, bool fallback, bool *out)
{
    const cJSON *item = get(r, key);
    *out = item ? cJSON_IsTrue(item) : fallback;
    return !item || cJSON_IsBool(item) ? 0 : refuse(r, key, item, "true or false is needed");
}

static int read_number(const struct reader *r, const cJSON *item, const char *key, double *out)
{
    if (item && (!cJSON_IsNumber(item) || !json_read_double(item, out)))
        return refuse(r, key, item, "a number is needed");
    return 0;
}

static bool names_architecture(const cJSON *architectures)
{
    const cJSON *name;
    cJSON_ArrayForEach(name, architectures) {
        if (cJSON_IsString(name) && strcmp(name->valuestring, "GPTNeoXForCausalLM") == 0)
            return true;
    }
    return false;
}

static int check_architecture(const struct reader *r)
{
    const cJSON *type = get(r, "model_type"), *architectures = get(r, "architectures");
    if (!cJSON_IsString(type) || strcmp(type->valuestring, "gpt_neox") != 0)
        return refuse(r, "model_type", type, "only \"gpt_neox\" (GPT-NeoX, Pythia) can be read");
    if (architectures && !names_architecture(architectures))
        return refuse(r, "architectures", architectures, "only \"GPTNeoXForCausalLM\" can be read");
    return 0;
}

static int read_gelu(const struct reader *r, cJSON *model)
{
    static const char *const words[][2] = {
        {"gelu", "erf"}, {"gelu_new", "tanh"}, {"gelu_fast", "tanh"}, {"gelu_pytorch_tanh", "tanh"}};
    const cJSON *act = get(r, "hidden_act");
    const char *word = act ? cJSON_GetStringValue(act) : "gelu";
    for (size_t i = 0; word && i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i][0], word) == 0) {
            cJSON *ffn = cJSON_AddObjectToObject(model, "ffn");
            cJSON_AddStringToObject(ffn, "type", "gelu");
            cJSON_AddStringToObject(ffn, "gelu", words[i][1]);
            return 0;
        }
    return refuse(r, "hidden_act", act,
                  "gelu (exact) or gelu_new, gelu_fast, gelu_pytorch_tanh (the tanh form) can be read");
}

/* Positions are turned by base^(-2i/dims), and by nothing else. */
static int check_scaling(const struct reader *r, const char *key, const cJSON *rope)
{
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(rope, "rope_type");
    if (!type)
        type = cJSON_GetObjectItemCaseSensitive(rope, "type");
    if (rope && !cJSON_IsNull(rope) && !(cJSON_IsString(type) && strcmp(type->valuestring, "default") == 0))
        return refuse(r, key, rope, "scaled rotary embeddings cannot be read");
    return 0;
}

static int read_rotary(const struct reader *r, cJSON *model)
{
    const cJSON *rope = get(r, "rope_parameters");
    double pct = 0.25, base = 10000;
    int rc = check_scaling(r, "rope_scaling", get(r, "rope_scaling"));
    if (rc == 0)
        rc = check_scaling(r, "rope_parameters", rope);
    if (rc == 0)
        rc = read_number(r, get(r, "rotary_pct"), "rotary_pct", &pct);
    if (rc == 0)
        rc = read_number(r, get(r, "rotary_emb_base"), "rotary_emb_base", &base);
    if (rc == 0)
        rc = read_number(r, cJSON_GetObjectItemCaseSensitive(rope, "partial_rotary_factor"),
                         "rope_parameters.partial_rotary_factor", &pct);
    if (rc == 0)
        rc = read_number(r, cJSON_GetObjectItemCaseSensitive(rope, "rope_theta"), "rope_parameters.rope_theta", &base);
    json_add_double(model, "rotary_pct", pct);
    json_add_double(model, "rotary_base", base);
    return rc;
}

static int read_sizes(const struct reader *r, cJSON *model)
{
    static const char *const names[][2] = {{"hidden_size", "dim"},
                                           {"num_hidden_layers", "layers"},
                                           {"num_attention_heads", "heads"},
                                           {"vocab_size", "vocab"},
                                           {"intermediate_size", "d_ff"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t value;
        int rc = read_integer(r, names[i][0], 0, &value);
        if (rc != 0)
            return rc;
        json_add_int64(model, names[i][1], value);
    }
    return 0;
}

static int read_kind(const struct reader *r, cJSON *model)
{
    double eps = norm_eps;
    bool parallel = true, tied = false, bias = true;
    int rc = read_number(r, get(r, "layer_norm_eps"), "layer_norm_eps", &eps);
    if (rc == 0 && eps != norm_eps)
        rc = refuse(r, "layer_norm_eps", get(r, "layer_norm_eps"), "only 1e-05 can be read");
    if (rc == 0)
        rc = read_bool(r, "use_parallel_residual", true, &parallel);
    if (rc == 0)
        rc = read_bool(r, "tie_word_embeddings", false, &tied);
    if (rc == 0)
        rc = read_bool(r, "attention_bias", true, &bias);
    if (rc == 0 && !bias)
        rc = refuse(r, "attention_bias", get(r, "attention_bias"),
                    "only a model whose linear layers have biases can be read");
    cJSON_AddStringToObject(model, "norm", "layernorm");
    cJSON_AddNumberToObject(model, "norms", 2);
    cJSON_AddBoolToObject(model, "bias", true);
    cJSON_AddBoolToObject(model, "parallel_residual", parallel);
    cJSON_AddBoolToObject(model, "tie_embeddings", tied);
    return rc;
}

int neox_config_read(const char *text, size_t size, const char *what, cJSON **model, int64_t *positions,
                     struct err *err)
{
    static const struct json_limits limits = {.max_bytes = NEOX_CONFIG_MAX_BYTES, .max_depth = 16};
    cJSON *config;
    int rc = json_parse(text, size, &limits, what, &config, err);
    if (rc != 0)
        return rc;
    const struct reader r = {.config = config, .what = what, .err = err};
    cJSON *out = cJSON_CreateObject();
    rc = cJSON_IsObject(config) ? check_architecture(&r) : err_set(err, ERR_INVALID, "%s: no JSON object", what);
    if (rc == 0)
        rc = read_sizes(&r, out);
    if (rc == 0)
        rc = read_kind(&r, out);
    if (rc == 0)
        rc = read_gelu(&r, out);
    if (rc == 0)
        rc = read_rotary(&r, out);
    if (rc == 0)
        rc = read_integer(&r, "max_position_embeddings", 2048, positions);
    cJSON_Delete(config);
    if (rc == 0)
        *model = out;
    else
        cJSON_Delete(out);
    return rc;
}

static int cannot_express(struct err *err, const char *path, const char *why)
{
    return err_set_at(err, ERR_INVALID, path, "%s: GPT-NeoX cannot express this run: %s", path, why);
}

static int check_expressible(const struct spec *s, const struct plan *plan, struct err *err)
{
    if (s->model.norm != SPEC_NORM_LAYERNORM)
        return cannot_express(err, "model.norm", "it has layernorm");
    if (s->model.norms != 2)
        return cannot_express(err, "model.norms", "it has 2 a block");
    if (!s->model.bias)
        return cannot_express(err, "model.bias", "its linear layers and norms have biases");
    if (s->model.ffn.type != FFN_GELU)
        return cannot_express(err, "model.ffn.type", "its feed-forward layer is gelu");
    if (spec_memory_field(s))
        return cannot_express(err, spec_memory_field(s), "it has no memory and no pauses");
    /* transformers rounds down to a whole number, ours to an even one */
    if (plan->rotary_dims == 0 || (int64_t)((double)plan->head_dim * s->model.rotary_pct) != plan->rotary_dims)
        return cannot_express(err, "model.rotary_pct",
                              "it must rotate an even number of each head's dimensions, at least 2");
    return 0;
}

int neox_config_make(const struct spec *s, const struct plan *plan, cJSON **config, struct err *err)
{
    int rc = check_expressible(s, plan, err);
    if (rc != 0)
        return rc;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(cJSON_AddArrayToObject(o, "architectures"), cJSON_CreateString("GPTNeoXForCausalLM"));
    cJSON_AddStringToObject(o, "model_type", "gpt_neox");
    json_add_int64(o, "vocab_size", plan->vocab);
    json_add_int64(o, "hidden_size", s->model.dim);
    json_add_int64(o, "num_hidden_layers", s->model.layers);
    json_add_int64(o, "num_attention_heads", s->model.heads);
    json_add_int64(o, "intermediate_size", plan->d_ff);
    cJSON_AddStringToObject(o, "hidden_act", s->model.ffn.gelu == GELU_ERF ? "gelu" : "gelu_new");
    json_add_double(o, "rotary_pct", s->model.rotary_pct);
    json_add_double(o, "rotary_emb_base", s->model.rotary_base);
    json_add_int64(o, "max_position_embeddings", s->train.seq_len);
    json_add_double(o, "layer_norm_eps", norm_eps);
    cJSON_AddBoolToObject(o, "use_parallel_residual", s->model.parallel_residual);
    cJSON_AddBoolToObject(o, "attention_bias", true);
    cJSON_AddBoolToObject(o, "tie_word_embeddings", s->model.tie_embeddings);
    json_add_double(o, "attention_dropout", 0);
    json_add_double(o, "hidden_dropout", 0);
    cJSON_AddNullToObject(o, "bos_token_id");
    cJSON_AddNullToObject(o, "eos_token_id");
    cJSON_AddStringToObject(o, "torch_dtype", "float32");
    *config = o;
    return 0;
}
