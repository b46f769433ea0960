"""stage.py - cases of a stage: run one by one, told as they end, counted and kept as JSON."""
import json
import os
import pathlib
import subprocess
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("BAKA_CUDA_BUILD", ROOT / "build-cuda")).resolve()
RESULTS = BUILD / "results"
WORKER = BUILD / "worker/baka-worker"
TEST_OPS = BUILD / "tests/cuda/test_ops"
MAKE_TOKENS = BUILD / "tests/cuda/make_tokens"


class Skip(Exception):
    """Raised by a case that cannot run here; the text says why."""


def probe():
    """(the GPU's name and memory, None) or (None, why there is none)."""
    if not TEST_OPS.exists():
        return None, f"{TEST_OPS} is not built: run the stage build first"
    p = subprocess.run([TEST_OPS, "--probe"], capture_output=True, text=True)
    text = (p.stdout + p.stderr).strip().removeprefix("skip: ")
    return (text.rsplit(",", 1)[0], None) if p.returncode == 0 else (None, text)


class Stage:
    def __init__(self, name, only="", deadline=None):
        """only: the cases whose name holds it; deadline: seconds after which no case is begun."""
        self.name, self.only = name, only
        self.begin = time.monotonic()
        self.end = None if deadline is None else self.begin + deadline
        self.cases, self.more = [], {}

    def case(self, name, function, *arguments):
        """Runs function(*arguments); what it returns is the case's detail: a string, or a dict for the JSON."""
        if self.only not in name:
            return None
        begin, detail, text = time.monotonic(), None, ""
        try:
            if self.end and begin > self.end:
                raise Skip("the stage's time is up")
            detail = function(*arguments)
            word = "ok"
        except Skip as e:
            word, text = "skip", str(e)
        except AssertionError as e:
            word, text = "FAIL", str(e) or traceback.format_exc(limit=-2)
        except Exception:  # a broken case must not hide the others
            word, text = "FAIL", traceback.format_exc(limit=-4)
        seconds = time.monotonic() - begin
        told = text or (detail if isinstance(detail, str) else "")
        first, *rest = told.splitlines() or [""]
        print(f"{word:4} {self.name} {name} ({seconds:.1f} s)" + (f": {first}" if first else ""), flush=True)
        for line in rest[-40:]:
            print(f"     | {line}", flush=True)
        self.cases.append({"name": name, "result": word, "seconds": round(seconds, 3), "text": told,
                           **({"detail": detail} if isinstance(detail, dict) else {})})
        self.write()  # what is done stays told when the stage is ended from outside
        return detail

    def count(self, word):
        return sum(c["result"] == word for c in self.cases)

    def write(self):
        totals = {"passed": self.count("ok"), "failed": self.count("FAIL"), "skipped": self.count("skip")}
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{self.name}.json").write_text(json.dumps(
            {"stage": self.name, **totals, "seconds": round(time.monotonic() - self.begin, 1), **self.more,
             "cases": self.cases}, indent=1) + "\n")
        return totals

    def close(self):
        """Writes the JSON and returns the exit status."""
        totals = self.write()
        print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped", flush=True)
        return 1 if totals["failed"] else 77 if not totals["passed"] else 0
