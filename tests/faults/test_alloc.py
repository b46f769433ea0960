#!/usr/bin/env python3
"""test_alloc.py - the n-th allocation in a daemon's request fails, for n = 1, 2, ... until the request passes untouched.

The request fails, or not; the daemon stays, answers the next one, and has lost and doubled nothing. The same while a run is
launched, watched and ended: the run finishes all the same. Each n with BAKA_FAULTS_LONG=1, some without it.
"""
import collections
import http.client
import json
import mmap
import os
import pathlib
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import Connection
from harness import BAKAD, BUILD, SANITIZED, Home, english
from shim import LONG

LIBRARY = BUILD / "tests/faults/baka_alloc_shim.so"
SPEC = {"data": {"name": "text"}, "model": {"dim": 16, "layers": 1, "heads": 2},
        "train": {"steps": 6, "seq_len": 16, "batch": 2, "checkpoint_every": 2, "eval_every": 3}}


class Allocations:
    """The numbers that shim_alloc.c and the test share."""

    def __init__(self, path):
        path.write_bytes(bytes(32))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 32)

    def arm(self, nth):
        self.map[:] = struct.pack("QQQQ", 0, 0, 0, 0)
        self.map[:8] = struct.pack("Q", nth)

    def disarm(self):
        """(allocations since arm, how many of them failed)"""
        self.map[:8] = bytes(8)
        return struct.unpack("QQQQ", self.map[:])[1:3]


@unittest.skipIf(SANITIZED, "the shim cannot stand in front of a sanitizer's runtime")
class Alloc(unittest.TestCase):
    def setUp(self):
        self.home = Home(start=False)
        self.addCleanup(self.home.close)
        self.home.prepare("text", english(8_000))
        self.numbers = Allocations(self.home.root / "allocations")
        env = {**os.environ, "LD_PRELOAD": str(LIBRARY), "FAULT_ALLOC": str(self.home.root / "allocations")}
        self.home.daemon = subprocess.Popen([BAKAD, "--home", self.home.path, "--cpu-slots", "1"], env=env,
                                            stdin=subprocess.DEVNULL, stdout=self.home.log, stderr=self.home.log)
        end = time.monotonic() + 20
        while self.home.ctl("status", check=False).returncode and time.monotonic() < end:
            time.sleep(0.02)

    def ask(self, method, path, body=None):
        """(status or None where the connection was closed instead of answered, body)"""
        c = Connection(self.home.path / "bakad.sock", timeout=20)
        try:
            c.request(method, path, None if body is None else json.dumps(body))
            r = c.getresponse()
            data = r.read()
            return r.status, json.loads(data) if data.startswith(b"{") else None
        except (http.client.HTTPException, ConnectionError):
            return None, None
        finally:
            c.close()

    def alive(self, what):
        if self.home.daemon.poll() is not None:
            log = (self.home.root / "bakad.log").read_text(errors="replace")
            self.fail(f"bakad ended with {self.home.daemon.returncode} at {what}:\n{log[-1500:]}")

    def requests(self):
        curve = [[s, s / 100, s * 10, 5.0 - s / 100, 4.0 if s % 10 == 0 else None] for s in range(1, 301)]
        for i in range(2):
            self.assertEqual(self.ask("POST", "/v1/import", {"request_id": f"i{i}", "name": f"curve{i}", "rows": curve})[0], 201)
        held = {"name": "waits", "spec": {**SPEC, "train": {**SPEC["train"], "steps": 10**9}}}
        self.assertEqual(self.ask("POST", "/v1/runs", {"request_id": "held", **held})[0], 201)  # holds the one slot
        yield "status", "GET", "/v1/status", None
        yield "list", "GET", "/v1/runs?limit=200", None
        yield "show", "GET", "/v1/runs/curve0", None
        yield "steps", "GET", "/v1/runs/curve0/steps?limit=1000", None
        yield "evals", "GET", "/v1/runs/curve0/evals", None
        yield "gpu", "GET", "/v1/runs/curve0/gpu", None
        yield "compare", "GET", "/v1/compare?ref=curve0&ref=curve1&points=20", None
        yield "import", "POST", "/v1/import", {"request_id": "one", "name": "more", "rows": curve[:20]}
        yield "submit", "POST", "/v1/runs", {"request_id": "two", "name": "sub", "spec": SPEC, "tags": ["t"],
                                             "sweep": [{"path": "train.seed", "values": ["1", "2", "3"]}]}
        yield "cancel", "POST", "/v1/runs/sub-seed2/cancel", None
        yield "retry", "POST", "/v1/runs/sub-seed2/retry", None
        yield "bad body", "POST", "/v1/runs", {"request_id": "three", "spec": {"model": {"dim": "x"}}}

    def test_requests(self):
        done = collections.Counter()
        for name, method, path, body in self.requests():
            n = 1
            while True:
                self.numbers.arm(n)
                status, answer = self.ask(method, path, body)
                calls, failed = self.numbers.disarm()
                self.alive(f"{name}, allocation {n}")
                self.assertIn(status, (None, 200, 201, 400, 409, 500, 503), answer)
                if not failed and n > calls:
                    break
                done[name] += failed
                if status is not None and status >= 500 and answer is not None:
                    self.assertIn("error", answer)
                n += 1 if LONG or n < 100 else 1 + calls // 100
            status, answer = self.ask(method, path, body)
            self.assertIn(status, (200, 201, 400, 409), f"{name} does not work any more: {answer}")
        listed = [r["name"] for r in self.home.json("list", "--all")["runs"]]
        self.assertEqual(sorted(listed), ["curve0", "curve1", "more", "sub-seed1", "sub-seed2", "sub-seed3", "waits"])
        self.finish()
        print(f"{sum(done.values())} allocations failed in requests: {dict(done)}; the daemon stayed")

    def test_a_run(self):
        """Launch, ingest, checkpoint and end."""
        done, n, runs = 0, 1, 0
        while True:
            self.numbers.arm(n)
            status, answer = self.ask("POST", "/v1/runs", {"request_id": f"r{n}", "name": f"run{n}", "spec": SPEC})
            end, shown = time.monotonic() + 30, {}
            while time.monotonic() < end and shown.get("state") != "finished":
                self.alive(f"a run, allocation {n}")
                if status != 201:
                    status, answer = self.ask("POST", "/v1/runs", {"request_id": f"r{n}", "name": f"run{n}", "spec": SPEC})
                else:
                    shown = self.ask("GET", f"/v1/runs/{answer['runs'][0]['id']}")[1] or {}
                time.sleep(0.02)
            calls, failed = self.numbers.disarm()
            self.assertEqual(shown.get("state"), "finished", (n, shown))
            runs += 1
            if not failed:
                break
            done += failed
            n += 1 if LONG else 1 + calls // 25
        self.assertEqual(len(self.home.json("list", "--all")["runs"]), runs)
        self.finish()
        print(f"{done} allocations failed in {runs} runs; each finished")

    def finish(self):
        run = self.ask("GET", "/v1/runs/waits")
        if run[0] == 200:
            self.ask("POST", "/v1/runs/waits/cancel")
        self.assertEqual(self.home.kill_daemon(signal.SIGTERM), 0)
        with sqlite3.connect(self.home.path / "baka.db") as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])


if __name__ == "__main__":
    unittest.main()
