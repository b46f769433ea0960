"""shim.py - how the scripts here put baka_shim.so (shim.h) in front of a program, and how long they go on.

BAKA_FAULTS_LONG=1 asks for the long form of each script, as run_all.sh does; without it each takes some seconds.
BAKA_SEED repeats a sequence of random choices; it is always printed.
"""
import os
import pathlib
import random
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BUILD

LIBRARY = BUILD / "tests/faults/baka_shim.so"
LONG = os.environ.get("BAKA_FAULTS_LONG", "") not in ("", "0")
SEED = int(os.environ.get("BAKA_SEED", random.SystemRandom().randrange(2**32)))


class Fault:
    """The n-th call of a kind on a path that matches fails. `counter` is a file that does not exist yet."""

    def __init__(self, counter, op, error, nth, mode, pattern):
        self.counter = pathlib.Path(counter)
        self.counter.unlink(missing_ok=True)
        self.text = f"{op} {error} {nth} {mode} {pattern}"

    def environment(self):
        return {**os.environ, "LD_PRELOAD": str(LIBRARY), "FAULT_IO": self.text, "FAULT_COUNT": str(self.counter)}

    def counts(self):
        """(calls of this kind, how many of them failed)"""
        return struct.unpack("QQ", self.counter.read_bytes()) if self.counter.exists() else (0, 0)


def sweep(op, errors, calls, short):
    """(error, mode, n) for every n up to `calls`; in the short form for `short` of them, spread evenly, first and last among
    them, and further errors than the first once, at the last."""
    if LONG or calls <= short:
        places = range(1, calls + 1)
    else:
        places = sorted({1 + round(i * (calls - 1) / max(short - 1, 1)) for i in range(short)})
    for error in errors:
        brief = not LONG and error != errors[0]
        for mode in ("once",) if brief else ("once", "on"):
            for n in list(places)[-1:] if brief else places:
                yield error, mode, n
