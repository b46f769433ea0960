/* model_text.c: a model that reads one text. The rows of q, k and v that forward leaves for backward serve as the cache
 * of keys and values: a further position is one more row, and attention_next looks back over all. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "worker/model_parts.h"

static void to_floats(const void *from, enum dtype dtype, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i++) {
        if (dtype == DTYPE_F32) {
            to[i] = ((const float *)from)[i];
        } else if (dtype == DTYPE_F64) {
            to[i] = (float)((const double *)from)[i];
        } else {
            uint32_t bits = (uint32_t)((const uint16_t *)from)[i] << 16;
            memcpy(&to[i], &bits, sizeof bits);
        }
    }
}

/* The head's answer to the last position in work. */
static int read_logits(struct model *m, float *logits, struct err *err)
{
    size_t element = dtype_size(m->backend->storage);
    int64_t last = m->rows - 1, vocab = m->plan->vocab;
    struct linear head = {.weight = m->head, .in = m->spec->model.dim, .out = vocab};
    void *host = malloc((size_t)vocab * element);
    if (!host)
        abort();
    m->rows = 1;
    linear_apply(m, &head, (unsigned char *)m->stream_rows + (size_t)(last * head.in) * element, m->logits);
    m->ops->download(m->backend, host, m->logits, (size_t)vocab * element);
    int rc = m->ops->sync(m->backend, err);
    if (rc == 0)
        to_floats(host, m->backend->storage, vocab, logits);
    free(host);
    return rc;
}

static int read_positions(struct model *m, const int32_t *tokens, int64_t n, float *logits, struct err *err)
{
    assert(m->plan->recompute == RECOMPUTE_NONE && !m->first && n >= 1 && m->read + n <= m->spec->train.seq_len);
    assert(window_is_plain(m->plan) && m->plan->xl_len == 0);
    m->batch = 1;
    m->seq = m->rows = n;
    m->begin = 0;
    m->ops->upload(m->backend, m->tokens, tokens, (size_t)n * sizeof *tokens);
    model_run_layers(m, 0);
    int rc = read_logits(m, logits, err);
    m->read += n;
    return rc;
}

int model_read(struct model *m, const int32_t *tokens, int64_t n, float *logits, struct err *err)
{
    m->read = 0;
    return read_positions(m, tokens, n, logits, err);
}

int model_read_next(struct model *m, int32_t token, float *logits, struct err *err)
{
    return read_positions(m, &token, 1, logits, err);
}
