#!/usr/bin/env python3
"""test_io_daemon.py - the n-th write, fsync, open ... of bakad on its database fails, once or from then on, for
n = 1, 2, ... until none is left to fail, while it starts, takes a submission, runs it and records it.

A daemon that cannot serve says so in one line. Whatever it acknowledged is there after a restart without the fault, the
database is whole, and the run finishes by itself with the undisturbed run's curve, bit for bit. Each n in the long form
(BAKA_FAULTS_LONG=1), some without it.
"""
import collections
import json
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BAKAD, SANITIZED, Home, english
from shim import LONG, Fault, sweep

SPEC = {
    "name": "disturbed",
    "data": {"name": "text"},
    "model": {"dim": 16, "layers": 1, "heads": 2},
    "train": {"steps": 6, "seq_len": 16, "batch": 2, "seed": 3, "eval_every": 3, "checkpoint_every": 2},
}
KINDS = [
    ("write", ("EIO", "ENOSPC", "short"), 3),
    ("sync", ("EIO", "ENOSPC"), 3),
    ("open", ("EIO", "ENOSPC"), 2),
    ("truncate", ("EIO",), 1),
    ("read", ("EIO",), 2),
    ("remove", ("EIO",), 1),
]
PATTERN = "*/baka.db*"
PATIENCE = 8  # seconds for a disturbed daemon to get as far as it can


def exact(csv):
    lines = csv.splitlines()
    keep = [i for i, n in enumerate(lines[0].split(",")) if n not in ("ms", "tok_s")]
    return [",".join(line.split(",")[i] for i in keep) for line in lines]


@unittest.skipIf(SANITIZED, "the shim cannot stand in front of a sanitizer's runtime")
class IoDaemon(unittest.TestCase):
    def setUp(self):
        self.home = Home(start=False)
        self.addCleanup(self.home.close)
        self.home.prepare("text", english(20_000))
        self.done = collections.Counter()
        self.refused = 0

    def fresh(self):
        for name in ("baka.db", "baka.db-wal", "baka.db-shm", "bakad.sock"):
            (self.home.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.home.path / "runs", ignore_errors=True)

    def disturbed(self, fault):
        """One life of a daemon: what it acknowledged, and what it said."""
        self.fresh()
        spec = self.home.root / "spec.json"
        spec.write_text(json.dumps(SPEC))
        log = self.home.root / "disturbed.log"
        with open(log, "wb") as out:
            daemon = subprocess.Popen([BAKAD, "--home", self.home.path], env=fault.environment(), stdin=subprocess.DEVNULL,
                                      stdout=out, stderr=out)
        try:
            return self.talk(daemon, spec), log.read_text(errors="replace")
        finally:
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGTERM)
                try:
                    self.assertEqual(daemon.wait(10), 0)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
                    raise
            self.status = daemon.returncode

    def talk(self, daemon, spec):
        """(run or None, newest step that was shown)"""
        end = time.monotonic() + 10
        while not (self.home.path / "bakad.sock").exists() or self.home.ctl("status", check=False).returncode:
            if daemon.poll() is not None or time.monotonic() > end:
                return None, 0
            time.sleep(0.01)
        tried = self.home.ctl("submit", spec, "--json", check=False)
        if tried.returncode != 0:
            self.assertEqual(len(tried.stderr.strip().splitlines()), 1, tried.stderr)
            self.refused += 1
            return None, 0
        run, step = json.loads(tried.stdout)["runs"][0]["id"], 0
        end = time.monotonic() + PATIENCE
        waited = 0
        while time.monotonic() < end:
            shown = self.home.ctl("show", run, "--json", check=False)
            if shown.returncode == 0:
                shown = json.loads(shown.stdout)
                step = max(step, shown["step"] or 0)
                if shown["state"] == "finished":
                    break
                # a fault that stays is not waited for any longer than it takes to meet it
                waited = waited + 1 if "disk full" in (shown["reason"] or "") else 0
            else:
                waited += 1
            if waited > 20:
                break
            time.sleep(0.02)
        return (run, step)

    def check(self, fault, acknowledged, log):
        run, step = acknowledged
        if run is None and self.status != 0:
            said = [line for line in log.splitlines() if line.startswith("bakad: ")]
            self.assertEqual(len(said), 1, log)
        self.assertIn(self.status, (0, 1), log)
        self.home.start()
        try:
            if run is None:
                run = self.home.submit(SPEC)[0]
            shown = self.home.json("show", run)
            self.assertGreaterEqual(shown["step"] or 0, step, "a recorded step is gone")
            if shown["state"] in ("failed",):
                self.home.ctl("retry", run)
            self.home.ctl("wait", run, timeout=60)
            self.assertEqual(exact(self.home.ctl("steps", run, "--csv").stdout), self.want[0])
            self.assertEqual(exact(self.home.ctl("evals", run, "--csv").stdout), self.want[1])
        finally:
            self.home.kill_daemon(signal.SIGTERM)
        with sqlite3.connect(self.home.path / "baka.db") as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
            self.assertEqual(db.execute("PRAGMA foreign_key_check").fetchall(), [])

    def test_every_call(self):
        counter = self.home.root / "count"
        self.home.start()
        calm = self.home.submit(SPEC)[0]
        self.home.ctl("wait", calm)
        self.want = [exact(self.home.ctl(verb, calm, "--csv").stdout) for verb in ("steps", "evals")]
        self.home.kill_daemon(signal.SIGTERM)
        for op, errors, short in KINDS:
            probe = Fault(counter, op, errors[0], 10**9, "once", PATTERN)
            acknowledged, log = self.disturbed(probe)
            self.assertIsNotNone(acknowledged[0], log)
            calls = probe.counts()[0]
            self.assertGreater(calls, 0, f"no {op}")
            for error, mode, n in sweep(op, errors, calls, short):
                fault = Fault(counter, op, error, n, mode, PATTERN)
                with self.subTest(op=op, error=error, mode=mode, n=n):
                    self.check(fault, *self.disturbed(fault))
                    self.done[op] += 1
        print(f"{sum(self.done.values())} lives of a daemon with a failing call ({'every n' if LONG else 'short form'}): "
              f"{dict(self.done)}; {self.refused} submissions refused")


if __name__ == "__main__":
    unittest.main()
