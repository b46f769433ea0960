#!/usr/bin/env python3
"""tune_suite.py - writes the table of matrix product algorithms for the shapes of a suite, on the GPU at hand.

  tune_suite.py TABLE [--only PART] [--suite FILE]

Each line of the suite (tests/bench/suite_h200.txt) is a spec given to `baka-worker --tune`; rows of other GPUs and of
products that were not measured stay. kernels/cuda/cuda_algorithms.txt is the table that is installed.
"""
import argparse
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from bench import read_line, spec_of  # noqa: E402
from runs import Home  # noqa: E402
from stage import WORKER  # noqa: E402


def main():
    a = argparse.ArgumentParser()
    a.add_argument("table", type=pathlib.Path)
    a.add_argument("--only", default="")
    a.add_argument("--suite", type=pathlib.Path, default=HERE.parent / "bench/suite_h200.txt")
    args = a.parse_args()
    lines = [x.split("#")[0].strip() for x in args.suite.read_text().splitlines()]
    failed = 0
    with Home() as home:
        for shape, _ in (read_line(x, True) for x in lines if x):
            if args.only not in shape["name"]:
                continue
            data = f"v{shape['vocab']}"
            if not (home.path / "data" / data).exists():
                home.tokens(data, 4096, "--vocab", min(shape["vocab"], 50257))
            spec = home.path / "spec.json"
            spec.write_text(json.dumps(spec_of(shape, data)))
            print(shape["name"], flush=True)
            p = subprocess.run([WORKER, "--home", home.path, "--tune", spec, "--table", args.table])
            failed += p.returncode != 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
