#!/usr/bin/env bash
# Packs what building and testing the CUDA backend needs besides CUDA, a C compiler, Python and ninja into
# .carry/carry.tar.gz (about 20 MiB), for a machine with a GPU that can install nothing: Debian's meson and pkg-config,
# headers and libraries of cJSON and libcrypto, and oneDNN for the CPU's side of the comparison. Run it on the
# development machine; env.sh finds the file. glibc there must be no older than here.
set -euo pipefail
cd "$(dirname "$0")/../.."

libraries=/usr/lib/$(gcc -dumpmachine)
[ -d "$libraries" ] || libraries=/usr/lib/x86_64-linux-gnu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
mkdir -p "$here"/{bin,include/openssl,lib/pkgconfig,python} .carry

cp -r /usr/lib/python3/dist-packages/mesonbuild "$here/python/"
find "$here/python" -name __pycache__ -prune -exec rm -rf {} +
cat >"$here/bin/meson" <<'END'
#!/usr/bin/env python3
import os
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "python"))
from mesonbuild.mesonmain import main
sys.exit(main())
END
cp -L /usr/bin/pkgconf "$here/bin/pkg-config"
chmod 755 "$here"/bin/*

cp -rL /usr/include/cjson "$here/include/"
cp -rL /usr/include/openssl/. "/usr/include/${libraries##*/}/openssl/." "$here/include/openssl/"

for name in libpkgconf.so.3 libcjson.so.1 libdnnl.so.2 libOpenCL.so.1; do cp -L "$libraries/$name" "$here/lib/"; done
ln -s libcjson.so.1 "$here/lib/libcjson.so"
cp -L "$libraries/libcrypto.a" "$here/lib/" # static: Python and others there keep their own
strip --strip-unneeded "$here"/lib/*.so.*

describe() { # NAME LIBS
  # shellcheck disable=SC2016
  printf 'prefix=${pcfiledir}/../..\nName: %s\nDescription: carried\nVersion: %s\nCflags: -I${prefix}/include\nLibs: -L${prefix}/lib %s\n' \
    "$1" "$(pkg-config --modversion "$1")" "$2" >"$here/lib/pkgconfig/$1.pc"
}
describe libcjson -lcjson
describe libcrypto "-lcrypto -ldl -lpthread"

tar -C "$here" --owner=0 --group=0 -cf - bin include lib python | gzip -9 >.carry/carry.tar.gz.new
mv .carry/carry.tar.gz.new .carry/carry.tar.gz
du -h .carry/carry.tar.gz
