#!/usr/bin/env python3
"""train_cpu.py - training on the CPU, baka and PyTorch in turn on the same cores.

Shape of the yardstick: dim 128, 4 layers, 4 heads, vocabulary 4096, T 128, batch 8, SwiGLU 12d^2, fp32, AdamW, clip 1.
Each pair is one run of torch_ref.py (Debian's python3-torch with OpenBLAS, told the right core type) and one of
baka-worker; a run's figure is the median of its steps, the result the median over the pairs. Between the pairs the rate
of dnnl_sgemm on the step's own shapes is measured (gemm_rate), and the share of it that the whole step reaches.

  tests/bench/train_cpu.py [--pairs 7] [--steps 40] [--build build] [--threads 2] [--coretype SkylakeX]
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
SHAPE = dict(dim=128, layers=4, heads=4, vocab=4096, T=128, batch=8)


def core_type():
    """The OpenBLAS kernel set for this processor; 0.3.21 misses newer ones and falls back to Prescott."""
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    return "SkylakeX" if " avx512f " in flags else "Haswell" if " avx2 " in flags else ""


def torch_run(args):
    cmd = ["/usr/bin/python3", str(HERE / "torch_ref.py"), "--device", "cpu", "--prec", "fp32", "--compile", "none",
           "--steps", str(args.steps), "--warmup", "5", "--threads", str(args.threads)]
    for k, v in SHAPE.items():
        cmd += [f"--{k}", str(v)]
    env = {**os.environ, "OPENBLAS_CORETYPE": args.coretype, "OMP_NUM_THREADS": str(args.threads),
           "OPENBLAS_NUM_THREADS": str(args.threads)}
    out = subprocess.run(cmd, env=env, check=True, capture_output=True, text=True).stdout
    return json.loads(next(line for line in out.splitlines() if line.startswith("RESULT"))[7:])["tok_s"]


def baka_run(args, home, number):
    from harness import WORKER
    spec = {
        "data": {"name": "bench"},
        "model": {"dim": SHAPE["dim"], "layers": SHAPE["layers"], "heads": SHAPE["heads"], "vocab": SHAPE["vocab"],
                  "ffn": {"type": "swiglu"}},
        "train": {"steps": args.steps + 5, "seq_len": SHAPE["T"], "batch": SHAPE["batch"], "warmup": 0,
                  "schedule": "constant", "optimizer": {"lr": 3e-4}},
        "resources": {"cpus": args.threads},
    }
    run = home.root / f"bench-{number}"
    (run / "attempts/1").mkdir(parents=True)
    (run / "spec.json").write_text(json.dumps(spec))
    subprocess.run([WORKER, "--home", home.path, "--run-dir", run, "--attempt", "1", "--resume", "none",
                    "--threads", str(args.threads)], check=True, capture_output=True)
    steps = [json.loads(line) for line in (run / "attempts/1/journal").read_text().splitlines()]
    ms = [s["ms"] for s in steps if s["kind"] == "step"][5:]
    return SHAPE["T"] * SHAPE["batch"] / statistics.median(ms) * 1e3


def gemm_rate(args):
    out = subprocess.run([args.build / "tests/bench/gemm_rate", "--threads", str(args.threads), "--json"], check=True,
                         capture_output=True, text=True).stdout
    return json.loads(out)


def flops_per_step():
    d, L, T = SHAPE["dim"], SHAPE["layers"], SHAPE["T"]
    weights = L * (4 * d * d + 12 * d * d) + SHAPE["vocab"] * d
    return T * SHAPE["batch"] * (6 * weights + 6 * L * d * T)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--pairs", type=int, default=7)
    a.add_argument("--steps", type=int, default=40)
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    a.add_argument("--coretype", default=core_type())
    args = a.parse_args()
    args.build = args.build.resolve()
    os.environ["BAKA_BUILD"] = str(args.build)
    from harness import Home, english

    torch, baka, rates = [], [], []
    with Home(start=False) as home:
        home.path.mkdir(mode=0o700)
        home.prepare("bench", english(400_000))
        for i in range(args.pairs):
            torch.append(torch_run(args))
            baka.append(baka_run(args, home, i))
            rates.append(gemm_rate(args)["gflops"])
            print(f"pair {i + 1}: torch {torch[-1]:8.0f} tok/s, baka {baka[-1]:8.0f} tok/s, ratio {baka[-1] / torch[-1]:.2f}, "
                  f"sgemm {rates[-1]:.0f} GFLOP/s", flush=True)
    step_gflops = [flops_per_step() * b / (SHAPE["T"] * SHAPE["batch"]) / 1e9 for b in baka]
    print(json.dumps({
        "torch_tok_s": statistics.median(torch), "baka_tok_s": statistics.median(baka),
        "ratio": statistics.median(b / t for b, t in zip(baka, torch)),
        "ratio_min": min(b / t for b, t in zip(baka, torch)), "ratio_max": max(b / t for b, t in zip(baka, torch)),
        "share_of_sgemm": statistics.median(g / r for g, r in zip(step_gflops, rates)),
        "sgemm_gflops": statistics.median(rates), "coretype": args.coretype, "threads": args.threads,
        "pairs": args.pairs, "steps": args.steps}, indent=1))


if __name__ == "__main__":
    main()
