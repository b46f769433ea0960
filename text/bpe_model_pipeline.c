/* bpe_model_pipeline.c: what tokenizer.json says of the way from text to words and back. */
#include "text/bpe_model_parts.h"

#include <stdio.h>
#include <string.h>

#include "text/split_pattern.h"

static bool is_type(const cJSON *object, const char *type)
{
    const char *given = bpe_type_of(object);
    return given && strcmp(given, type) == 0;
}

static bool is_null(const cJSON *item)
{
    return !item || cJSON_IsNull(item);
}

/* "X is not supported", with what there is in place of a type. */
static int refuse_type(const struct bpe_reader *r, const cJSON *item, const char *path, const char *supported)
{
    const char *type = bpe_type_of(item);
    return bpe_refuse(r, path, "%.60s is not supported; %s",
                      type            ? type
                      : is_null(item) ? "null"
                                      : "no type",
                      supported);
}

static int read_normalizer(const struct bpe_reader *r, const cJSON *item)
{
    static const char *const keys[] = {"type", NULL};
    if (is_null(item))
        return 0;
    if (!is_type(item, "NFC"))
        return refuse_type(r, item, "normalizer", "null and NFC are");
    r->model->nfc = true;
    return bpe_check_keys(r, item, "normalizer", keys);
}

static int read_byte_level(const struct bpe_reader *r, const cJSON *item, const char *path, bool *use_regex)
{
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    bool trim_offsets; /* about places in the text, not about ids */
    *use_regex = true;
    int rc = bpe_check_keys(r, item, path, keys);
    if (!rc && !cJSON_HasObjectItem(item, "add_prefix_space"))
        rc = bpe_refuse(r, path, "add_prefix_space is missing");
    if (!rc)
        rc = bpe_read_bool(r, item, path, "add_prefix_space", &r->model->add_prefix_space);
    if (!rc)
        rc = bpe_read_bool(r, item, path, "trim_offsets", &trim_offsets);
    return rc ? rc : bpe_read_bool(r, item, path, "use_regex", use_regex);
}

static int refuse_pattern(const struct bpe_reader *r, const char *path)
{
    char known[120] = "";
    const struct split_pattern *p;
    for (size_t i = 0; (p = split_pattern_at(i)); i++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", p->name);
    return bpe_refuse(r, path, "an expression that this version does not know; it knows those of %s", known);
}

/* A word is what the expression matches: matches isolated, or all that is no match removed, which is nothing. */
static int read_split(const struct bpe_reader *r, const cJSON *item, const char *path)
{
    static const char *const keys[] = {"type", "pattern", "behavior", "invert", NULL};
    char where[120];
    bool invert = false;
    int rc = bpe_check_keys(r, item, path, keys);
    if (!rc)
        rc = bpe_read_bool(r, item, path, "invert", &invert);
    if (rc)
        return rc;
    const char *behavior = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "behavior"));
    if (!behavior || strcmp(behavior, invert ? "Removed" : "Isolated") != 0) {
        snprintf(where, sizeof where, "%s.behavior", path);
        return bpe_refuse(r, where, "Isolated with invert false or Removed with invert true is needed");
    }
    snprintf(where, sizeof where, "%s.pattern.Regex", path);
    const cJSON *pattern = cJSON_GetObjectItemCaseSensitive(item, "pattern");
    const char *regex = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(pattern, "Regex"));
    r->model->pattern = regex ? split_pattern_find(regex) : NULL;
    return r->model->pattern ? 0 : refuse_pattern(r, where);
}

static int read_sequence(const struct bpe_reader *r, const cJSON *item)
{
    static const char *const keys[] = {"type", "pretokenizers", NULL};
    const char *const path = "pre_tokenizer.pretokenizers";
    int rc = bpe_check_keys(r, item, "pre_tokenizer", keys);
    if (rc)
        return rc;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(item, "pretokenizers");
    const cJSON *split = cJSON_GetArrayItem(list, 0), *bytes = cJSON_GetArrayItem(list, 1);
    if (cJSON_GetArraySize(list) != 2 || !is_type(split, "Split") || !is_type(bytes, "ByteLevel"))
        return bpe_refuse(r, path, "Split, then ByteLevel is the only sequence that is supported");
    bool use_regex;
    rc = read_split(r, split, "pre_tokenizer.pretokenizers[0]");
    if (!rc)
        rc = read_byte_level(r, bytes, "pre_tokenizer.pretokenizers[1]", &use_regex);
    if (!rc && (use_regex || r->model->add_prefix_space))
        rc = bpe_refuse(r, "pre_tokenizer.pretokenizers[1]",
                        "behind Split, use_regex and add_prefix_space must be false");
    return rc;
}

static int read_pre_tokenizer(const struct bpe_reader *r, const cJSON *item)
{
    if (is_type(item, "Sequence"))
        return read_sequence(r, item);
    if (!is_type(item, "ByteLevel"))
        return refuse_type(r, item, "pre_tokenizer", "ByteLevel and Sequence of Split and ByteLevel are");
    bool use_regex;
    int rc = read_byte_level(r, item, "pre_tokenizer", &use_regex);
    r->model->pattern = split_pattern_gpt2;
    if (!rc && !use_regex)
        rc = bpe_refuse(r, "pre_tokenizer.use_regex", "false is supported behind a Split only");
    return rc;
}

/* Post-processors put special tokens around an input, which a data set does not have, or trim offsets. */
static int read_post_processor(const struct bpe_reader *r, const cJSON *item, const char *path)
{
    static const char *const supported = "null, ByteLevel, TemplateProcessing and Sequence of them are";
    if (is_null(item) || is_type(item, "ByteLevel") || is_type(item, "TemplateProcessing"))
        return 0;
    if (!is_type(item, "Sequence"))
        return refuse_type(r, item, path, supported);
    const cJSON *each;
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(item, "processors"))
        if (!is_type(each, "ByteLevel") && !is_type(each, "TemplateProcessing"))
            return refuse_type(r, each, "post_processor.processors", supported);
    return 0;
}

int bpe_read_pipeline(const struct bpe_reader *r, const cJSON *root)
{
    int rc = read_normalizer(r, cJSON_GetObjectItemCaseSensitive(root, "normalizer"));
    if (!rc)
        rc = read_pre_tokenizer(r, cJSON_GetObjectItemCaseSensitive(root, "pre_tokenizer"));
    if (!rc)
        rc = read_post_processor(r, cJSON_GetObjectItemCaseSensitive(root, "post_processor"), "post_processor");
    const cJSON *decoder = cJSON_GetObjectItemCaseSensitive(root, "decoder");
    if (!rc && !is_type(decoder, "ByteLevel"))
        rc = refuse_type(r, decoder, "decoder", "ByteLevel is");
    return rc;
}
