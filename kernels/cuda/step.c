/* step.c: see step.h. Errors of what runs on the GPU appear at the next wait; nothing is enqueued after the first. */
#include "kernels/cuda/step.h"

#include <stdlib.h>
#include <string.h>
#include "kernels/cuda/backend.h"

enum { ALIGNMENT = 16 };

struct call_head {
    cuda_operator_fn *run;
    const char *name; /* a literal: the same operator has the same pointer */
    size_t bytes;     /* of the args that follow, a multiple of ALIGNMENT */
    size_t unused;    /* the head is a multiple of ALIGNMENT too */
};

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void *grown(void *old, size_t bytes)
{
    void *p = realloc(old, bytes);
    if (!p)
        abort();
    return p;
}

static void calls_append(struct cuda_calls *l, cuda_operator_fn *run, const char *name, const void *args, size_t bytes)
{
    struct call_head head = {.run = run, .name = name, .bytes = aligned(bytes)};
    size_t need = l->used + sizeof head + head.bytes;
    if (need > l->room) {
        l->room = 2 * need;
        l->bytes = grown(l->bytes, l->room);
    }
    memcpy(l->bytes + l->used, &head, sizeof head);
    memset(l->bytes + l->used + sizeof head, 0, head.bytes);
    memcpy(l->bytes + l->used + sizeof head, args, bytes);
    l->used = need;
}

static void calls_run(struct cuda_backend *c, const struct cuda_calls *l)
{
    for (size_t at = 0; at < l->used && !c->failed;) {
        struct call_head head;
        memcpy(&head, l->bytes + at, sizeof head);
        c->operator_name = head.name;
        head.run(&c->base, l->bytes + at + sizeof head);
        at += sizeof head + head.bytes;
    }
}

static bool calls_equal(const struct cuda_calls *a, const struct cuda_calls *b)
{
    return a->used == b->used && memcmp(a->bytes, b->bytes, a->used) == 0;
}

void cuda_call(struct cuda_backend *c, cuda_operator_fn *run, const char *name, const void *args, size_t bytes)
{
    if (c->failed)
        return;
    if (c->steps.open) {
        calls_append(&c->steps.calls, run, name, args, bytes);
        return;
    }
    c->operator_name = name;
    run(&c->base, args);
}

static void graph_clear(struct cuda_graph *g)
{
    if (g->exec)
        cudaGraphExecDestroy(g->exec);
    free(g->calls.bytes);
    *g = (struct cuda_graph){0};
}

/* The place of this list of calls; one that is not known yet gets the place used longest ago. */
static struct cuda_graph *find_graph(struct cuda_steps *s)
{
    struct cuda_graph *oldest = &s->graphs[0];
    for (int i = 0; i < CUDA_GRAPHS; i++) {
        struct cuda_graph *g = &s->graphs[i];
        if (g->calls.used > 0 && calls_equal(&g->calls, &s->calls))
            return g;
        if (g->last_used < oldest->last_used)
            oldest = g;
    }
    graph_clear(oldest);
    return oldest;
}

static void capture(struct cuda_backend *c, struct cuda_graph *g)
{
    cudaGraph_t graph = NULL;
    if (!cuda_ok(c, cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeThreadLocal), "begin of the capture"))
        return;
    calls_run(c, &g->calls);
    cudaError_t ended = cudaStreamEndCapture(c->stream, &graph);
    if (cuda_ok(c, ended, "end of the capture") && !c->failed)
        cuda_ok(c, cudaGraphInstantiate(&g->exec, graph, 0), "making of the graph");
    if (graph)
        cudaGraphDestroy(graph);
}

static void run_step(struct cuda_backend *c)
{
    struct cuda_steps *s = &c->steps;
    struct cuda_graph *g = find_graph(s);
    g->last_used = s->begun;
    if (g->calls.used == 0) { /* modules are loaded and algorithms chosen now: neither may happen in a capture */
        g->calls.bytes = grown(NULL, s->calls.used);
        memcpy(g->calls.bytes, s->calls.bytes, s->calls.used);
        g->calls.used = g->calls.room = s->calls.used;
        calls_run(c, &g->calls);
        return;
    }
    if (!g->exec)
        capture(c, g);
    c->operator_name = "the step's graph";
    if (!c->failed)
        cuda_ok(c, cudaGraphLaunch(g->exec, c->stream), "launch");
}

static struct cuda_ring *ring_of(struct cuda_steps *s, int64_t step)
{
    return &s->rings[step % CUDA_STEPS_IN_FLIGHT];
}

/* Offset of `bytes` more of pinned memory. Growing happens in the first steps only, and waits for the GPU, which may
 * still read the old block. */
static bool ring_take(struct cuda_backend *c, struct cuda_ring *r, size_t bytes, size_t *at)
{
    size_t need = r->used + aligned(bytes);
    if (need > r->capacity) {
        unsigned char *more = NULL;
        size_t capacity = 2 * need < 4096 ? 4096 : 2 * need;
        if (!cuda_ok(c, cudaStreamSynchronize(c->stream), "wait") ||
            !cuda_ok(c, cudaMallocHost((void **)&more, capacity), "pinned memory"))
            return false;
        if (r->used)
            memcpy(more, r->pinned, r->used);
        cudaFreeHost(r->pinned);
        r->pinned = more;
        r->capacity = capacity;
    }
    *at = r->used;
    r->used = need;
    return true;
}

void cuda_step_begin(struct backend *b, const struct step_values *values)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    struct cuda_steps *s = &c->steps;
    if (s->open || s->begun - s->waited >= CUDA_STEPS_IN_FLIGHT) {
        cuda_fail(b, ERR_INTERNAL, "step_begin", "a step is open, or too many are outstanding");
        return;
    }
    s->open = true;
    s->begun++;
    s->calls.used = 0;
    c->step = values->step;
    struct cuda_ring *r = ring_of(s, s->begun);
    r->used = 0;
    r->download_count = 0;
    const struct cuda_step_values device = {.lr = values->lr, .loss_scale = values->loss_scale};
    cuda_upload(b, c->values, &device, sizeof device);
}

void cuda_step_end(struct backend *b)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    struct cuda_steps *s = &c->steps;
    if (!s->open)
        return;
    s->open = false;
    if (!c->failed)
        run_step(c);
    struct cuda_ring *r = ring_of(s, s->begun);
    c->operator_name = "step_end";
    for (int i = 0; i < r->download_count && !c->failed; i++) {
        const struct cuda_download *d = &r->downloads[i];
        cuda_ok(c, cudaMemcpyAsync(r->pinned + d->at, d->from, d->bytes, cudaMemcpyDeviceToHost, c->stream),
                "download");
    }
    if (!c->failed)
        cuda_ok(c, cudaEventRecord(r->done, c->stream), "event");
}

static int told(const struct cuda_backend *c, struct err *err)
{
    if (!c->failed)
        return 0;
    if (err)
        *err = c->error;
    return -(int)c->error.code;
}

int cuda_step_wait(struct backend *b, struct err *err)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    struct cuda_steps *s = &c->steps;
    if (s->waited == s->begun)
        return told(c, err);
    struct cuda_ring *r = ring_of(s, ++s->waited);
    if (c->failed || !cuda_ok(c, cudaEventSynchronize(r->done), "wait"))
        return told(c, err);
    for (int i = 0; i < r->download_count; i++)
        memcpy(r->downloads[i].to, r->pinned + r->downloads[i].at, r->downloads[i].bytes);
    return 0;
}

void cuda_upload(struct backend *b, void *dst, const void *host_src, size_t bytes)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    if (c->failed)
        return;
    c->operator_name = "upload";
    if (c->steps.open) {
        struct cuda_ring *r = ring_of(&c->steps, c->steps.begun);
        size_t at;
        if (!ring_take(c, r, bytes, &at))
            return;
        memcpy(r->pinned + at, host_src, bytes);
        host_src = r->pinned + at;
    }
    cuda_ok(c, cudaMemcpyAsync(dst, host_src, bytes, cudaMemcpyHostToDevice, c->stream), "copy");
}

void cuda_download(struct backend *b, void *host_dst, const void *src, size_t bytes)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    if (c->failed)
        return;
    c->operator_name = "download";
    if (!c->steps.open) {
        cuda_ok(c, cudaMemcpyAsync(host_dst, src, bytes, cudaMemcpyDeviceToHost, c->stream), "copy");
        return;
    }
    struct cuda_ring *r = ring_of(&c->steps, c->steps.begun);
    struct cuda_download d = {.to = host_dst, .from = src, .bytes = bytes};
    if (!ring_take(c, r, bytes, &d.at))
        return;
    if (r->download_count == r->download_room) {
        r->download_room = 2 * r->download_room + 4;
        r->downloads = grown(r->downloads, (size_t)r->download_room * sizeof *r->downloads);
    }
    r->downloads[r->download_count++] = d;
}

struct zero_args {
    void *dst;
    size_t bytes;
};

static void run_zero(struct backend *b, const void *args)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    const struct zero_args *a = args;
    cuda_ok(c, cudaMemsetAsync(a->dst, 0, a->bytes, c->stream), "memset");
}

void cuda_zero(struct backend *b, void *dst, size_t bytes)
{
    cuda_call((struct cuda_backend *)b, run_zero, "zero", &(struct zero_args){dst, bytes}, sizeof(struct zero_args));
}

int cuda_sync(struct backend *b, struct err *err)
{
    struct cuda_backend *c = (struct cuda_backend *)b;
    c->operator_name = "sync";
    if (!c->failed)
        cuda_ok(c, cudaStreamSynchronize(c->stream), "wait");
    return told(c, err);
}

int cuda_steps_init(struct cuda_steps *s, struct err *err)
{
    for (int i = 0; i < CUDA_STEPS_IN_FLIGHT; i++) {
        cudaError_t rc = cudaEventCreateWithFlags(&s->rings[i].done, cudaEventDisableTiming | cudaEventBlockingSync);
        if (rc != cudaSuccess)
            return err_set(err, ERR_UNAVAILABLE, "the GPU makes no event: %s", cudaGetErrorString(rc));
    }
    return 0;
}

void cuda_steps_finish(struct cuda_steps *s)
{
    for (int i = 0; i < CUDA_GRAPHS; i++)
        graph_clear(&s->graphs[i]);
    for (int i = 0; i < CUDA_STEPS_IN_FLIGHT; i++) {
        cudaFreeHost(s->rings[i].pinned);
        free(s->rings[i].downloads);
        if (s->rings[i].done)
            cudaEventDestroy(s->rings[i].done);
    }
    free(s->calls.bytes);
}
