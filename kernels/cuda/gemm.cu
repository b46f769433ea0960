/* gemm.cu: matrix products by cuBLASLt.
 *
 * The happy path: key of the product -> plan from the cache -> cublasLtMatmul. A new key costs one heuristic query, on
 * the host alone, so it may happen while the stream is captured. Algorithms come from cuda_algorithms.txt, else from
 * the heuristic; both are held to the same conditions (`allowed`). A product for which cuBLASLt has nothing goes to
 * gemm_simt.cu. Every failure becomes the backend's sticky error under the operator's name.
 *
 * Accumulation is fp32 throughout. Equal bits: split-K may only reduce in a separate step through the workspace, in an
 * order of its own, never in place; with bf16 output the partial sums stay fp32.
 */
#include "kernels/cuda/gemm_plan.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t alignment(const void *p)
{
    uintptr_t address = (uintptr_t)p;
    return address == 0 ? 0 : (int64_t)((address | 256) & (~(address | 256) + 1));
}

static struct gemm_key make_key(const struct backend *b, const struct cuda_gemm *p)
{
    struct gemm_key key;
    memset(&key, 0, sizeof key);
    key.bf16 = cuda_is_bf16(b);
    key.ta = p->ta;
    key.tb = p->tb;
    key.accumulate = p->accumulate;
    key.c_float = p->c_wide || !cuda_is_bf16(b);
    key.m = p->m;
    key.n = p->n;
    key.k = p->k;
    key.lda = p->lda;
    key.ldb = p->ldb;
    key.ldc = p->ldc;
    key.align_a = alignment(p->a);
    key.align_b = alignment(p->b);
    key.align_c = alignment(p->c);
    key.align_bias = alignment(p->bias);
    return key;
}

void gemm_key_text(const struct gemm_key *key, char text[GEMM_KEY_TEXT])
{
    snprintf(text, GEMM_KEY_TEXT, "%s %c%c %s%s m %lld n %lld k %lld ld %lld %lld %lld align %lld %lld %lld %lld",
             key->bf16 ? "bf16" : "fp32", key->ta ? 't' : 'n', key->tb ? 't' : 'n',
             key->c_float ? "to-fp32" : "to-bf16", key->accumulate ? " add" : "", (long long)key->m, (long long)key->n,
             (long long)key->k, (long long)key->lda, (long long)key->ldb, (long long)key->ldc, (long long)key->align_a,
             (long long)key->align_b, (long long)key->align_c, (long long)key->align_bias);
}

/* Descriptor and layouts. The bias pointer is set too: the heuristic reads its alignment from it. */
static cublasStatus_t describe(struct gemm_plan *plan, const void *bias)
{
    const struct gemm_key *k = &plan->key;
    cudaDataType_t in = k->bf16 ? CUDA_R_16BF : CUDA_R_32F, out = k->c_float ? CUDA_R_32F : CUDA_R_16BF;
    cublasOperation_t op_a = k->tb ? CUBLAS_OP_T : CUBLAS_OP_N, op_b = k->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    cublasStatus_t s = cublasLtMatmulDescInit(&plan->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulDescSetAttribute(&plan->operation, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulDescSetAttribute(&plan->operation, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b);
    if (s == CUBLAS_STATUS_SUCCESS && bias)
        s = cublasLtMatmulDescSetAttribute(&plan->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    if (s == CUBLAS_STATUS_SUCCESS && bias)
        s = cublasLtMatmulDescSetAttribute(&plan->operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &in, sizeof in);
    if (s == CUBLAS_STATUS_SUCCESS && bias)
        s = cublasLtMatmulDescSetAttribute(&plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatrixLayoutInit(&plan->a, in, k->tb ? k->k : k->n, k->tb ? k->n : k->k, k->ldb);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatrixLayoutInit(&plan->b, in, k->ta ? k->m : k->k, k->ta ? k->k : k->m, k->lda);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatrixLayoutInit(&plan->c, out, k->n, k->m, k->ldc);
    return s;
}

/* Reductions whose order is fixed and whose partial sums are fp32. */
static uint32_t reductions(const struct gemm_key *key)
{
    uint32_t mask = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    return key->c_float ? mask | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE : mask;
}

/* fp32 products are fp32: CUBLAS_COMPUTE_32F does not ask for TF32 or an emulation by bf16, but environment variables
 * can; PEDANTIC would forbid that, and good fp32 kernels with it. An algorithm says itself what it multiplies. */
static bool allowed(const struct gemm_plan *plan, const cublasLtMatmulAlgo_t *algorithm)
{
    uint32_t scheme = 0;
    uint64_t flags = 0;
    size_t written = 0;
    if (cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme, sizeof scheme,
                                             &written) != CUBLAS_STATUS_SUCCESS)
        return false;
    if (scheme & ~reductions(&plan->key))
        return false;
    if (plan->key.bf16 || cublasLtMatmulAlgoCapGetAttribute(algorithm, CUBLASLT_ALGO_CAP_NUMERICAL_IMPL_FLAGS, &flags,
                                                            sizeof flags, &written) != CUBLAS_STATUS_SUCCESS)
        return true;
    return !(flags & CUBLASLT_NUMERICAL_IMPL_FLAGS_TENSOR_OP_MASK);
}

int gemm_candidates(const struct cuda_gemm_state *g, struct gemm_plan *plan, cublasLtMatmulAlgo_t *out, int room)
{
    enum { ASKED = 64 };
    const struct gemm_key *k = &plan->key;
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulHeuristicResult_t found[ASKED];
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        uint32_t value;
    } limits[] = {
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions(k)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, (uint32_t)k->align_b},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, (uint32_t)k->align_a},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, (uint32_t)k->align_c},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, (uint32_t)k->align_c},
    };
    int count = 0, kept = 0;
    cublasStatus_t s = cublasLtMatmulPreferenceInit(&preference);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulPreferenceSetAttribute(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                 &g->workspace_bytes, sizeof g->workspace_bytes);
    for (const auto &l : limits)
        if (s == CUBLAS_STATUS_SUCCESS)
            s = cublasLtMatmulPreferenceSetAttribute(&preference, l.name, &l.value, sizeof l.value);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulAlgoGetHeuristic(g->handle, &plan->operation, &plan->a, &plan->b, &plan->c, &plan->c,
                                           &preference, ASKED, found, &count);
    for (int i = 0; s == CUBLAS_STATUS_SUCCESS && i < count && kept < room; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS && found[i].workspaceSize <= g->workspace_bytes &&
            allowed(plan, &found[i].algo))
            out[kept++] = found[i].algo;
    return kept;
}

/* A row of the table was written on this GPU kind by this version, but with another workspace it may not fit. */
static bool usable(const struct cuda_gemm_state *g, struct gemm_plan *plan, const cublasLtMatmulAlgo_t *algorithm)
{
    cublasLtMatmulHeuristicResult_t r;
    return cublasLtMatmulAlgoCheck(g->handle, &plan->operation, &plan->a, &plan->b, &plan->c, &plan->c, algorithm,
                                   &r) == CUBLAS_STATUS_SUCCESS &&
           r.workspaceSize <= g->workspace_bytes && allowed(plan, algorithm);
}

/* cuBLASLt refuses some shapes when they are described (a leading dimension over 2^31, say) and others when it is asked
 * for an algorithm: both are simt. */
static void choose(const struct cuda_gemm_state *g, struct gemm_plan *plan, const void *bias)
{
    plan->simt = plan->key.k == 0 || describe(plan, bias) != CUBLAS_STATUS_SUCCESS;
    if (plan->simt)
        return;
    if (g->table.count > 0) {
        char text[GEMM_KEY_TEXT];
        gemm_key_text(&plan->key, text);
        const cublasLtMatmulAlgo_t *known = gemm_table_find(&g->table, text);
        if (known && usable(g, plan, known)) {
            plan->algorithm = *known;
            plan->from_table = true;
            return;
        }
    }
    plan->simt = gemm_candidates(g, plan, &plan->algorithm, 1) == 0;
}

static struct gemm_plan *find_plan(struct cuda_gemm_state *g, const struct gemm_key *key, const void *bias)
{
    uint64_t hash = 0xcbf29ce484222325u;
    const unsigned char *bytes = (const unsigned char *)key;
    for (size_t i = 0; i < sizeof *key; i += sizeof(int64_t)) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        hash = (hash ^ word) * 0x100000001b3u;
    }
    struct gemm_plan **bucket = &g->buckets[(hash ^ hash >> 29) % GEMM_BUCKETS], *plan;
    for (plan = *bucket; plan; plan = plan->next)
        if (memcmp(&plan->key, key, sizeof *key) == 0)
            return plan;
    plan = (struct gemm_plan *)calloc(1, sizeof *plan);
    if (!plan)
        return NULL;
    plan->key = *key;
    choose(g, plan, bias);
    plan->next = *bucket;
    *bucket = plan;
    return plan;
}

cublasStatus_t gemm_launch(const struct cuda_gemm_state *g, struct gemm_plan *plan,
                           const cublasLtMatmulAlgo_t *algorithm, const void *a, const void *b, void *c,
                           const void *bias, int lane, cudaStream_t stream)
{
    const float one = 1, beta = plan->key.accumulate ? 1 : 0;
    if (bias) {
        cublasStatus_t s =
            cublasLtMatmulDescSetAttribute(&plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
        if (s != CUBLAS_STATUS_SUCCESS)
            return s;
    }
    return cublasLtMatmul(g->handle, &plan->operation, &one, b, &plan->a, a, &plan->b, &beta, c, &plan->c, c, &plan->c,
                          algorithm, g->workspace + (size_t)lane * g->workspace_bytes, g->workspace_bytes, stream);
}

void cuda_gemm_run(struct backend *b, const struct cuda_gemm *p, const char *operator_name)
{
    if (cuda_failed(b) || p->m <= 0 || p->n <= 0)
        return;
    struct cuda_gemm_state *g = cuda_gemms(b);
    struct gemm_key key = make_key(b, p);
    /* A first call loads kernels, which a capturing thread may not do unless it says so. */
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    cudaThreadExchangeStreamCaptureMode(&mode);
    struct gemm_plan *plan = find_plan(g, &key, p->bias);
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
    if (plan && plan->simt)
        gemm_simt(&key, p->a, p->b, p->c, p->bias, cuda_stream(b));
    else if (plan)
        s = gemm_launch(g, plan, &plan->algorithm, p->a, p->b, p->c, p->bias, cuda_gemm_lane(b), cuda_stream(b));
    cudaThreadExchangeStreamCaptureMode(&mode);
    if (!plan) {
        cuda_fail(b, ERR_NO_MEMORY, operator_name, "no memory for the plan of a matrix product");
    } else if (s != CUBLAS_STATUS_SUCCESS) {
        char shape[GEMM_KEY_TEXT], text[GEMM_KEY_TEXT + 160];
        gemm_key_text(&key, shape);
        snprintf(text, sizeof text, "cuBLASLt: %s in the product %s", cublasLtGetStatusName(s), shape);
        cuda_fail(b, s == CUBLAS_STATUS_ALLOC_FAILED ? ERR_NO_MEMORY : ERR_INTERNAL, operator_name, text);
    } else {
        cuda_check(b, operator_name);
    }
}

static int set_up(struct cuda_gemm_state *g, struct err *err)
{
    int device = 0;
    struct cudaDeviceProp properties;
    char path[4096];
    cublasStatus_t s = cublasLtCreate(&g->handle);
    if (s != CUBLAS_STATUS_SUCCESS)
        return err_set(err, s == CUBLAS_STATUS_ALLOC_FAILED ? ERR_NO_MEMORY : ERR_UNAVAILABLE,
                       "cuBLASLt does not start: %s", cublasLtGetStatusName(s));
    cudaError_t rc = cudaGetDevice(&device);
    if (rc == cudaSuccess)
        rc = cudaGetDeviceProperties(&properties, device);
    if (rc != cudaSuccess)
        return err_set(err, ERR_UNAVAILABLE, "the GPU's name: %s", cudaGetErrorString(rc));
    snprintf(g->device, sizeof g->device, "%.127s", properties.name);
    int version[3] = {0, 0, 0};
    const libraryPropertyType parts[3] = {MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL};
    for (int i = 0; i < 3; i++)
        cublasLtGetProperty(parts[i], &version[i]); /* cannot fail: the names are valid */
    snprintf(g->version, sizeof g->version, "%d.%d.%d", version[0] % 1000, version[1] % 1000, version[2] % 10000);
    int result = gemm_table_path(path, sizeof path, err);
    if (result == 0)
        result = gemm_table_load(&g->table, path, g->device, g->version, err);
    if (result != 0)
        return result;
    int used = snprintf(g->versions, sizeof g->versions, "cublaslt %s", g->version);
    if (g->table.count > 0)
        snprintf(g->versions + used, sizeof g->versions - (size_t)used, " table %016llx",
                 (unsigned long long)g->table.hash);
    return 0;
}

int cuda_gemm_create(void *workspace, size_t workspace_bytes, struct cuda_gemm_state **out, struct err *err)
{
    struct cuda_gemm_state *g = (struct cuda_gemm_state *)calloc(1, sizeof *g);
    if (!g)
        return err_set(err, ERR_NO_MEMORY, "no memory for the matrix products");
    g->workspace = (unsigned char *)workspace;
    g->workspace_bytes = workspace_bytes;
    int rc = set_up(g, err);
    if (rc != 0) {
        cuda_gemm_destroy(g);
        return rc;
    }
    *out = g;
    return 0;
}

void cuda_gemm_destroy(struct cuda_gemm_state *g)
{
    if (!g)
        return;
    for (struct gemm_plan *plan : g->buckets)
        while (plan) {
            struct gemm_plan *next = plan->next;
            free(plan);
            plan = next;
        }
    gemm_table_finish(&g->table);
    if (g->handle)
        cublasLtDestroy(g->handle);
    free(g);
}

const char *cuda_gemm_versions(const struct cuda_gemm_state *g)
{
    return g->versions;
}
