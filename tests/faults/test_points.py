#!/usr/bin/env python3
"""test_points.py - SIGKILL of daemon, keeper or trainer before and after its n-th pass of each named point (points.py).

Each time a fresh daemon is started, takes one submission, runs it and is stopped; whoever passes the point for the n-th
time dies there, once, and what is dead is started again. The submission is there once, however often it was sent; the run
finishes by itself with the undisturbed run's curve, every step once; no process of it is left behind; the database is
whole. Every n in the long form (BAKA_FAULTS_LONG=1), one or two of each without it.
"""
import collections
import http.client
import json
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import Connection
from harness import BAKAD, SANITIZED, Home, english
from points import POINTS
from shim import LONG, SEED, Fault

STEPS = 12
SPEC = {
    "data": {"name": "text"},
    "model": {"dim": 16, "layers": 1, "heads": 2},
    "train": {"steps": STEPS, "seq_len": 16, "batch": 2, "seed": 3, "eval_every": 6, "checkpoint_every": 3},
}


def exact(csv):
    lines = csv.splitlines()
    keep = [i for i, n in enumerate(lines[0].split(",")) if n not in ("ms", "tok_s")]
    return [",".join(line.split(",")[i] for i in keep) for line in lines]


class Life(Home):
    """A daemon that is started again whenever it is dead."""

    def __init__(self):
        super().__init__(start=False)
        self.prepare("text", english(8_000))

    def fresh(self):
        for name in ("baka.db", "baka.db-wal", "baka.db-shm", "bakad.sock"):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / "runs", ignore_errors=True)
        self.deaths, self.daemon = 0, None

    def ask(self, method, path, body=None):
        """The answer, from whichever daemon gives one."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.daemon is None or self.daemon.poll() is not None:
                self.deaths += self.daemon is not None
                self.daemon = subprocess.Popen([BAKAD, "--home", self.path], env=self.env, stdin=subprocess.DEVNULL,
                                               stdout=self.log, stderr=self.log)
            c = Connection(self.path / "bakad.sock", timeout=10)
            try:
                c.request(method, path, None if body is None else json.dumps(body))
                r = c.getresponse()
                data = json.loads(r.read())
                if r.status != 503:
                    return r.status, data
            except (OSError, http.client.HTTPException):
                pass
            finally:
                c.close()
            time.sleep(0.005)
        raise AssertionError("no answer in 60 s:\n" + (self.root / "bakad.log").read_text(errors="replace")[-2000:])

    def live(self, env):
        """One run, from its submission to its end and the daemon's; the time its orphans took, at most."""
        self.fresh()
        self.env = env
        status, answer = self.ask("POST", "/v1/runs", {"request_id": "once", "name": "victim", "spec": SPEC})
        assert status == 201, answer
        run, slowest, since = answer["runs"][0]["id"], 0.0, None
        end = time.monotonic() + 60
        while time.monotonic() < end:
            status, shown = self.ask("GET", f"/v1/runs/{run}")
            assert status == 200, shown
            if shown["state"] not in ("queued", "starting", "running"):
                break
            served = shown["state"] != "running" or any(n == shown["attempts"] for _, n, _ in self.keepers())
            if served:
                since = None
            elif since is None:
                since = time.monotonic()
            else:
                slowest = max(slowest, time.monotonic() - since)
            time.sleep(0.01)
        assert shown["state"] == "finished", shown
        self.daemon.send_signal(signal.SIGTERM)
        self.deaths += self.daemon.wait(20) != 0
        return run, slowest


@unittest.skipIf(SANITIZED, "the shim cannot stand in front of a sanitizer's runtime")
class Points(unittest.TestCase):
    def check(self, home, run):
        home.start()
        listed = home.json("list", "--all")["runs"]
        self.assertEqual([r["id"] for r in listed], [run], "a submission was lost or doubled")
        self.assertEqual(exact(home.ctl("steps", run, "--csv").stdout), self.want[0])
        self.assertEqual(exact(home.ctl("evals", run, "--csv").stdout), self.want[1])
        self.assertEqual(home.json("show", run)["nondeterminism"], 0)
        self.assertEqual(list(home.keepers()), [])
        home.kill_daemon(signal.SIGTERM)
        with sqlite3.connect(home.path / "baka.db") as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
            self.assertEqual(db.execute("PRAGMA foreign_key_check").fetchall(), [])

    def test_every_point(self):
        rng = random.Random(SEED)
        home = Life()
        self.addCleanup(home.close)
        counter, done, slowest = home.root / "count", collections.Counter(), 0.0
        run, _ = home.live(None)
        home.start()
        self.want = [exact(home.ctl(verb, run, "--csv").stdout) for verb in ("steps", "evals")]
        home.kill_daemon(signal.SIGTERM)
        self.assertEqual([int(row.split(",")[0]) for row in self.want[0][1:]], list(range(1, STEPS + 1)))
        for name, (op, pattern) in POINTS.items():
            if LONG:
                probe = Fault(counter, op, "kill", 10**9, "once", pattern)
                home.live(probe.environment())
                calls = probe.counts()[0]
                self.assertGreater(calls, 0, f"nobody passes '{name}'")
                chosen = [(n, when) for n in range(1, calls + 1) for when in ("kill", "killed")]
            else:
                chosen = [(1, "kill"), (rng.randint(1, 2), "killed")]
            for n, when in chosen:
                fault = Fault(counter, op, when, n, "once", pattern)
                with self.subTest(point=name, n=n, when=when, seed=SEED):
                    run, took = home.live(fault.environment())
                    slowest = max(slowest, took)
                    fired = fault.counts()[1]
                    if not LONG and n == 1:
                        self.assertEqual(fired, 1, "nobody died")
                    self.check(home, run)
                    done[name.split(":")[0]] += fired
        print(f"{sum(done.values())} deaths at {len(POINTS)} points, BAKA_SEED={SEED}: {dict(done)}; 0 submissions or steps lost "
              f"or doubled, orphans resolved in {slowest:.2f} s at most")


if __name__ == "__main__":
    unittest.main()
