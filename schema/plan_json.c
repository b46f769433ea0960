/* plan_json.c: a plan as people and the API read it. */
#include "schema/plan.h"

#include <stdio.h>
#include "base/json.h"
#include "schema/spec_fields.h"

const char *plan_class_word(enum plan_class class)
{
    static const char *const words[PLAN_CLASSES] = {
        [PLAN_PARAMETERS] = "parameters", [PLAN_COPIES] = "parameter_copies", [PLAN_GRADIENTS] = "gradients",
        [PLAN_MOMENTS] = "moments",       [PLAN_ACTIVATIONS] = "activations", [PLAN_LOGITS] = "logits",
        [PLAN_INPUTS] = "inputs",         [PLAN_MEMORY] = "memory",           [PLAN_SCALARS] = "scalars",
        [PLAN_WORKSPACE] = "workspace",
    };
    return words[class];
}

const char *plan_recompute_word(enum spec_recompute recompute)
{
    return spec_field_find("train.recompute")->words[recompute];
}

void plan_say_needs(const struct plan *p, char *out, size_t size)
{
    int largest = 0, second = 1;
    for (int c = 1; c < PLAN_CLASSES; c++) {
        if (p->bytes.by_class[c] > p->bytes.by_class[largest]) {
            second = largest;
            largest = c;
        } else if (p->bytes.by_class[c] > p->bytes.by_class[second]) {
            second = c;
        }
    }
    snprintf(out, size, "%.0f MiB, %s %.0f MiB, %s %.0f MiB", (double)p->bytes.total / 0x1p20,
             plan_class_word((enum plan_class)largest), (double)p->bytes.by_class[largest] / 0x1p20,
             plan_class_word((enum plan_class)second), (double)p->bytes.by_class[second] / 0x1p20);
}

cJSON *plan_to_json(const struct plan *p)
{
    cJSON *json = cJSON_CreateObject();
    json_add_int64(json, "params", p->params);
    json_add_int64(json, "params_non_embedding", p->params_non_embedding);
    json_add_double(json, "flops_per_token", p->flops_per_token);
    json_add_int64(json, "micro_batch", p->micro_batch);
    cJSON_AddStringToObject(json, "recompute", plan_recompute_word(p->recompute));
    json_add_int64(json, "d_ff", p->d_ff);
    json_add_int64(json, "vocab", p->vocab);
    cJSON *bytes = cJSON_AddObjectToObject(json, "bytes");
    json_add_int64(bytes, "total", (int64_t)p->bytes.total);
    json_add_int64(bytes, "arena", (int64_t)p->bytes.arena);
    json_add_int64(bytes, "context", (int64_t)p->bytes.context);
    for (int c = 0; c < PLAN_CLASSES; c++)
        json_add_int64(bytes, plan_class_word((enum plan_class)c), (int64_t)p->bytes.by_class[c]);
    return json;
}
