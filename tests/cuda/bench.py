#!/usr/bin/env python3
"""bench.py - steps of baka-worker and of PyTorch side by side on one GPU.

Each line of the suite is a set of torch_ref.py's options. In turn, in this one call, torch_ref.py runs the line and
baka-worker the spec of the same shape; the card is power-limited, so only their ratio counts. Both times are medians of
the steps after the warm-up: PyTorch's from CUDA events, baka's from its journal.

  bench.py [--only PART] [--quick] [--rounds N] [--suite FILE] [--alone [--tflops F] [--tbs B]]

--quick: 20 steps a run, and ratios are shown, not judged. --alone: baka-worker only, beside a floor computed from the
card's sustained rates for matrix products and copies (tests/bench/suite_scaling.txt is made for it). Called by run.py;
BAKA_CUDA_BUILD names the build.
"""
import argparse
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from runs import Home, Watch, of_kind, trainer_pid, wait_until  # noqa: E402
from stage import Stage  # noqa: E402

TORCH = HERE.parent / "bench/torch_ref.py"
# torch_ref.py's own defaults, of the options that make the shape.
DEFAULTS = dict(name="", ffn="swiglu", dim=768, layers=12, heads=12, d_ff=0, vocab=50304, rotary=0.25, parallel=1, bias=1,
                T=1024, batch=64, txl=0, steps=25, warmup=8, lr=3e-4, clip=1.0, prec="autocast", gelu_tanh=0, graph=0)
FFN = {"gelu": "gelu", "swiglu": "swiglu", "elephant": "elephant", "elephant_gated": "elephant_glu"}
# Smallest ratio, PyTorch's time to ours, that each line owes.
OWED = {"swiglu-T1024": 1.15, "gelu-T1024": 1.12, "elephant_gated-T1024": 1.15, "xl-T512-K1024": 1.15,
        "xl-T1024-K2048": 1.15, "blog-T512-B6": 1.3, "blog-T512-B24": 1.3, "14m-T512-B16": 1.5, "tiny-V256-T128-B8": 1.5}


def read_line(text, quick):
    """(shape, torch_ref.py's arguments) of a line."""
    words = shlex.split(text)
    shape = dict(DEFAULTS)
    for key, value in zip(words[::2], words[1::2]):
        if key[2:] in shape:
            shape[key[2:]] = type(shape[key[2:]])(value)
    if quick:
        shape["steps"], shape["warmup"] = min(shape["steps"], 20), min(shape["warmup"], 5)
        words += ["--steps", str(shape["steps"]), "--warmup", str(shape["warmup"])]
    return shape, words


def spec_of(s, data):
    return {
        "data": {"name": data},
        "model": {"dim": s["dim"], "layers": s["layers"], "heads": s["heads"], "vocab": s["vocab"],
                  "d_ff": s["d_ff"] or 4 * s["dim"], "norm": "layernorm", "norms": 2,
                  "parallel_residual": bool(s["parallel"]), "rotary_pct": s["rotary"], "bias": bool(s["bias"]),
                  "ffn": {"type": FFN[s["ffn"]], "gelu": "tanh" if s["gelu_tanh"] else "erf"}},
        "train": {"device": "cuda", "precision": "fp32" if s["prec"] == "fp32" else "bf16",
                  "steps": s["steps"] + s["warmup"], "seq_len": s["T"], "batch": s["batch"], "warmup": 0,
                  "schedule": "constant", "clip": s["clip"], "optimizer": {"lr": s["lr"], "betas": [0.9, 0.95]},
                  "weight_decay": 0.1, "checkpoint_every": 10 ** 9},
        "memory": {"xl": {"len": s["T"] if s["txl"] else 0}},
        "resources": {"gpus": 1},
    }


def torch_run(words):
    p = subprocess.run([sys.executable, TORCH, *words], capture_output=True, text=True, timeout=240)
    found = [line for line in p.stdout.splitlines() if line.startswith("RESULT ")]
    assert p.returncode == 0 and found, f"torch_ref.py ended with {p.returncode}\n{p.stdout[-500:]}{p.stderr[-2000:]}"
    return json.loads(found[0][7:])


def baka_run(home, s, spec):
    """The run ends by kill behind its last step: its checkpoint is of no interest here."""
    run, last = home.run(spec), spec["train"]["steps"]
    begin, first = time.monotonic(), None
    p = run.start()
    with Watch(lambda: trainer_pid(run)) as seen:
        wait_until("first step", lambda: of_kind(run.journal(), "step") or p.poll() is not None)
        first = time.monotonic() - begin
        while p.poll() is None and time.monotonic() < begin + 200:
            time.sleep(0.2)
            if len(of_kind(run.journal(), "step")) >= last:
                break
    p.kill()
    p.wait(60)
    time.sleep(0.5)
    steps = of_kind(run.journal(), "step")
    assert len(steps) >= last, f"{len(steps)} of {last} steps\n{run.log()}{json.dumps(run.journal()[-1:])}"
    ms = [x["ms"] for x in steps[s["warmup"]:last]]
    start = run.journal()[0]
    return {"ms": statistics.median(ms), "ms_min": min(ms), "ms_max": max(ms), "wall_ms": sum(ms) / len(ms),
            "tok_s": s["T"] * s["batch"] / statistics.median(ms) * 1e3, "first_step_s": first,
            "planned_gib": start["memory_bytes"] / 2 ** 30, "peak_gib": seen.bytes / 2 ** 30 if seen.bytes else None,
            "loss0": steps[0]["loss"], "loss1": steps[-1]["loss"], "params_m": start["params"] / 1e6,
            "micro_batch": start["micro_batch"], "device": start["device"]}


def compare(home, s, words, args, rows):
    data = f"v{s['vocab']}"
    torch, baka = [], []
    for _ in range(args.rounds):
        torch.append(torch_run(words))
        baka.append(baka_run(home, s, spec_of(s, data)))
    ratio = statistics.median(t["ms"] / b["ms"] for t, b in zip(torch, baka))
    t, b = torch[-1], baka[-1]
    owed = OWED.get(s["name"])
    row = {"name": s["name"], "ratio": ratio, "owed": owed, "torch": torch, "baka": baka}
    rows.append(row)
    print(f"     {s['name']}: torch {t['ms']:.3f} ms, baka {b['ms']:.3f} ms, ratio {ratio:.3f}", flush=True)
    assert abs(b["params_m"] - t["params_m"]) < 1e-3 * t["params_m"], "the models differ: parameters"
    # Weights and tokens are drawn anew by each. A captured step is trained some times before its first loss.
    assert s["graph"] or abs(b["loss0"] - t["loss0"]) < 0.03 * t["loss0"], f"first loss {b['loss0']}, {t['loss0']}"
    if owed and not args.quick:
        assert ratio >= owed, f"{ratio:.3f} times PyTorch's speed, {owed} are owed"
        peak = b["peak_gib"] or b["planned_gib"]
        assert peak <= t["peak_reserved_gib"] + 0.7, f"{peak:.2f} GiB, PyTorch {t['peak_reserved_gib']} and its context"
    return row


def floor_ms(s, start, tflops, tbs):
    """What no trainer of this kind goes below: its products and attention's at the sustained rate, then, at the copy
    rate, the passes over [tokens, dim] that a layer cannot do without (gated 49, else 36), logits read and written three
    times in all, and the optimizer's 28 bytes a parameter."""
    tokens, gated = s["T"] * s["batch"], s["ffn"] in ("swiglu", "elephant_gated")
    passes = s["layers"] * (49 if gated else 36) * s["dim"] + 3 * s["vocab"]
    return 1e3 * (start["flops_per_token"] * tokens / (1e12 * tflops) +
                  (2 * passes * tokens + 28 * start["params"]) / (1e12 * tbs))


def alone(home, s, args, rows):
    spec = spec_of(s, f"v{s['vocab']}")
    plan, b = home.plan(spec), baka_run(home, s, spec)
    floor = floor_ms(s, plan, args.tflops, args.tbs)
    rows.append({"name": s["name"], "floor_ms": floor, "baka": [b]})
    return (f"{b['ms']:.3f} ms, {b['tok_s']:,.0f} tokens/s, floor {floor:.3f} ms, {floor / b['ms']:.0%} of its speed, "
            f"{b['peak_gib'] or b['planned_gib']:.1f} GiB")


def table(rows):
    print(f"\n{'work':<24}{'torch ms':>10}{'baka ms':>10}{'ratio':>7}{'owed':>6}{'torch tok/s':>13}{'baka tok/s':>12}"
          f"{'torch GiB':>11}{'baka GiB':>10}{'first step':>12}")
    for r in rows:
        t, b = r["torch"][-1], r["baka"][-1]
        peak = b["peak_gib"] or b["planned_gib"]
        print(f"{r['name']:<24}{t['ms']:>10.3f}{b['ms']:>10.3f}{r['ratio']:>7.3f}{r['owed'] or 0:>6}{t['tok_s']:>13,.0f}"
              f"{b['tok_s']:>12,.0f}{t['peak_reserved_gib']:>11.2f}{peak:>10.2f}{b['first_step_s']:>10.2f} s")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--only", default="")
    a.add_argument("--quick", action="store_true")
    a.add_argument("--rounds", type=int, default=1)
    a.add_argument("--suite", type=pathlib.Path, default=HERE.parent / "bench/suite_h200.txt")
    a.add_argument("--alone", action="store_true")
    a.add_argument("--tflops", type=float, default=663, help="sustained bf16 matrix products")
    a.add_argument("--tbs", type=float, default=4.28, help="copies, bytes read and written")
    args = a.parse_args()
    lines = [x.split("#")[0].strip() for x in args.suite.read_text().splitlines()]
    lines = [read_line(x, args.quick) for x in lines if x]
    stage, rows = Stage("bench", args.only, deadline=400), []
    with Home() as home:
        counts = {}  # one epoch is longer than any run: an evaluation and a new order would come at its end
        for s, _ in lines:
            counts[s["vocab"]] = max(counts.get(s["vocab"], 0), (s["steps"] + s["warmup"] + 1) * s["T"] * s["batch"] + 1)
        for vocab, count in counts.items():
            home.tokens(f"v{vocab}", count, "--vocab", min(vocab, 50257))
        for s, words in lines:
            if args.alone:
                stage.case(s["name"], alone, home, s, args, rows)
            else:
                stage.case(s["name"], compare, home, s, words, args, rows)
    stage.more["rows"] = rows
    if rows and not args.alone:
        table(rows)
    sys.exit(stage.close())


if __name__ == "__main__":
    main()
