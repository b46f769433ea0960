/* test_model_gradient.c: the whole model's gradient against central finite differences in double precision, for each
 * feed-forward layer in each arrangement of a block with both norms, embeddings and biases varying across them; in
 * micro-batches, with positions that do not count and with documents, under every policy of recomputation. */
#include "gradient_case.h"

#include <stdio.h>

static double check_model(const struct spec *spec)
{
    struct model_case c;
    case_open(&c, spec, CASE_VOCAB, "cpu-fp64", 1);
    case_randomize(&c, 3);
    double worst = gradient_check(&c, case_backward, case_loss);
    case_close(&c);
    return worst;
}

static void backward_is_the_derivative(void **state)
{
    (void)state;
    static const enum spec_recompute recompute[] = {RECOMPUTE_NONE, RECOMPUTE_ALL, RECOMPUTE_CHEAP, RECOMPUTE_ALL};
    double worst = 0;
    for (int i = 0; i < 6 * CASE_FFNS; i++) {
        int ffn = i / 6, block = i / 2 % 3, rms = i % 2;
        struct spec s = case_spec();
        case_set_ffn(&s, ffn);
        s.model.parallel_residual = block < 2;
        s.model.norms = block == 1 ? 1 : 2;
        s.model.norm = rms ? SPEC_NORM_RMSNORM : SPEC_NORM_LAYERNORM;
        s.model.tie_embeddings = (ffn + block) % 2;
        s.model.bias = (ffn / 2 + block + rms) % 2;
        s.model.ffn.gelu = block == 2 ? GELU_TANH : GELU_ERF;
        s.model.rotary_pct = block == 0 ? 0.5 : block == 1 ? 1 : 0;
        s.data.reset = (ffn + rms) % 2 ? RESET_DOCUMENT : RESET_EPOCH;
        s.train.micro_batch = 1 + i % 3;
        s.train.recompute = recompute[i % 4];
        double error = check_model(&s);
        worst = error > worst ? error : worst;
    }
    printf("worst relative error %.3g\n", worst);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(backward_is_the_derivative)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
