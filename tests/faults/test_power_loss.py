#!/usr/bin/env python3
"""test_power_loss.py - a power cut at any moment: nothing that was acknowledged is lost.

Two runs are prepared, submitted, stopped, resumed and finished under a library that writes down what is done to files.
Then, for BAKA_CUTS (default 12; 500 in the long form) moments, the state directory is built as a power cut at that
moment may leave it (power.py: unsynced writes and names dropped, kept or reordered), and a daemon is started on it. What
`bakactl` had answered before that moment must be there: data set, submissions, recorded steps, ends, and the newest
checkpoint, from which the run goes on; and each run ends with the curve and weights of an undisturbed one, bit for bit.
"""
import collections
import hashlib
import json
import os
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
from harness import BAKACTL, BAKAD, SANITIZED, Home, english
from power import MODES, Disk, Directory, ack_bytes, read_log
from shim import LIBRARY, LONG, SEED

CUTS = int(os.environ.get("BAKA_CUTS", 500 if LONG else 12))
STEPS = 40
SPEC = {
    "name": "first",
    "data": {"name": "text"},
    "model": {"dim": 16, "layers": 1, "heads": 2},
    "train": {"steps": STEPS, "seq_len": 16, "batch": 2, "seed": 3, "eval_every": 10, "checkpoint_every": 4},
}


def exact(csv):
    lines = csv.splitlines()
    keep = [i for i, n in enumerate(lines[0].split(",")) if n not in ("ms", "tok_s")]
    return [",".join(line.split(",")[i] for i in keep) for line in lines]


def weights(home, run):
    """SHA-256 of the model at the last step."""
    found = list((home.path / "runs" / run / "checkpoints").glob(f"{STEPS}-a*/model.safetensors"))
    return {hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


class Recorded(Home):
    """A state directory whose every file operation is written down from before it exists."""

    def __init__(self):
        super().__init__(start=False)
        self.log_path = self.root / "operations"
        self.told = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.env = {**os.environ, "LD_PRELOAD": str(LIBRARY), "FAULT_RECORD": str(self.log_path),
                    "FAULT_ROOT": str(self.root)}
        self.text = self.root / "text.txt"
        self.text.write_bytes(english(8_000))

    def ack(self, **what):
        data = ack_bytes(json.dumps(what))
        assert os.write(self.told, data) == len(data)

    def serve(self):
        self.daemon = subprocess.Popen([BAKAD, "--home", self.path], env=self.env, stdin=subprocess.DEVNULL,
                                       stdout=self.log, stderr=self.log)
        while self.ctl("status", check=False).returncode:
            assert self.daemon.poll() is None, (self.root / "bakad.log").read_text()
            time.sleep(0.01)

    def look(self, run):
        p = self.ctl("show", run, "--json", check=False)
        if p.returncode:
            return None
        s = json.loads(p.stdout)
        self.ack(run=run, step=s["step"] or 0, state=s["state"],
                 checkpoint=max((c["step"] for c in s["checkpoints"] if c["mark"] == "good"), default=0))
        return s

    def live(self):
        """The story that is recorded."""
        subprocess.run([BAKACTL, "--home", self.path, "data", "prepare", "--tokenizer", "bytes", self.text, "-o", "text"],
                       env=self.env, check=True, capture_output=True)
        self.ack(data="text")
        self.serve()
        runs = [self.submit(SPEC)[0]]
        self.ack(run=runs[0], step=0, state="queued", checkpoint=0)
        stops, deadline = ["trainer", "daemon", "trainer"], time.monotonic() + 120
        while time.monotonic() < deadline:
            states = [self.look(r) for r in runs]
            steps = sum((s["step"] or 0) for s in states if s)
            if stops and steps >= (4 - len(stops)) * STEPS // 4:
                self.stop(stops.pop(0))
            if len(runs) == 1 and states[0] and (states[0]["step"] or 0) > STEPS // 2:
                runs.append(self.submit(SPEC, "--name", "second")[0])
                self.ack(run=runs[1], step=0, state="queued", checkpoint=0)
            elif len(runs) == 2 and all(s and s["state"] == "finished" for s in states):
                self.kill_daemon(signal.SIGTERM)
                return
        raise AssertionError("the recorded runs do not end")

    def stop(self, victim):
        """By SIGTERM: a SIGKILL between an operation and its record would make the record wrong (test_kills.py has those)."""
        if victim == "daemon":
            self.kill_daemon(signal.SIGTERM)
            self.serve()
            return
        for _, _, keeper in self.keepers():
            for pid in self.children(keeper):
                os.kill(pid, signal.SIGTERM)


def promised(records):
    """What the acknowledgements among the records say, the last word on each run."""
    out = {"data": False, "runs": {}}
    for r in records:
        if r.op != "ack":
            continue
        a = json.loads(r.data)
        if "data" in a:
            out["data"] = True
            continue
        old = out["runs"].get(a["run"], {"step": 0, "checkpoint": 0})
        out["runs"][a["run"]] = {"step": max(old["step"], a["step"]), "state": a["state"],
                                 "checkpoint": max(old["checkpoint"], a["checkpoint"])}
    return out


@unittest.skipIf(SANITIZED, "the shim cannot stand in front of a sanitizer's runtime")
class PowerLoss(unittest.TestCase):
    def same_as_disk(self, disk, path, node=None):
        """The record is complete: played whole, it gives the directory that is there."""
        node = node or disk.top
        here = {p.name for p in path.iterdir() if p.name != "bakad.sock" and not p.name.endswith("-shm")}
        self.assertEqual(here, {n for n in node.live if not n.endswith("-shm")}, path)
        for name in here:
            if isinstance(node.live[name], Directory):
                self.same_as_disk(disk, path / name, node.live[name])
            elif name != "worker.log":  # standard output, opened before the program and no file of its own
                self.assertEqual((path / name).read_bytes(), bytes(node.live[name].live), path / name)

    def test_cuts(self):
        recorded = Recorded()
        self.addCleanup(recorded.close)
        recorded.live()
        home, top = str(recorded.path), str(recorded.root)  # the daemon's log and other files beside the home are not ours
        records = [r for r in read_log(recorded.log_path) if r.op == "ack" or r.path == top or (r.path + "/").startswith(home + "/")]
        disk = Disk(recorded.root)
        for r in records:
            disk.apply(r)
        self.same_as_disk(disk, recorded.path, disk.find(home))
        with Home(start=False) as calm:
            calm.prepare("text", recorded.text.read_bytes())
            calm.start()
            run = calm.submit(SPEC)[0]
            calm.ctl("wait", run)
            want = [exact(calm.ctl(v, run, "--csv").stdout) for v in ("steps", "evals")] + [weights(calm, run)]
        self.cut(recorded, records, want)

    def cut(self, recorded, records, want):
        rng = random.Random(SEED)
        points = sorted(rng.sample(range(len(records) + 1), min(CUTS, len(records))))
        print(f"{len(points)} cuts of {len(records)} operations, BAKA_SEED={SEED}", flush=True)
        disk, at, done = Disk(recorded.root), 0, collections.Counter()
        for point in points:
            while at < point:
                disk.apply(records[at])
                at += 1
            names, data = rng.choice(MODES), rng.choice(MODES)
            with self.subTest(point=point, names=names, data=data, seed=SEED), Home(start=False) as home:
                if disk.find(str(recorded.path)):
                    shutil.rmtree(home.root)
                    disk.build(home.root, names, data, rng)
                self.go_on(home, promised(records[:point]), recorded, want)
                done[f"names {names}"] += 1
                done[f"data {data}"] += 1
        print(f"{len(points)} power cuts, nothing acknowledged lost: {dict(done)}")

    def go_on(self, home, promise, recorded, want):
        folder = home.path / "data/text"
        if promise["data"]:
            self.assertTrue(folder.exists(), "the data set is gone")
        elif not folder.exists():
            home.prepare("text", recorded.text.read_bytes())
        begun = {p.name: max((int(a.name) for a in p.glob("attempts/*")), default=0) for p in home.path.glob("runs/*")}
        home.start()
        known = {r["id"]: r for r in home.json("list", "--all")["runs"]}
        for run, said in promise["runs"].items():
            self.assertIn(run, known, "an acknowledged submission is gone")
            self.assertGreaterEqual(known[run]["step"] or 0, said["step"], "recorded steps are gone")
            if said["state"] == "finished":
                self.assertEqual(known[run]["state"], "finished")
        if not known:
            home.submit(SPEC)
        runs = [r["id"] for r in home.json("list", "--all")["runs"]]
        home.ctl("wait", *runs, timeout=120)
        for run in runs:
            shown = home.json("show", run)
            said = promise["runs"].get(run, {"state": None, "checkpoint": 0})
            last = shown["attempt_list"][-1]
            # One that was there before the cut ended before it too, and what it began from was older than what it wrote.
            if said["state"] not in (None, "finished") and shown["attempts"] > begun.get(run, 0):
                self.assertGreaterEqual(last["resume_step"], said["checkpoint"],
                                        "the newest acknowledged checkpoint was not there to go on from")
            self.assertEqual(exact(home.ctl("steps", run, "--csv").stdout), want[0])
            self.assertEqual(exact(home.ctl("evals", run, "--csv").stdout), want[1])
            self.assertEqual(weights(home, run), want[2])
        home.kill_daemon(signal.SIGTERM)
        with sqlite3.connect(home.path / "baka.db") as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])


if __name__ == "__main__":
    unittest.main()
