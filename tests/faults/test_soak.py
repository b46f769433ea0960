#!/usr/bin/env python3
"""test_soak.py - a queue of small runs, and something wrong every few seconds, for as long as it is asked to last.

Keepers and trainers are killed, stopped for a while, told to end; checkpoints are damaged; clients hang up in the middle
of a request; runs are paused, cancelled and queued again, preempted, and the whole queue is paused; now and then the
daemon is killed or restarted. Nobody helps: in the end each run must be finished, its curve that of an undisturbed run
bit for bit, the database whole, and no daemon may have gathered file descriptors or memory while it lived.

BAKA_SOAK_MINUTES sets how long (default 0.25, with BAKA_FAULTS_LONG 40); BAKA_SEED repeats a sequence, which is printed.
"""
import collections
import os
import pathlib
import random
import re
import signal
import socket
import sqlite3
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Home, SANITIZED, english
from test_kills import exact

LONG = bool(os.environ.get("BAKA_FAULTS_LONG"))
MINUTES = float(os.environ.get("BAKA_SOAK_MINUTES", 40 if LONG else 0.25))
SEED = int(os.environ.get("BAKA_SEED", random.SystemRandom().randrange(2**32)))
SEEDS = (3, 4, 5)
WAITING = 4  # runs that are not at an end
FEW_SAMPLES = 24  # of a daemon that lived less nothing is told about what it gathers
MORE_DESCRIPTORS, MORE_MIB = 8, 24


def spec(seed):
    return {
        "name": "victim",
        "data": {"name": "text"},
        "model": {"dim": 32, "layers": 2, "heads": 2, "ffn": {"type": "elephant_glu"}},
        "train": {"steps": 200 if SANITIZED else 1200, "seq_len": 32, "batch": 4, "seed": seed, "eval_every": 100,
                  "checkpoint_every": 20, "optimizer": {"lr": 0.003}},
    }


class Trouble:
    """What goes wrong. A fault that finds nobody to hurt says False."""

    def __init__(self, home, rng):
        self.home, self.rng = home, rng
        self.done = collections.Counter()
        self.debts = []  # (when, what) that undoes a fault
        self.weights = {self.kill_trainer: 6, self.kill_keeper: 4, self.stop_trainer: 2, self.end_trainer: 2,
                        self.damage_checkpoint: 2, self.hang_up: 4, self.pause: 2, self.cancel: 1, self.preempt: 1,
                        self.pause_all: 0.5, self.kill_daemon: 0.4, self.restart_daemon: 0.2}

    def strike(self):
        self.settle(time.monotonic())
        fault = self.rng.choices(list(self.weights), list(self.weights.values()))[0]
        if fault() is not False:
            self.done[fault.__name__] += 1

    def settle(self, now):
        for debt in [d for d in self.debts if d[0] <= now]:
            self.debts.remove(debt)
            debt[1]()

    def later(self, what):
        self.debts.append((time.monotonic() + self.rng.uniform(0.2, 2), what))

    def trainer(self):
        keepers = list(self.home.keepers())
        return next(iter(self.home.children(self.rng.choice(keepers)[2])), None) if keepers else None

    def signal(self, pid, number):
        try:
            os.kill(pid, number)
        except (ProcessLookupError, TypeError):
            return False
        return True

    def kill_trainer(self):
        return self.signal(self.trainer(), signal.SIGKILL)

    def kill_keeper(self):
        keepers = list(self.home.keepers())
        return bool(keepers) and self.signal(self.rng.choice(keepers)[2], signal.SIGKILL)

    def stop_trainer(self):
        pid = self.trainer()
        self.later(lambda: self.signal(pid, signal.SIGCONT))
        return self.signal(pid, signal.SIGSTOP)

    def end_trainer(self):
        return self.signal(self.trainer(), signal.SIGTERM)

    def damage_checkpoint(self):
        """A byte of the newest one; one that is read before it is pruned must be refused."""
        found = sorted(self.home.path.glob("runs/*/checkpoints/*-a*/model.safetensors"), key=lambda p: p.stat().st_mtime
                       if p.exists() else 0)
        try:
            with open(found[-1], "r+b") as f:
                f.seek(self.rng.randrange(os.fstat(f.fileno()).st_size))
                byte = f.read(1)
                f.seek(-1, os.SEEK_CUR)
                f.write(bytes([byte[0] ^ 1 << self.rng.randrange(8)]))
        except (IndexError, OSError, ValueError):
            return False
        return True

    def hang_up(self):
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(str(self.home.path / "bakad.sock"))
                s.sendall(self.rng.choice((b"", b"GET /v1/ru", b"POST /v1/runs HTTP/1.1\r\nContent-Length: 99\r\n\r\n{",
                                           b"GET /v1/runs HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 3000)))
        except OSError:
            return False
        return True

    def active(self):
        runs = [r["id"] for r in self.home.json("list")["runs"] if r["state"] in ("queued", "starting", "running")]
        return self.rng.choice(runs) if runs else None

    def pause(self):
        run = self.active()
        self.later(lambda: self.home.ctl("resume", run, check=False))
        return run is not None and self.home.ctl("pause", run, check=False).returncode == 0

    def cancel(self):
        run = self.active()
        return run is not None and self.home.ctl("cancel", run, check=False).returncode == 0

    def preempt(self):
        run = self.active()
        return run is not None and self.home.ctl("priority", run, self.rng.randrange(10), check=False).returncode == 0

    def pause_all(self):
        self.later(lambda: self.home.ctl("resume", "--all"))
        self.home.ctl("pause", "--all")

    def kill_daemon(self):
        self.home.kill_daemon()
        time.sleep(self.rng.uniform(0, 0.5))
        self.home.start()

    def restart_daemon(self):
        assert self.home.kill_daemon(signal.SIGTERM) == 0
        self.home.start()


class Soak(unittest.TestCase):
    def test_days_in_minutes(self):
        print(f"{MINUTES:g} minutes, BAKA_SEED={SEED}", flush=True)
        with Home("--cpu-slots", "2") as home:
            self.home, self.samples = home, collections.defaultdict(list)
            home.prepare("text", english(40_000))
            self.expected = {seed: self.undisturbed(seed) for seed in SEEDS}
            trouble = Trouble(home, random.Random(SEED))
            self.runs = {}
            end = time.monotonic() + 60 * MINUTES
            while time.monotonic() < end:
                self.feed(trouble.rng)
                until = time.monotonic() + trouble.rng.uniform(0.3, 3)
                while time.monotonic() < until:
                    time.sleep(0.1)
                    trouble.settle(time.monotonic())
                self.look()
                trouble.strike()
            trouble.settle(float("inf"))
            self.finish()
            self.judge(trouble)

    def undisturbed(self, seed):
        run = self.home.submit(spec(seed))[0]
        self.home.ctl("wait", run, timeout=600)
        return self.curves(run)

    def curves(self, run):
        return [exact(self.home.ctl(verb, run, "--csv").stdout) for verb in ("steps", "evals")]

    def states(self):
        return {r["id"]: r["state"] for r in self.home.json("list", "--all")["runs"]}

    def feed(self, rng):
        states = self.states()
        for run in [r for r in self.runs if states[r] == "cancelled"]:
            self.home.ctl("retry", run)
        for _ in range(WAITING - sum(states[r] not in ("finished", "cancelled") for r in self.runs)):
            seed = rng.choice(SEEDS)
            self.runs[self.home.submit(spec(seed))[0]] = seed

    def look(self):
        pid = self.home.daemon.pid
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        self.samples[pid].append((len(os.listdir(f"/proc/{pid}/fd")), int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024))

    def finish(self):
        end = time.monotonic() + 900
        while time.monotonic() < end:
            states = self.states()
            for run in [r for r in self.runs if states[r] == "cancelled"]:
                self.home.ctl("retry", run)
            for run in [r for r in self.runs if states[r] == "paused"]:
                self.home.ctl("resume", run, check=False)
            if all(states[r] == "finished" for r in self.runs):
                return
            self.assertFalse([r for r in self.runs if states[r] in ("failed", "diverged", "stopped")], states)
            time.sleep(0.5)
        self.fail(f"not all runs ended in 900 s (BAKA_SEED={SEED}): {self.states()}")

    def judge(self, trouble):
        replayed = attempts = 0
        for run, seed in self.runs.items():
            shown = self.home.json("show", run)
            self.assertEqual(self.curves(run), self.expected[seed], run)
            self.assertEqual(shown["nondeterminism"], 0)
            self.assertEqual(shown["certificate"]["unequal"], 0)
            replayed += shown["certificate"]["replayed"]
            attempts += len(shown["attempts"]) if isinstance(shown["attempts"], list) else shown["attempts"]
        self.home.kill_daemon(signal.SIGTERM)
        db = sqlite3.connect(self.home.path / "baka.db")
        self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        db.close()
        told = "no daemon lived long enough to judge what it gathers"
        for samples in sorted(self.samples.values(), key=len):
            if len(samples) < FEW_SAMPLES:
                continue
            early, late = samples[len(samples) // 6:len(samples) // 2], samples[len(samples) // 2:]
            descriptors, memory = (max(x[i] for x in late) - max(x[i] for x in early) for i in (0, 1))
            told = (f"the longest daemon ({len(samples)} looks): {descriptors:+d} descriptors, {memory:+.1f} MiB from its "
                    f"first half to its second")
            if not SANITIZED:
                self.assertLessEqual(descriptors, MORE_DESCRIPTORS, told)
                self.assertLessEqual(memory, MORE_MIB, told)
        print(f"{sum(trouble.done.values())} faults {dict(trouble.done)}; {len(self.runs)} runs in {attempts} attempts, "
              f"all finished, curves bit-identical, {replayed} replayed steps equal; {told}")


if __name__ == "__main__":
    unittest.main()
