#include "fake_model.h"

#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "worker/journal_writer.h"
#include "worker/model.h"

int fake_journal_syncs, fake_journal_fails;

int model_state_count(const struct model *m)
{
    (void)m;
    return FAKE_TENSORS;
}

void model_state_tensor(const struct model *m, int index, struct model_tensor *out)
{
    static const char *const names[FAKE_TENSORS] = {"a.weight", "a.weight.m", "b.bias"};
    *out = (struct model_tensor){.rows = m->rows[index], .cols = m->cols[index], .dtype = DTYPE_F32};
    snprintf(out->name, sizeof out->name, "%s", names[index]);
    out->bytes = (size_t)(out->rows * out->cols) * sizeof(float);
}

int model_read_state(struct model *m, int index, void *host_dst, struct err *err)
{
    (void)err;
    memcpy(host_dst, m->data[index], (size_t)(m->rows[index] * m->cols[index]) * sizeof(float));
    return 0;
}

int model_write_state(struct model *m, int index, const void *host_src, struct err *err)
{
    (void)err;
    m->writes++;
    memcpy(m->data[index], host_src, (size_t)(m->rows[index] * m->cols[index]) * sizeof(float));
    return 0;
}

int model_write_updates(struct model *m, int64_t updates, struct err *err)
{
    (void)err;
    m->updates = updates;
    return 0;
}

int journal_writer_sync(struct journal_writer *w, struct err *err)
{
    (void)w;
    if (fake_journal_fails) {
        fake_journal_fails = 0;
        return err_set(err, ERR_IO, "the journal cannot be synced");
    }
    fake_journal_syncs++;
    return 0;
}
