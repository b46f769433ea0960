/* lion.cu: Lion over all tensors of a model at once. */
#include "kernels/cuda/optimizer_list.cuh"

static __global__ void prepare_lion(const update_inputs in, struct update *out)
{
    *out = begin_update(in);
}

struct lion_rule {
    static const bool M = true, V = false;
    float beta1, rest1, beta2, rest2;

    __device__ __forceinline__ void operator()(float *p, float grad, float *m, float *, const update &u,
                                               float keep) const
    {
        const float g = grad * u.clip, towards = beta1 * *m + rest1 * g;
        const float sign = (towards > 0 ? 1.0f : 0.0f) - (towards < 0 ? 1.0f : 0.0f);
        *p = *p * keep - u.rate * sign;
        *m = beta2 * *m + rest2 * g;
    }
};

extern "C" void cuda_lion(struct backend *b, const struct lion_args *a)
{
    if (cuda_failed(b))
        return;
    struct update *u = (struct update *)cuda_workspace(b, sizeof *u);
    if (!u)
        return;
    const update_inputs in = {a->norm, cuda_values(b), a->updates, a->clip, a->weight_decay};
    const lion_rule rule = {(float)a->beta1, (float)(1 - a->beta1), (float)a->beta2, (float)(1 - a->beta2)};
    prepare_lion<<<1, 1, 0, cuda_stream(b)>>>(in, u);
    update_all(b, a->tensors, a->count, u, rule, "lion");
}
