"""runs.py - runs of baka-worker for the stages train and bench: specs, watched attempts, memory."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from stage import BUILD, MAKE_TOKENS, WORKER  # noqa: E402

os.environ["BAKA_BUILD"] = str(BUILD)  # harness reads it
from harness import wait_until  # noqa: E402,F401
from worker_case import Run, merged, of_kind  # noqa: E402,F401
import gpu  # noqa: E402


class Home:
    """A state directory that goes away, with data sets made without a text."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="baka-cuda-"))
        self.made = 0
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.path, ignore_errors=True)

    def tokens(self, name, count, *more):
        subprocess.run([MAKE_TOKENS, "--home", self.path, "--name", name, "--count", str(count), *map(str, more)],
                       check=True, stdout=subprocess.DEVNULL)

    def run(self, spec):
        self.made += 1
        return Run(self.path, f"r{self.made}", spec)

    def plan(self, spec):
        path = self.path / "plan.json"
        path.write_text(json.dumps(spec))
        p = subprocess.run([WORKER, "--home", self.path, "--plan", path], capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
        return json.loads(p.stdout)


class Watch:
    """While it is entered: the most memory that the GPU shows for the process whose id pid() tells, or, where processes
    are not shown, the most that the whole GPU has over what it had before. None without NVML."""

    def __init__(self, pid):
        self.pid, self.bytes, self.of_process = pid, None, False

    def __enter__(self):
        try:
            self.nvml = gpu.Nvml()
        except (OSError, AttributeError):
            self.nvml = None
            return self
        self.before, self.done = self.nvml.used(), threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def look(self):
        own, whole = 0, 0
        while not self.done.wait(0.02):
            whole = max(whole, self.nvml.used() - self.before)
            pid = self.pid()
            own = max(own, (self.nvml.of_process(pid) if pid else None) or 0)
            self.of_process = own > 0
            self.bytes = own or whole

    def __exit__(self, *exc):
        if self.nvml:
            self.done.set()
            self.thread.join()


def trainer_pid(run):
    started = of_kind(run.journal(), "start")
    return started[0]["pid"] if started else None


def first_step_seconds(run):
    """Starts the run, returns (process, seconds from launch to the first step's record)."""
    begin = time.monotonic()
    p = run.start()
    wait_until("first step", lambda: of_kind(run.journal(), "step") or p.poll() is not None)
    seconds = time.monotonic() - begin
    assert of_kind(run.journal(), "step"), run.log() + json.dumps(run.journal()[-1:])
    return p, seconds
