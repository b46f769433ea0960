# shellcheck shell=bash
# env.sh: sourced by run.sh from the repository's root. Makes usable what carry.sh brought along; the machine's own
# programs and libraries come first where it has them.
carried=.carry/carry.tar.gz
if [ -f "$carried" ]; then
  unpacked=$PWD/build-carry
  if [ ! "$unpacked/.complete" -nt "$carried" ]; then
    rm -rf "$unpacked"
    mkdir -p "$unpacked"
    tar -xzf "$carried" -C "$unpacked"
    touch "$unpacked/.complete"
  fi
  export PATH=$PATH:$unpacked/bin
  export PKG_CONFIG_PATH=${PKG_CONFIG_PATH:+$PKG_CONFIG_PATH:}$unpacked/lib/pkgconfig
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$unpacked/lib
fi
export PATH=$PATH:/usr/local/cuda/bin

# A toolkit without cuBLASLt's header or library: PyTorch's packages have both.
toolkit=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc || echo /none/bin/nvcc)")")")
if [ -d "$toolkit" ] && ! ls "$toolkit"/{include,targets/*/include}/cublasLt.h >/dev/null 2>&1; then
  packages=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/nvidia
  header=$(find "$packages" -name cublasLt.h 2>/dev/null | head -n 1)
  library=$(find "$packages" -name 'libcublasLt.so.*' 2>/dev/null | head -n 1)
  if [ -n "$header" ] && [ -n "$library" ]; then
    mkdir -p build-carry-cublas
    ln -sf "$library" build-carry-cublas/libcublasLt.so
    export CPATH=${CPATH:+$CPATH:}${header%/*}
    export LIBRARY_PATH=${LIBRARY_PATH:+$LIBRARY_PATH:}$PWD/build-carry-cublas
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}${library%/*}
  fi
fi
