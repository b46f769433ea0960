/* gemm_plan.cuh: what gemm.cu, gemm_table.cu and gemm_tune.cu share.
 *
 * A plan is one product as cuBLASLt wants it told: descriptor, layouts, algorithm. It is made at the first call with
 * its key and kept as long as the state, so a repeated call asks cuBLASLt nothing. cuBLASLt is column-major: a
 * row-major C = op(A) op(B) is its C^T = op(B)^T op(A)^T, so its A is our b, its B our a, and its bias lies along our
 * columns.
 */
#ifndef BAKA_KERNELS_CUDA_GEMM_PLAN_CUH
#define BAKA_KERNELS_CUDA_GEMM_PLAN_CUH

#include <cublasLt.h>
extern "C" {
#include "base/err.h"
}
#include "kernels/cuda/gemm.h"

/* What an algorithm is chosen by. No padding: compared and hashed as bytes. Alignments are in bytes, cut to a power of
 * two <= 256; align_bias is 0 without a bias. */
struct gemm_key {
    int64_t bf16, ta, tb, accumulate, c_float;
    int64_t m, n, k, lda, ldb, ldc;
    int64_t align_a, align_b, align_c, align_bias;
};

enum { GEMM_KEY_TEXT = 256, GEMM_ALGORITHM_WORDS = 8, GEMM_BUCKETS = 256 };

struct gemm_plan {
    struct gemm_plan *next; /* in its bucket */
    struct gemm_key key;
    cublasLtMatmulDescOpaque_t operation;
    cublasLtMatrixLayoutOpaque_t a, b, c; /* cuBLASLt's A and B */
    cublasLtMatmulAlgo_t algorithm;
    bool simt, from_table; /* simt: cuBLASLt has nothing for this, gemm_simt.cu computes it */
};

struct gemm_table_row {
    char *key;
    cublasLtMatmulAlgo_t algorithm;
};

/* The rows of cuda_algorithms.txt for this GPU and this cuBLASLt. */
struct gemm_table {
    struct gemm_table_row *rows;
    int count;
    uint64_t hash; /* FNV-1a of those lines in the order of the file; meaningless when count is 0 */
};

struct cuda_gemm_state {
    cublasLtHandle_t handle;
    unsigned char *workspace; /* for each of cuda_gemm_lane()'s, workspace_bytes */
    size_t workspace_bytes;
    char device[128], version[24], versions[96];
    struct gemm_table table;
    struct gemm_plan *buckets[GEMM_BUCKETS];
};

/* Every word is a number: the text of a key is one line without tabs. */
void gemm_key_text(const struct gemm_key *key, char text[GEMM_KEY_TEXT]);

/* The algorithms that may be used for the plan, the heuristic's best first; at most `room`. */
int gemm_candidates(const struct cuda_gemm_state *g, struct gemm_plan *plan, cublasLtMatmulAlgo_t *out, int room);
cublasStatus_t gemm_launch(const struct cuda_gemm_state *g, struct gemm_plan *plan,
                           const cublasLtMatmulAlgo_t *algorithm, const void *a, const void *b, void *c,
                           const void *bias, int lane, cudaStream_t stream);

/* Path of cuda_algorithms.txt: beside the library that holds this function. */
int gemm_table_path(char *path, size_t room, struct err *err);
/* An absent file is an empty table. */
int gemm_table_load(struct gemm_table *t, const char *path, const char *device, const char *version, struct err *err);
const cublasLtMatmulAlgo_t *gemm_table_find(const struct gemm_table *t, const char *key);
void gemm_table_finish(struct gemm_table *t);
/* Rewrites the file whole: its other lines, then these rows (which replace those of the same key). */
int gemm_table_save(const char *path, const char *device, const char *version, const struct gemm_table_row *rows,
                    int count, struct err *err);

/* The product in plain CUDA cores: any shape, any alignment; fixed order of sums. */
void gemm_simt(const struct gemm_key *key, const void *a, const void *b, void *c, const void *bias,
               cudaStream_t stream);

#endif
