#!/usr/bin/env python3
"""gpu.py - what the tests ask of the first GPU, through the driver's own libraries.

  gpu.py hog MIB    takes all of the GPU's memory but MIB, says "ready", and holds it until its input ends
"""
import ctypes
import sys

MIB = 1 << 20


class NvmlProcess(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong), ("gpu_instance", ctypes.c_uint),
                ("compute_instance", ctypes.c_uint)]


class NvmlMemory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class Nvml:
    """Memory as nvidia-smi shows it. OSError where there is no driver."""

    def __init__(self):
        self.library = ctypes.CDLL("libnvidia-ml.so.1")
        self.device = ctypes.c_void_p()
        if self.library.nvmlInit_v2() or self.library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self.device)):
            raise OSError("NVML shows no GPU")

    def used(self):
        """Bytes of the whole GPU."""
        m = NvmlMemory()
        if self.library.nvmlDeviceGetMemoryInfo(self.device, ctypes.byref(m)):
            raise OSError("NVML does not tell the memory")
        return m.used

    def of_process(self, pid):
        """Bytes of a process, None when it is not shown (not yet, or never in a container)."""
        count = ctypes.c_uint(64)
        found = (NvmlProcess * 64)()
        if self.library.nvmlDeviceGetComputeRunningProcesses_v3(self.device, ctypes.byref(count), found):
            return None
        unknown = 2 ** 64 - 1
        return next((p.used for p in found[:count.value] if p.pid == pid and p.used != unknown), None)


def check(code, what):
    if code:
        sys.exit(f"gpu.py: {what}: CUDA error {code}")


def hog(leave):
    cuda = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    check(cuda.cuInit(0), "cuInit")
    check(cuda.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
    check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "cuDevicePrimaryCtxRetain")
    check(cuda.cuCtxSetCurrent(context), "cuCtxSetCurrent")
    free, total, block = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_ulonglong()
    while True:  # in pieces: one block of nearly everything need not be had
        check(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)), "cuMemGetInfo")
        piece = min(free.value - leave, 4096 * MIB) if free.value > leave else 0
        if piece < 2 * MIB or cuda.cuMemAlloc_v2(ctypes.byref(block), ctypes.c_size_t(piece)):
            break
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "hog" or not sys.argv[2].isdigit():
        sys.exit(__doc__)
    hog(int(sys.argv[2]) * MIB)
