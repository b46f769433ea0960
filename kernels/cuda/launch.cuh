/* launch.cuh: starting a kernel with as much shared memory as it asks for. */
#ifndef BAKA_KERNELS_CUDA_LAUNCH_CUH
#define BAKA_KERNELS_CUDA_LAUNCH_CUH

#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

/* The dynamic shared memory of a kernel. */
#define SHARED_MEMORY(name) extern __shared__ __align__(1024) unsigned char name[]

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared, cudaStream_t stream,
            const Arguments &...arguments)
{
    if (shared > 48 * 1024)
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    kernel<<<(unsigned)blocks, (unsigned)threads, shared, stream>>>(arguments...);
}

#endif
