"""harness.py - drives baka's programs as a user's script would: a state directory, a daemon, bakactl.

BAKA_BUILD names the build directory (default ./build), BAKA_WORKER another worker for its daemon. Everything lives in one temporary directory that goes away with
the Home object, its processes first.
"""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

BUILD = pathlib.Path(os.environ.get("BAKA_BUILD", "build")).resolve()
BAKAD = BUILD / "daemon/bakad"
BAKACTL = BUILD / "cli/bakactl"
WORKER = BUILD / "worker/baka-worker"
SANITIZED = any(word in BUILD.name for word in ("asan", "tsan"))


def wait_until(what, condition, seconds=300 if SANITIZED else 60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.001)
    raise AssertionError(f"no {what} after {seconds} s")


def english(size, seed=1):
    """`size` bytes of made-up text with words of Zipf-like frequency: something a small model can learn from."""
    rng = random.Random(seed)
    words = ["".join(rng.choice("etaoinshrdlu") for _ in range(rng.randint(2, 8))) for _ in range(400)]
    out = []
    length = 0
    while length < size:
        word = words[min(int(rng.paretovariate(0.7)) - 1, len(words) - 1)]
        out.append(word)
        length += len(word) + 1
    return " ".join(out)[:size].encode()


class Home:
    def __init__(self, *daemon_args, start=True):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="baka-test-"))
        self.path = self.root / "home"
        self.daemon_args = daemon_args
        self.daemon = None
        self.log = open(self.root / "bakad.log", "ab")
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def start(self, timeout=30):
        worker = ["--worker", os.environ["BAKA_WORKER"]] if "BAKA_WORKER" in os.environ else []
        self.daemon = subprocess.Popen([BAKAD, "--home", self.path, *worker, *self.daemon_args], stdin=subprocess.DEVNULL,
                                       stdout=self.log, stderr=self.log)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.ctl("status", check=False).returncode == 0:
                return
            if self.daemon.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError("bakad does not serve:\n" + (self.root / "bakad.log").read_text(errors="replace")[-3000:])

    def kill_daemon(self, sig=signal.SIGKILL):
        self.daemon.send_signal(sig)
        return self.daemon.wait()

    def ctl(self, *args, check=True, timeout=120, stdin=""):
        p = subprocess.run([BAKACTL, "--home", self.path, *map(str, args)], input=stdin,
                           capture_output=True, text=True, timeout=timeout)
        if check and p.returncode != 0:
            raise AssertionError(f"bakactl {' '.join(map(str, args))}: exit {p.returncode}\n{p.stdout}{p.stderr}")
        return p

    def json(self, *args, **kw):
        return json.loads(self.ctl(*args, "--json", **kw).stdout)

    def prepare(self, name, data, *args):
        text = self.root / f"{name}.txt"
        text.write_bytes(data)
        return self.json("data", "prepare", "--tokenizer", "bytes", text, "-o", name, *args)

    def submit(self, spec, *args):
        path = self.root / "spec.json"
        path.write_text(json.dumps(spec))
        return [r["id"] for r in self.json("submit", path, *args)["runs"]]

    def keepers(self):
        """(run, attempt, keeper pid) of each attempt whose keeper lives."""
        for lock in self.path.glob("runs/*/attempts/*/lock"):
            try:
                pid, start = lock.read_text().split()[:2]
                stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except (OSError, ValueError):
                continue
            if stat[19] == start and stat[0] != "Z":
                yield lock.parts[-4], int(lock.parts[-2]), int(pid)

    @staticmethod
    def children(pid):
        try:
            return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []

    def close(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.terminate()
            try:
                self.daemon.wait(10)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        for _, _, pid in self.keepers():
            for p in (*self.children(pid), pid):
                try:
                    os.kill(p, signal.SIGKILL)
                except OSError:
                    pass
        self.log.close()
        shutil.rmtree(self.root, ignore_errors=True)
