#include "cli/event_file.h"

#include <string.h>

enum { EVENT_MAX = EVENT_SCALARS_MAX * (EVENT_TAG_MAX + 128) + 64 };

/* Field numbers: event.proto, summary.proto, tensor.proto, tensor_shape.proto of TensorFlow. */
enum {
    EVENT_WALL_TIME = 1,
    EVENT_STEP = 2,
    EVENT_FILE_VERSION = 3,
    EVENT_SUMMARY = 5,
    SUMMARY_VALUE = 1,
    VALUE_TAG = 1,
    VALUE_TENSOR = 8,
    VALUE_METADATA = 9,
    TENSOR_DTYPE = 1,
    TENSOR_SHAPE = 2,
    TENSOR_CONTENT = 4,
    METADATA_PLUGIN_DATA = 1,
    METADATA_DATA_CLASS = 4,
    PLUGIN_NAME = 1,
};
enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2 };
enum { DT_DOUBLE = 2, DATA_CLASS_SCALAR = 1 };

struct message {
    unsigned char bytes[EVENT_MAX];
    size_t size;
};

/* By bytes: table[b] is the sum of the byte b alone. Made at its first use. */
uint32_t event_crc32c(const void *data, size_t size)
{
    static uint32_t table[256];
    const unsigned char *p = data;
    for (uint32_t n = 0; table[255] == 0 && n < 256; n++) {
        uint32_t sum = n;
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? UINT32_C(0x82f63b78) : 0);
        table[n] = sum;
    }
    uint32_t crc = ~UINT32_C(0);
    for (size_t i = 0; i < size; i++)
        crc = crc >> 8 ^ table[(crc ^ p[i]) & 0xff];
    return ~crc;
}

static uint32_t masked(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + UINT32_C(0xa282ead8);
}

static void put_little(unsigned char *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (unsigned char)(value >> 8 * i);
}

static void put_varint(struct message *m, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        m->bytes[m->size++] = (unsigned char)(value | 0x80);
    m->bytes[m->size++] = (unsigned char)value;
}

static void put_key(struct message *m, int field, int wire)
{
    put_varint(m, (uint64_t)(field << 3 | wire));
}

static void put_bytes(struct message *m, int field, const void *data, size_t size)
{
    put_key(m, field, WIRE_BYTES);
    put_varint(m, size);
    memcpy(m->bytes + m->size, data, size);
    m->size += size;
}

static void put_double(struct message *m, int field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(m, field, WIRE_FIXED64);
    put_little(m->bytes + m->size, bits, 8);
    m->size += 8;
}

static void put_int(struct message *m, int field, int64_t value)
{
    put_key(m, field, WIRE_VARINT);
    put_varint(m, (uint64_t)value);
}

static void put_record(FILE *out, const struct message *m)
{
    unsigned char head[12], foot[4];
    put_little(head, m->size, 8);
    put_little(head + 8, masked(event_crc32c(head, 8)), 4);
    put_little(foot, masked(event_crc32c(m->bytes, m->size)), 4);
    fwrite(head, 1, sizeof head, out);
    fwrite(m->bytes, 1, m->size, out);
    fwrite(foot, 1, sizeof foot, out);
}

void event_file_begin(FILE *out, double wall_time)
{
    static const char version[] = "brain.Event:2";
    struct message m = {.size = 0};
    put_double(&m, EVENT_WALL_TIME, wall_time);
    put_bytes(&m, EVENT_FILE_VERSION, version, sizeof version - 1);
    put_record(out, &m);
}

struct part {
    unsigned char bytes[EVENT_TAG_MAX + 128];
    size_t size;
};

/* A part is a small message; it is built in one of the large ones and copied. */
static struct part finish_part(const struct message *m)
{
    struct part p = {.size = m->size};
    memcpy(p.bytes, m->bytes, m->size);
    return p;
}

static struct part make_tensor(struct message *room, double value)
{
    unsigned char little[8];
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_little(little, bits, 8);
    room->size = 0;
    put_int(room, TENSOR_DTYPE, DT_DOUBLE);
    put_bytes(room, TENSOR_SHAPE, "", 0); /* no dimension: a scalar */
    put_bytes(room, TENSOR_CONTENT, little, sizeof little);
    return finish_part(room);
}

static struct part make_metadata(struct message *room)
{
    room->size = 0;
    put_bytes(room, PLUGIN_NAME, "scalars", 7);
    struct part plugin = finish_part(room);
    room->size = 0;
    put_bytes(room, METADATA_PLUGIN_DATA, plugin.bytes, plugin.size);
    put_int(room, METADATA_DATA_CLASS, DATA_CLASS_SCALAR);
    return finish_part(room);
}

static struct part make_value(struct message *room, const struct event_scalar *scalar)
{
    struct part tensor = make_tensor(room, scalar->value), metadata = make_metadata(room);
    room->size = 0;
    put_bytes(room, VALUE_TAG, scalar->tag, strnlen(scalar->tag, EVENT_TAG_MAX));
    put_bytes(room, VALUE_TENSOR, tensor.bytes, tensor.size);
    put_bytes(room, VALUE_METADATA, metadata.bytes, metadata.size);
    return finish_part(room);
}

void event_file_add(FILE *out, double wall_time, int64_t step, const struct event_scalar *scalars, size_t count)
{
    struct message event = {.size = 0}, summary = {.size = 0}, room = {.size = 0};
    for (size_t i = 0; i < count && i < EVENT_SCALARS_MAX; i++) {
        struct part value = make_value(&room, &scalars[i]);
        put_bytes(&summary, SUMMARY_VALUE, value.bytes, value.size);
    }
    put_double(&event, EVENT_WALL_TIME, wall_time);
    put_int(&event, EVENT_STEP, step);
    put_bytes(&event, EVENT_SUMMARY, summary.bytes, summary.size);
    put_record(out, &event);
}
