/* sgd.cu: stochastic gradient descent, with momentum or without; also what LOMO does to one tensor at a time. */
#include "kernels/cuda/optimizer_list.cuh"

static __global__ void prepare_sgd(const update_inputs in, struct update *out)
{
    *out = begin_update(in);
}

struct sgd_rule {
    static const bool M = false, V = false;

    __device__ __forceinline__ void operator()(float *p, float grad, float *, float *, const update &u,
                                               float keep) const
    {
        *p = *p * keep - u.rate * (grad * u.clip);
    }
};

struct momentum_rule {
    static const bool M = true, V = false;
    float momentum;

    __device__ __forceinline__ void operator()(float *p, float grad, float *m, float *, const update &u,
                                               float keep) const
    {
        *m = momentum * *m + grad * u.clip;
        *p = *p * keep - u.rate * *m;
    }
};

extern "C" void cuda_sgd(struct backend *b, const struct sgd_args *a)
{
    if (cuda_failed(b))
        return;
    struct update *u = (struct update *)cuda_workspace(b, sizeof *u);
    if (!u)
        return;
    const update_inputs in = {a->norm, cuda_values(b), a->updates, a->clip, a->weight_decay};
    prepare_sgd<<<1, 1, 0, cuda_stream(b)>>>(in, u);
    if (a->momentum > 0)
        update_all(b, a->tensors, a->count, u, momentum_rule{(float)a->momentum}, "sgd");
    else
        update_all(b, a->tensors, a->count, u, sgd_rule{}, "sgd");
}
