#!/usr/bin/env python3
"""variants.py - every system of configs/ at the blog's shape, side by side: after equal tokens of one text, what each
costs and what it reached.

  variants.py --home HOME --data NAME [--steps N] [--only PART] [--config FILE...] [--set path=value...] [--md FILE]

NAME is a data set that `bakactl data prepare` has put under HOME; nothing else of HOME is read or written. A row is one
run of N steps with the seed, batch and rates of its file and one evaluation at its end. `speed` is against the first
row's, bakanet_swiglu. The table goes to standard output, to --md, and with all details to build-cuda/results/.
"""
import argparse
import json
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from runs import Home, Watch, of_kind, trainer_pid  # noqa: E402
from stage import ROOT, Stage  # noqa: E402

FIRST = "bakanet_swiglu"
WARM_UP = 20  # steps that do not count for the speed
COLUMNS = ("variant", "parameters, M", "GFLOP/token", "tokens/s", "speed", "ms a step", "memory, GiB", "validation loss",
           "tokens, M")


def assign(spec, assignment):
    path, value = assignment.split("=", 1)
    *outer, last = path.split(".")
    for name in outer:
        spec = spec.setdefault(name, {})
    try:
        spec[last] = json.loads(value)
    except ValueError:
        spec[last] = value


def read_spec(file, args):
    spec = json.loads(file.read_text())
    spec["data"]["name"] = args.data
    for key in ("epochs", "eval_every", "checkpoint_every"):
        spec["train"].pop(key, None)
    spec["train"].update(steps=args.steps, eval_every=args.steps, checkpoint_every=10 ** 9)
    for assignment in args.set:
        assign(spec, assignment)
    return spec


def look(run, p, seconds):
    """The run's journal when its evaluation is there: its checkpoint is of no interest."""
    end = time.monotonic() + seconds
    while p.poll() is None and time.monotonic() < end and not of_kind(run.journal(), "eval"):
        time.sleep(0.2)
    p.kill()
    p.wait(60)
    time.sleep(0.5)
    journal = run.journal()
    assert of_kind(journal, "eval"), f"no evaluation\n{run.log()[-2000:]}{json.dumps(journal[-1:])}"
    return journal


def measure(home, file, args, rows):
    run = home.run(read_spec(file, args))
    p = run.start()
    with Watch(lambda: trainer_pid(run)) as seen:
        journal = look(run, p, args.seconds)
    start, steps, loss = of_kind(journal, "start")[0], of_kind(journal, "step"), of_kind(journal, "eval")[-1]
    ms = statistics.median(x["ms"] for x in steps[min(WARM_UP, len(steps) - 1):])
    tok_s = statistics.median(x["tok_s"] for x in steps[min(WARM_UP, len(steps) - 1):])
    row = {"variant": file.stem, "params": start["params"], "flops_per_token": start["flops_per_token"], "tok_s": tok_s,
           "ms": ms, "bytes": seen.bytes or start["memory_bytes"], "of_process": seen.of_process, "val_loss": loss["loss"],
           "tokens": steps[-1]["tokens"], "train_loss": steps[-1]["loss"], "device": start["device"],
           "micro_batch": start["micro_batch"]}
    rows.append(row)
    return f"{ms:.2f} ms a step, validation loss {loss['loss']:.4f}"


def lines(rows):
    first = next((r for r in rows if r["variant"] == FIRST), rows[0])
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "| " + " | ".join("---" for _ in COLUMNS) + " |"
    for r in rows:
        yield (f"| {r['variant']} | {r['params'] / 1e6:.1f} | {r['flops_per_token'] / 1e9:.3f} | {r['tok_s']:,.0f} | "
               f"{r['tok_s'] / first['tok_s']:.2f} | {r['ms']:.2f} | {r['bytes'] / 2 ** 30:.2f} | {r['val_loss']:.4f} | "
               f"{r['tokens'] / 1e6:.2f} |")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--home", type=pathlib.Path, required=True)
    a.add_argument("--data", required=True)
    a.add_argument("--steps", type=int, default=400)
    a.add_argument("--only", default="")
    a.add_argument("--config", type=pathlib.Path, nargs="+", help="instead of configs/bakanet_*.json")
    a.add_argument("--set", action="append", default=[])
    a.add_argument("--seconds", type=int, default=120, help="that a run may take")
    a.add_argument("--md", type=pathlib.Path)
    args = a.parse_args()
    data = (args.home / "data" / args.data).resolve()
    if not data.is_dir():
        a.error(f"{data} is not there: prepare it with bakactl --home {args.home} data prepare … -o {args.data}")
    files = args.config or sorted((ROOT / "configs").glob("bakanet_*.json"), key=lambda f: (f.stem != FIRST, f.stem))
    stage, rows = Stage("variants", args.only, deadline=500), []
    with Home() as home:
        (home.path / "data").mkdir(exist_ok=True)
        (home.path / "data" / args.data).symlink_to(data)
        for file in files:
            stage.case(file.stem, measure, home, file, args, rows)
    if rows:
        text = "\n".join(lines(rows)) + "\n"
        print("\n" + text)
        if args.md:
            args.md.write_text(text)
    stage.more["rows"] = rows
    return stage.close()


if __name__ == "__main__":
    sys.exit(main())
