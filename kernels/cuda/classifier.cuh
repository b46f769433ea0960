/* classifier.cuh: the classifier's pass over the logits, apart from its products: what tests and measurements call. */
#ifndef BAKA_KERNELS_CUDA_CLASSIFIER_CUH
#define BAKA_KERNELS_CUDA_CLASSIFIER_CUH

#include "kernels/cuda/device.h"

/* How a row is read the second time, for its gradient: from shared memory or again from the cache. */
enum classifier_row { CLASSIFIER_CHOOSE, CLASSIFIER_KEEP, CLASSIFIER_REREAD };

/* losses[i] = negative log-likelihood of row i, NaN for a target that is neither -1 nor in [0, vocab); with `gradient`
 * logits become (softmax - onehot) * loss_scale, 0 for target -1, NaN for a bad target. */
void cuda_classifier_rows(struct backend *b, int64_t rows, int64_t vocab, void *logits, const int32_t *targets,
                          double *losses, bool gradient, enum classifier_row how);
/* The whole classifier but for the sum of its losses, from what is in `logits` only for its own use; false, and nothing
 * done, where logits are to be computed. */
bool cuda_classifier_hopper(struct backend *b, const struct classifier_args *a, double *losses);

#endif
