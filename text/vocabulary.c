/* vocabulary.c: texts in one growing block, an array by id, and an open-addressed table of ids by the text's hash. */
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "text/hash.h"

struct entry {
    size_t at;     /* in texts */
    uint32_t size; /* of the text, its NUL not counted */
    bool used;
};

struct vocabulary {
    char *texts;
    size_t texts_size, texts_capacity;
    struct entry *entries; /* by id */
    int32_t end, capacity, count;
    int32_t *slots; /* -1: free */
    size_t slot_count;
};

enum { SLOTS_AT_FIRST = 1 << 10 };

static void *resize(void *old, size_t count, size_t size)
{
    void *p = reallocarray(old, count, size);
    if (!p)
        abort();
    return p;
}

static void clear_slots(struct vocabulary *v, size_t count)
{
    v->slots = resize(v->slots, count, sizeof *v->slots);
    memset(v->slots, 0xff, count * sizeof *v->slots);
    v->slot_count = count;
}

struct vocabulary *vocabulary_create(void)
{
    struct vocabulary *v = calloc(1, sizeof *v);
    if (!v)
        abort();
    clear_slots(v, SLOTS_AT_FIRST);
    return v;
}

void vocabulary_destroy(struct vocabulary *v)
{
    if (!v)
        return;
    free(v->texts);
    free(v->entries);
    free(v->slots);
    free(v);
}

/* The slot that holds the text, or the free one where it belongs. */
static size_t slot_of(const struct vocabulary *v, const char *text, size_t size)
{
    size_t slot = hash_bytes(text, size) & (v->slot_count - 1);
    for (; v->slots[slot] >= 0; slot = (slot + 1) & (v->slot_count - 1)) {
        const struct entry *e = &v->entries[v->slots[slot]];
        if (e->size == size && memcmp(v->texts + e->at, text, size) == 0)
            break;
    }
    return slot;
}

static void grow_slots(struct vocabulary *v)
{
    clear_slots(v, v->slot_count * 2);
    for (int32_t id = 0; id < v->end; id++)
        if (v->entries[id].used)
            v->slots[slot_of(v, v->texts + v->entries[id].at, v->entries[id].size)] = id;
}

static void reserve_id(struct vocabulary *v, int32_t id)
{
    if (id >= v->capacity) {
        int32_t capacity = id < 512 ? 1024 : id > INT32_MAX / 2 ? INT32_MAX : id * 2;
        v->entries = resize(v->entries, (size_t)capacity, sizeof *v->entries);
        memset(v->entries + v->capacity, 0, (size_t)(capacity - v->capacity) * sizeof *v->entries);
        v->capacity = capacity;
    }
    if (id >= v->end)
        v->end = id + 1;
}

bool vocabulary_add(struct vocabulary *v, const char *text, size_t size, int32_t id)
{
    if (id < 0 || id == INT32_MAX || (id < v->end && v->entries[id].used))
        return false;
    if ((size_t)v->count * 2 >= v->slot_count)
        grow_slots(v);
    size_t slot = slot_of(v, text, size);
    if (v->slots[slot] >= 0)
        return false;
    reserve_id(v, id);
    if (v->texts_size + size + 1 > v->texts_capacity) {
        v->texts_capacity = (v->texts_size + size + 1) * 2;
        v->texts = resize(v->texts, v->texts_capacity, 1);
    }
    memcpy(v->texts + v->texts_size, text, size);
    v->texts[v->texts_size + size] = '\0';
    v->entries[id] = (struct entry){.at = v->texts_size, .size = (uint32_t)size, .used = true};
    v->texts_size += size + 1;
    v->slots[slot] = id;
    v->count++;
    return true;
}

int32_t vocabulary_find(const struct vocabulary *v, const char *text, size_t size)
{
    return v->slots[slot_of(v, text, size)];
}

const char *vocabulary_text(const struct vocabulary *v, int32_t id, size_t *size)
{
    if (id < 0 || id >= v->end || !v->entries[id].used)
        return NULL;
    *size = v->entries[id].size;
    return v->texts + v->entries[id].at;
}

int32_t vocabulary_count(const struct vocabulary *v)
{
    return v->count;
}

int32_t vocabulary_end(const struct vocabulary *v)
{
    return v->end;
}
