#!/usr/bin/env python3
"""Builds and tries the CUDA backend on a machine with a GPU.

  ./test.sh --cuda [build|ops|train|hf|sanitize|bench] [--only PART] [--quick]

  build      base, kernels, worker and these tests, into build-cuda
  ops        each operator against double precision, on fresh random inputs
  train      curves against the CPU's, determinism, kills, faults, memory, time to the first step
  hf         Hugging Face's models against transformers itself, where it is installed
  sanitize   compute-sanitizer's memcheck, racecheck and initcheck over the operators, small shapes
  bench      steps side by side with PyTorch's (tests/bench/suite_h200.txt)

Without a stage: all, in this order. --only takes the cases with PART in their name; --quick makes bench short. Results
are in build-cuda/results/*.json. Exit status: 0 good, 1 something failed, 2 usage, 77 nothing could be tried. What a
bare machine lacks besides CUDA is packed by tests/cuda/carry.sh. BAKA_CUDA_BUILD names another build folder; one that is
configured already is built as it is.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from stage import BUILD, RESULTS, ROOT, TEST_OPS, WORKER, Skip, Stage, probe  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
STAGES = ("build", "ops", "train", "hf", "sanitize", "bench")
LIMIT = 470  # seconds a stage


def run(command, seconds, log=None, **more):
    """Exit status, 124 when the time was up; the program and all it started are gone afterwards."""
    p = subprocess.Popen(list(map(str, command)), start_new_session=True, stdin=subprocess.DEVNULL, stdout=log,
                         stderr=subprocess.STDOUT if log else None, **more)
    try:
        return p.wait(max(seconds, 1))
    except subprocess.TimeoutExpired:
        return 124
    finally:
        try:
            os.killpg(p.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        p.wait()


def architecture():
    """The first GPU's, as gpu_archs has it; 90a where there is none to ask."""
    if shutil.which("nvidia-smi"):
        p = subprocess.run(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"], capture_output=True,
                           text=True)
        number = p.stdout.split("\n")[0].strip().replace(".", "")
        if p.returncode == 0 and number.isdigit():
            return "90a" if number == "90" else number
    return "90a"


def logged(command, log):
    with open(log, "wb") as f:
        code = run(command, LIMIT, f, cwd=ROOT)
    if code != 0:
        tail = "\n".join(pathlib.Path(log).read_text(errors="replace").splitlines()[-40:])
        raise AssertionError(f"{command[0]} ended with {code}; {log} ends with\n{tail}")


def build(args):
    stage = Stage("build")
    RESULTS.mkdir(parents=True, exist_ok=True)

    def configure():
        if (BUILD / "build.ninja").exists():
            return "configured already"
        missing = [t for t in ("meson", "ninja", "nvcc", "gcc", "pkg-config") if not shutil.which(t)]
        if "nvcc" in missing:
            raise Skip("there is no nvcc here, in PATH or /usr/local/cuda/bin")
        assert not missing, f"{', '.join(missing)} missing: install, or bring along what tests/cuda/carry.sh packs"
        arch = architecture()
        logged(["meson", "setup", BUILD, "-Ddaemon=disabled", "-Dcuda=enabled", f"-Dgpu_archs={arch}",
                "--buildtype=release"], RESULTS / "configure.log")
        return f"for sm_{arch}"

    def make():
        if not (BUILD / "build.ninja").exists():
            raise Skip("not configured")
        logged(["ninja", "-C", BUILD], RESULTS / "build.log")
        return subprocess.run([WORKER, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def device():
        kind, why = probe()
        return kind or nothing_to_try(why)

    stage.case("configure", configure)
    stage.case("ninja", make)
    stage.more["device"] = stage.case("device", device)
    return stage.close()


def ops(args):
    """test_ops counts and writes its own results."""
    kind, why = probe()
    if not kind:
        return absent("ops", why)
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = RESULTS / "ops.json"
    result.unlink(missing_ok=True)
    code = run([TEST_OPS, "--json", result, *(["--only", args.only] if args.only else [])],
               LIMIT)
    judge("ops", "test_ops", code)


def judge(name, program, code):
    """A program that did not come to its own end is one failure more than it could tell."""
    if code in (0, 1, 77) and (RESULTS / f"{name}.json").exists():
        return
    text = f"{program} ended with {code}" + (": its time was up" if code == 124 else "")
    print(f"FAIL {name} {text}", flush=True)
    path = RESULTS / f"{name}.json"
    told = json.loads(path.read_text()) if path.exists() else {"stage": name, "passed": 0, "failed": 0, "skipped": 0}
    told["failed"] += 1
    told.setdefault("cases", []).append({"name": program, "result": "FAIL", "text": text})
    path.write_text(json.dumps(told, indent=1) + "\n")


def sanitize(args):
    """The three tools at once: each is bound by its own process."""
    kind, why = probe()
    tool = shutil.which("compute-sanitizer")
    if not kind or not tool:
        return absent("sanitize", why or "there is no compute-sanitizer in PATH")
    stage = Stage("sanitize", args.only)
    RESULTS.mkdir(parents=True, exist_ok=True)
    running = {}
    for name in ("memcheck", "racecheck", "initcheck"):
        with open(RESULTS / f"{name}.log", "wb") as log:
            running[name] = subprocess.Popen(
                [tool, "--tool", name, "--error-exitcode", "3", TEST_OPS, "--small", "--threads", "2"],
                start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    end = time.monotonic() + LIMIT

    def finish(name):
        p = running[name]
        try:
            code = p.wait(max(end - time.monotonic(), 1))
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            code = p.wait()
        lines = (RESULTS / f"{name}.log").read_text(errors="replace").splitlines()
        told = [x for x in lines if x.startswith("=========")]
        if any("Device not supported" in x for x in told):
            raise Skip("compute-sanitizer does not serve this device")
        assert code == 0, f"ended with {code}; {RESULTS / name}.log\n" + "\n".join(told[:25] + lines[-5:])
        return told[-1].lstrip("= ") if told else ""

    for name in running:
        stage.case(name, finish, name)
    for p in running.values():  # of cases that --only left out
        if p.poll() is None:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
    return stage.close()


def nothing_to_try(why):
    """A skip; but where nvidia-smi lists a GPU, a backend that finds none is broken."""
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout if shutil.which("nvidia-smi") else ""
    assert not listed.startswith("GPU"), f"{why}; nvidia-smi lists {listed.splitlines()[0]}"
    raise Skip(why)


def absent(name, why):
    def skip():
        nothing_to_try(why)
    stage = Stage(name)
    stage.case("all", skip)
    return stage.close()


def script(name, file):
    def go(args):
        kind, why = probe()
        if not kind:
            return absent(name, why)
        result = RESULTS / f"{name}.json"
        result.unlink(missing_ok=True)
        more = [*(["--only", args.only] if args.only else []), *(["--quick"] if args.quick and name == "bench" else [])]
        judge(name, file, run([sys.executable, HERE / file, *more], LIMIT + 10,
                              env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}))
    return go


def main():
    a = argparse.ArgumentParser(prog="./test.sh --cuda", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("stage", nargs="*", metavar="stage")
    a.add_argument("--only", default="")
    a.add_argument("--quick", action="store_true")
    args = a.parse_args()
    for name in args.stage:
        if name not in STAGES:
            a.error(f"no stage '{name}': there are {', '.join(STAGES)}")
    stages = {"build": build, "ops": ops, "train": script("train", "train.py"),
              "hf": script("hf", "hf.py"), "sanitize": sanitize, "bench": script("bench", "bench.py")}
    totals, rows = {"passed": 0, "failed": 0, "skipped": 0}, []
    for name in args.stage or STAGES:
        print(f"== {name}", flush=True)
        begin = time.monotonic()
        stages[name](args)
        result = json.loads((RESULTS / f"{name}.json").read_text())
        for key in totals:
            totals[key] += result[key]
        rows.append((name, *(result[k] for k in totals), time.monotonic() - begin))
    print(f"\n{'stage':<10}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for name, *numbers in rows:
        print(f"{name:<10}{numbers[0]:>8}{numbers[1]:>8}{numbers[2]:>9}{numbers[3]:>9.0f}")
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    sys.exit(1 if totals["failed"] else 77 if not totals["passed"] else 0)


if __name__ == "__main__":
    main()
