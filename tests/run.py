#!/usr/bin/env python3
"""run.py - runs baka's tests one after the other and counts their cases.

C tests come from `meson introspect --tests` (cmocka's own counts are read), Python tests from tests/system/test_*.py
and tests/faults/test_*.py (unittest). Each program is one line; a failing one prints its output. Results are added to
a JSON file, so that several builds (plain, sanitizers) end in one closing line.

  run.py --build build --suites unit,kernels,system,faults [--only PATTERN] [--results FILE] [--label NAME]
  run.py --close --results FILE           prints "N passed, N failed, N skipped"; exit 1 when any failed
"""
import argparse
import fnmatch
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON_SUITES = {"system": "tests/system", "faults": "tests/faults"}


def c_tests(build, suites):
    out = subprocess.run(["meson", "introspect", "--tests", str(build)], check=True, capture_output=True, text=True)
    for t in json.loads(out.stdout):
        names = [s.split(":")[-1] for s in t["suite"]]
        for s in names:
            if s in suites:
                yield s, t["name"], t["cmd"], {**os.environ, **t["env"]}, t["timeout"] or 60, t["workdir"] or str(build)
                break


def python_tests(build, suites):
    env = {**os.environ, "BAKA_BUILD": str(build), "PYTHONDONTWRITEBYTECODE": "1"}
    for suite, folder in PYTHON_SUITES.items():
        if suite in suites:
            for path in sorted((ROOT / folder).glob("test_*.py")):
                yield suite, path.stem, [sys.executable, str(path), "-v"], env, 900, str(ROOT)


def count(output, code):
    """(passed, failed, skipped) of one program; a program that counts nothing is one case."""
    m = re.search(r"^Ran (\d+) tests?", output, re.M)
    if m:
        def named(word):
            n = re.search(rf"^(?:FAILED|OK) \(.*?\b{word}=(\d+)", output, re.M)
            return int(n.group(1)) if n else 0
        failed = named("failures") + named("errors") + named("unexpected successes")
        skipped = named("skipped")
        if code != 0 and failed == 0:
            failed = 1
        return max(int(m.group(1)) - failed - skipped, 0), failed, skipped
    groups = {w: sum(int(n) for n in re.findall(rf"^\[\s+{w}\s+\] (\d+) test\(s\)", output, re.M))
              for w in ("PASSED", "FAILED", "SKIPPED")}
    if groups["PASSED"] or groups["FAILED"]:
        failed = groups["FAILED"]
        if code != 0 and failed == 0:
            failed = 1
        return groups["PASSED"], failed, groups["SKIPPED"]
    if code == 77:
        return 0, 0, 1
    return (1, 0, 0) if code == 0 else (0, 1, 0)


def run_one(suite, name, cmd, env, timeout, workdir, label):
    start = time.monotonic()
    try:
        p = subprocess.run(cmd, env=env, cwd=workdir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=timeout * 3)
        output, code = p.stdout.decode(errors="replace"), p.returncode
    except subprocess.TimeoutExpired as e:
        output, code = (e.stdout or b"").decode(errors="replace") + f"\ntimed out after {timeout * 3} s\n", 124
    passed, failed, skipped = count(output, code)
    word = "FAIL" if failed else "skip" if not passed else "ok"
    tail = f", {skipped} skipped" if skipped else ""
    print(f"{word:4} {label}{suite}/{name}: {passed + failed} cases{tail} ({time.monotonic() - start:.1f} s)", flush=True)
    if failed:
        print("".join(f"     | {line}\n" for line in output.splitlines()[-120:]), flush=True)
    return {"name": f"{label}{suite}/{name}", "passed": passed, "failed": failed, "skipped": skipped}


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--build", default="build", type=pathlib.Path)
    a.add_argument("--suites", default="unit,kernels,system")
    a.add_argument("--only", default="*")
    a.add_argument("--results", type=pathlib.Path)
    a.add_argument("--label", default="")
    a.add_argument("--add", nargs=4, metavar=("NAME", "PASSED", "FAILED", "SKIPPED"), help="record an outside result")
    a.add_argument("--close", action="store_true")
    args = a.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background job starts with it ignored
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # nohup: ignored here by a handler, which programs do not inherit
        signal.signal(signal.SIGHUP, lambda *_: None)

    results = []
    if args.results and args.results.exists():
        results = json.loads(args.results.read_text())
    if args.add:
        name, *numbers = args.add
        results.append(dict(zip(("passed", "failed", "skipped"), map(int, numbers)), name=name))
    elif not args.close:
        build = args.build.resolve()
        suites = set(args.suites.split(","))
        label = f"{args.label}: " if args.label else ""
        found = [t for t in [*c_tests(build, suites), *python_tests(build, suites)] if fnmatch.fnmatch(t[1], args.only)]
        if not found:
            sys.exit(f"run.py: no test in {args.suites} matches {args.only}")
        for t in found:
            results.append(run_one(*t, label))
    if args.results:
        args.results.write_text(json.dumps(results))
    total = {k: sum(r[k] for r in results) for k in ("passed", "failed", "skipped")}
    if args.close:
        for r in results:
            if r["failed"]:
                print(f"failed: {r['name']}")
        print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    sys.exit(1 if total["failed"] else 0)


if __name__ == "__main__":
    main()
