/* adamw.cu: AdamW over all tensors of a model at once. */
#include "kernels/cuda/optimizer_list.cuh"

#include "kernels/cuda/pointwise.h"

struct adamw_inputs {
    update_inputs common;
    double beta1, beta2, lr_factor;
};

static __global__ void prepare_adamw(const adamw_inputs in, struct update *out)
{
    struct update u = begin_update(in.common);
    const double t = (double)*in.common.updates, lr = in.common.values->lr * in.lr_factor;
    u.keep = (float)(1.0 - lr * in.common.weight_decay);
    u.rate = (float)(lr / (1.0 - pow(in.beta1, t)));
    u.root = (float)(1.0 / sqrt(1.0 - pow(in.beta2, t)));
    *out = u;
}

struct adamw_rule {
    static const bool M = true, V = true;
    float beta1, rest1, beta2, rest2, eps;

    __device__ __forceinline__ void operator()(float *p, float grad, float *m, float *v, const update &u,
                                               float keep) const
    {
        const float g = grad * u.clip;
        *m = beta1 * *m + rest1 * g;
        *v = beta2 * *v + rest2 * (g * g);
        *p = *p * keep - u.rate * (*m / (sqrtf(*v) * u.root + eps));
    }
};

extern "C" size_t cuda_adamw_bytes(void)
{
    return sizeof(struct update);
}

extern "C" void cuda_adamw(struct backend *b, const struct adamw_args *a)
{
    if (cuda_failed(b))
        return;
    struct update *u = (struct update *)cuda_workspace(b, cuda_adamw_bytes());
    if (!u)
        return;
    const adamw_inputs in = {
        {a->norm, cuda_values(b), a->updates, a->clip, a->weight_decay}, a->beta1, a->beta2, a->lr_factor};
    const adamw_rule rule = {(float)a->beta1, (float)(1 - a->beta1), (float)a->beta2, (float)(1 - a->beta2),
                             (float)a->eps};
    prepare_adamw<<<1, 1, 0, cuda_stream(b)>>>(in, u);
    update_all(b, a->tensors, a->count, u, rule, "adamw");
}
