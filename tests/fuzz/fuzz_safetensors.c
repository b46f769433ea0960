/* fuzz_safetensors.c: any bytes as a safetensors file. What is refused must say why on one line; of what is taken,
 * every tensor must lie within the file and be read, and the tensors must tile it.
 *
 * Most mutations of a length prefix are refused at once, so each input is also tried as a header with as many bytes of
 * data behind it as its first byte says.
 *
 * fuzz-sources: base/err.c base/json.c base/spare.c base/json_check.c worker/safetensors.c
 * fuzz-libs: -lcjson -lm
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "worker/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check(const void *bytes, size_t size)
{
    struct safetensors s;
    struct err err = {0};
    int rc = safetensors_parse(bytes, size, "t", &s, &err);
    require(rc == 0 || (err.code == (enum err_code) - rc && err.message[0] && !strchr(err.message, '\n')));
    if (rc != 0)
        return;
    size_t at = 0;
    float *numbers = malloc(2 * size + sizeof *numbers);
    for (int i = 0; i < s.count; i++) {
        const struct safetensors_tensor *t = &s.tensors[i];
        require(t->offset == at && t->bytes <= s.data_bytes - at && safetensors_find(&s, t->name) == t);
        at += t->bytes;
        safetensors_read_floats(&s, t, numbers);
    }
    require(at == s.data_bytes && s.data + at == (const unsigned char *)bytes + size);
    free(numbers);
    safetensors_finish(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(data, size);
    if (size < 2)
        return 0;
    size_t behind = data[0], header = size - 1;
    uint8_t *file = calloc(1, 8 + header + behind);
    require(file != NULL);
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)(header >> (8 * i));
    memcpy(file + 8, data + 1, header);
    check(file, 8 + header + behind);
    free(file);
    return 0;
}
