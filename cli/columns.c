#include "cli/columns.h"

#include <math.h>
#include <string.h>
#include "base/json.h"

static bool is_whole(const char *column)
{
    return strcmp(column, "step") == 0 || strcmp(column, "tokens") == 0;
}

static void print_value(const struct columns *c, const char *column, const cJSON *value)
{
    int64_t whole;
    double real;
    if (cJSON_IsNull(value)) {
        fputs(c->json ? "null" : "", c->out);
    } else if (is_whole(column) && json_read_int64(value, &whole)) {
        fprintf(c->out, "%lld", (long long)whole);
    } else if (json_read_double(value, &real)) {
        char text[JSON_NUMBER_SIZE];
        json_number_text17(real, text);
        fprintf(c->out, c->json && !isfinite(real) ? "\"%s\"" : "%s", text);
    } else if (cJSON_IsString(value)) { /* a split's name: letters only */
        fprintf(c->out, c->json ? "\"%s\"" : "%s", value->valuestring);
    }
}

static void print_header(struct columns *c, const cJSON *names)
{
    c->started = true;
    if (c->json) {
        if (!c->lines)
            putc('[', c->out);
        return;
    }
    const cJSON *name;
    cJSON_ArrayForEach(name, names)
        fprintf(c->out, "%s%s", name == names->child ? "" : ",", name->valuestring);
    putc('\n', c->out);
}

void columns_print_page(struct columns *c, const cJSON *page)
{
    const cJSON *names = cJSON_GetObjectItemCaseSensitive(page, "columns"), *row;
    const cJSON *name;
    cJSON_ArrayForEach(name, names)
        if (!cJSON_IsString(name))
            return;
    if (!c->started)
        print_header(c, names);
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(page, "rows")) {
        if (c->json)
            fputs(c->lines ? "{" : c->rows ? ",\n{" : "\n{", c->out);
        const cJSON *value = row->child;
        name = names ? names->child : NULL;
        for (; value && name; value = value->next, name = name->next) {
            if (value != row->child)
                putc(',', c->out);
            if (c->json)
                fprintf(c->out, "\"%s\":", name->valuestring);
            print_value(c, name->valuestring, value);
        }
        fputs(!c->json ? "\n" : c->lines ? "}\n" : "}", c->out);
        c->rows++;
    }
}

void columns_end(struct columns *c, const char *names)
{
    if (!c->started && !c->json)
        fprintf(c->out, "%s\n", names);
    if (c->json && !c->lines)
        fputs(!c->started ? "[]\n" : c->rows ? "\n]\n" : "]\n", c->out);
}
