#!/usr/bin/env python3
"""profile_step.py - where a step's time goes: one eager step of a suite line under ncu, kernel by kernel.

  profile_step.py NAME [--rows N] [--csv FILE]     NAME: a line of tests/bench/suite_h200.txt, as swiglu-T1024

The first step is not replayed from a graph, so its launches are seen one by one; each is timed alone, at whatever clock
the card has then. Sums are therefore shares, not the step's time. --csv keeps each launch, in order, with its grid.
Needs ncu and the right to read counters.
"""
import argparse
import collections
import csv
import io
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from bench import read_line, spec_of  # noqa: E402
from runs import Home  # noqa: E402


def short(name):
    """A kernel's name without arguments and template parameters; cuBLASLt's keep their tile."""
    tile = re.search(r"(nvjet|sm\d+_xmma|cutlass)\w*", name)
    return tile.group(0) if tile else re.sub(r"<.*", "", re.sub(r"\(.*", "", name)).split("::")[-1].split(" ")[-1]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("name")
    a.add_argument("--rows", type=int, default=40)
    a.add_argument("--csv", type=pathlib.Path)
    args = a.parse_args()
    lines = [x.split("#")[0].strip() for x in (HERE.parent / "bench/suite_h200.txt").read_text().splitlines()]
    shape = next(s for s, _ in (read_line(x, True) for x in lines if x) if s["name"] == args.name)
    with Home() as home:
        home.tokens("data", 4 * shape["T"] * shape["batch"] + 1, "--vocab", min(shape["vocab"], 50257))
        spec = spec_of(shape, "data")
        spec["train"]["steps"] = 1
        spec["train"]["eval_every"] = 0
        run = home.run(spec)
        run.path("journal", 1).parent.mkdir(parents=True)
        out = subprocess.run(["ncu", "--target-processes", "all", "--clock-control", "none", "--csv", "--metrics",
                              "gpu__time_duration.sum", *run.command(1, "none", 1)], capture_output=True, text=True)
    text = "\n".join(x for x in out.stdout.splitlines() if x.startswith('"'))
    if args.csv:
        args.csv.write_text(text + "\n")
    total = collections.defaultdict(lambda: [0, 0.0])
    for row in csv.DictReader(io.StringIO(text)):
        scale = {"ns": 1e-6, "us": 1e-3, "usecond": 1e-3, "nsecond": 1e-6, "ms": 1.0}.get(row["Metric Unit"], 1e-6)
        entry = total[short(row["Kernel Name"])]
        entry[0] += 1
        entry[1] += float(row["Metric Value"].replace(",", "")) * scale
    if not total:
        sys.exit(f"ncu showed no kernel:\n{out.stdout[-1500:]}{out.stderr[-1500:]}")
    whole = sum(ms for _, ms in total.values())
    print(f"{args.name}: {sum(n for n, _ in total.values())} launches, {whole:.2f} ms together")
    for name, (n, ms) in sorted(total.items(), key=lambda x: -x[1][1])[:args.rows]:
        print(f"{ms:9.3f} ms {100 * ms / whole:5.1f} % {n:6d} x  {name[:100]}")


if __name__ == "__main__":
    main()
