#!/usr/bin/env python3
"""waiting_threads.py - what a worker's waiting threads should do: spin or sleep, alone and beside other work.

libgomp's threads spin for some milliseconds at each barrier before they sleep. Alone that is the quickest way to go on;
when another process wants the cores, the spinning thread keeps the one that is waited for from running. Each pair of
(policy, load) trains the same small run; rounds are interleaved, the figure is the median of the steps' tokens/s.

  tests/bench/waiting_threads.py [--rounds 5] [--steps 40] [--build build] [--dim 128]
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import tempfile

POLICIES = {"default": {}, "spin 1000": {"GOMP_SPINCOUNT": "1000"}, "spin 10000": {"GOMP_SPINCOUNT": "10000"},
            "passive": {"OMP_WAIT_POLICY": "passive"}}
LOADS = {"alone": 0, "1 beside": 1, "2 beside": 2}


def prepare(args, home):
    text = pathlib.Path(home, "words.txt")
    words = random.Random(1)
    text.write_text(" ".join("".join(words.choices("etaoinshr", k=words.randint(1, 8))) for _ in range(100_000)))
    subprocess.run([f"{args.build}/cli/bakactl", "--home", home, "data", "prepare", "--tokenizer", "bytes", str(text), "-o", "words"],
                   check=True, capture_output=True)


def train(args, home, threads, env):
    run = tempfile.mkdtemp(dir=home)
    spec = {"name": "w", "data": {"name": "words"},
            "model": {"dim": args.dim, "layers": 4, "heads": 4, "ffn": {"type": "swiglu"}},
            "train": {"steps": args.steps, "seq_len": 128, "batch": 8, "optimizer": {"lr": 1e-3}},
            "resources": {"cpus": threads}}
    pathlib.Path(run, "spec.json").write_text(json.dumps(spec))
    subprocess.run([f"{args.build}/worker/baka-worker", "--home", home, "--run-dir", run, "--attempt", "1", "--resume", "none",
                    "--threads", str(threads)], check=True, env={**os.environ, **env}, capture_output=True)
    records = map(json.loads, pathlib.Path(run, "attempts/1/journal").read_text().splitlines())
    return statistics.median([r["tok_s"] for r in records if r["kind"] == "step"][3:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("rounds", 5), ("steps", 40), ("dim", 128)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--build", default="build")
    args = parser.parse_args()
    seen = {}
    with tempfile.TemporaryDirectory(prefix="baka-bench.") as home:
        prepare(args, home)
        for _ in range(args.rounds):
            for load, count in LOADS.items():
                beside = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(count)]
                try:
                    seen.setdefault((load, "one thread"), []).append(train(args, home, 1, {}))
                    for policy, env in POLICIES.items():
                        seen.setdefault((load, policy), []).append(train(args, home, 2, env))
                finally:
                    for process in beside:
                        process.kill()
                        process.wait()
    for load in LOADS:
        print(load)
        for policy in ["one thread", *POLICIES]:
            rates = seen[load, policy]
            print(f"  {policy:12} {statistics.median(rates):9,.0f} tokens/s  ({min(rates):,.0f} ... {max(rates):,.0f})")


if __name__ == "__main__":
    main()
