/* spec_names.c: names in messages: made printable, and the nearest known one for a name that is not known. */
#include "schema/spec_names.h"

#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "schema/spec_fields.h"

enum { COMPARED = 48 }; /* characters of a name that the distance looks at */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits (insert, delete, replace, swap of neighbours) from a to b: "optimal string alignment". */
static size_t edit_distance(const char *a, size_t a_size, const char *b, size_t b_size)
{
    size_t row[3][COMPARED + 1];
    a_size = least(a_size, COMPARED);
    b_size = least(b_size, COMPARED);
    for (size_t j = 0; j <= b_size; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *before2 = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t cost = a[i - 1] != b[j - 1];
            now[j] = least(least(before[j], now[j - 1]) + 1, before[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before2[j - 2] + 1);
        }
    }
    return row[a_size % 3][b_size];
}

/* May `word` be meant to be `known`? When few edits part them, or when it is its beginning ("pythia"). */
static bool near_enough(const char *word, const char *known, size_t distance)
{
    size_t size = strlen(known), typed = strlen(word);
    if (typed >= 3 && strncmp(word, known, typed) == 0)
        return true;
    return distance <= (size <= 5 ? 1 : size / 3) && distance < size;
}

const char *spec_nearest_word(const char *word, const char *const *words)
{
    const char *best = NULL;
    size_t best_distance = 0, size = strlen(word);
    for (; *words; words++) {
        size_t distance = edit_distance(word, size, *words, strlen(*words));
        if (near_enough(word, *words, distance) && (!best || distance < best_distance)) {
            best = *words;
            best_distance = distance;
        }
    }
    return best;
}

const char *spec_printable(const char *text, char *out, size_t size)
{
    size_t n = strlen(text), limit = size - 4;
    bool cut = n > size - 1;
    if (cut) {
        n = limit;
        while (n && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
    memcpy(out + n, cut ? "..." : "", cut ? 4 : 1);
    return out;
}

/* Last component of a path and the length of what stands before it. */
static const char *last_component(const char *path, size_t *parent_size)
{
    const char *dot = strrchr(path, '.');
    *parent_size = dot ? (size_t)(dot - path) : 0;
    return dot ? dot + 1 : path;
}

/* The nearest known path: first by its last component, then by the group it stands in, so that "model.lr" finds
 * "train.optimizer.lr" and "model.fnn.type" finds "model.ffn.type". */
static void nearest_path(const char *path, char *out, size_t size)
{
    size_t parent_size, best = SIZE_MAX;
    const char *last = last_component(path, &parent_size);
    out[0] = 0;
    for (int i = 0; i < spec_field_count; i++) {
        const char *known = spec_fields[i].path;
        /* each prefix of a known path is a group and may be what was meant */
        for (const char *end = known; end; end = *end ? end : NULL) {
            end += strcspn(end, ".");
            char candidate[96];
            snprintf(candidate, sizeof candidate, "%.*s", (int)(end - known), known);
            size_t known_parent;
            const char *known_last = last_component(candidate, &known_parent);
            size_t distance = edit_distance(last, strlen(last), known_last, strlen(known_last));
            if (near_enough(last, known_last, distance)) {
                size_t score = 16 * distance + edit_distance(path, parent_size, candidate, known_parent);
                if (score < best) {
                    best = score;
                    snprintf(out, size, "%s", candidate);
                }
            }
            if (!*end)
                break;
            end++;
        }
    }
}

/* "dim, layers, ffn": what a group holds. */
static void list_group(const char *group, char *out, size_t size)
{
    const char *previous = NULL;
    size_t used = 0, previous_size = 0, n;
    out[0] = 0;
    for (int i = 0; i < spec_field_count; i++) {
        const char *at = spec_path_in_group(spec_fields[i].path, group, &n);
        if (!at || (previous && n == previous_size && memcmp(at, previous, n) == 0))
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s%.*s", used ? ", " : "", (int)n, at);
        if (used >= size)
            return;
        previous = at;
        previous_size = n;
    }
}

int spec_refuse_unknown(const char *path, struct err *err)
{
    char shown[120], near[96], group[120], known[400];
    size_t parent_size;
    spec_printable(path, shown, sizeof shown);
    nearest_path(path, near, sizeof near);
    if (near[0])
        return err_set_at(err, ERR_INVALID, shown, "%s is not a field; did you mean %s?", shown, near);
    last_component(path, &parent_size);
    snprintf(group, sizeof group, "%.*s", (int)least(parent_size, sizeof group - 1), path);
    if (!spec_group_exists(group))
        group[0] = 0;
    list_group(group, known, sizeof known);
    return err_set_at(err, ERR_INVALID, shown, "%s is not a field; %s has %s", shown, group[0] ? group : "a spec",
                      known);
}
