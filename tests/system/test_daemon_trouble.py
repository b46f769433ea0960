#!/usr/bin/env python3
"""test_daemon_trouble.py - what keeps runs waiting, or takes the ground from under them: a full disk, a worker program
that goes away, a run directory that is deleted or moved while its worker runs. The worker is fake_worker.py."""
import os
import pathlib
import re
import resource
import shutil
import signal
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import SANITIZED, Home, english

WORKER = HERE / "fake_worker.py"
PATIENCE = 60 if SANITIZED else 20
SPEC = {"data": {"name": "text"}, "model": {"dim": 16, "layers": 1, "heads": 2}, "train": {"seq_len": 16, "batch": 2}}


class Case(unittest.TestCase):
    worker = WORKER

    def setUp(self):
        self.home = Home("--worker", self.worker, "--cpu-slots", "2", start=False)
        self.addCleanup(self.home.close)
        self.home.prepare("text", english(5000))
        self.home.start()

    def queue(self, name):
        return self.home.submit(SPEC, "--name", name)[0]

    def log(self, event=None):
        """The daemon's log, or its lines of one event."""
        text = (self.home.root / "bakad.log").read_text(errors="replace")
        return text if event is None else [line for line in text.splitlines() if re.search(rf" {event}( |$)", line)]

    def row(self, run):
        return self.home.json("list", run)["runs"][0]

    def until(self, what, look, timeout=PATIENCE):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            seen = look()
            if what(seen):
                return seen
            time.sleep(0.05)
        self.fail(f"it does not come: {seen}\n{self.log()[-3000:]}")

    def until_state(self, run, *states):
        return self.until(lambda seen: seen["state"] in states, lambda: self.home.json("show", run))

    def until_step(self, run, step):
        return self.until(lambda seen: (seen["step"] or 0) >= step, lambda: self.home.json("show", run))

    def steps(self, run):
        return [int(line.split(",")[0]) for line in self.home.ctl("steps", run, "--csv").stdout.splitlines()[1:]]


class FullDisk(Case):
    def limit(self, size):
        resource.prlimit(self.home.daemon.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    @unittest.skipIf(SANITIZED, "sanitizers need large files of their own")
    def test_a_run_whose_end_cannot_be_recorded_says_so(self):
        run, other = self.queue("n400.m10.r150.edisk_full"), self.queue("n200.m10")
        waiting = self.queue("n5")
        self.until_step(run, 5)
        self.limit(4096)  # the log grows by whole pages: nothing can be written any more
        seen = self.until(lambda r: r["reason"] == "disk full: waiting for room", lambda: self.row(run))
        self.assertEqual((seen["state"], seen["eta_s"]), ("running", None))
        self.assertIn("disk full: waiting for room", self.home.ctl("list").stdout)
        self.assertEqual(self.row(waiting)["reason"], "disk full: waiting for room")
        status = self.home.json("status")
        self.assertIn("disk full: waiting for room in", status["trouble"])
        self.assertIn("disk full", self.home.ctl("status").stdout)
        self.assertEqual(self.home.json("show", run)["reason"], "disk full: waiting for room")
        time.sleep(4)
        self.assertEqual(len(self.log("disk_full")), 1, "one line when it begins, not one for each try")
        self.assertEqual(self.log("ingest_failed") + self.log("claim_failed") + self.log("end_unrecorded"), [])
        self.limit(resource.RLIM_INFINITY)
        self.until(lambda r: (r["state"], r["reason"]) == ("queued", "disk full: as asked"), lambda: self.row(run))
        self.until(lambda s: s["trouble"] is None, lambda: self.home.json("status"))
        for r, n in (other, 200), (waiting, 5):
            self.assertEqual(self.until_state(r, "finished")["attempts"], 1)
            self.assertEqual(self.steps(r), list(range(1, n + 1)))
        self.assertEqual(self.steps(run), list(range(1, 151)))
        self.assertEqual(len(self.log("disk_has_room")), 1)
        self.until(lambda s: s["attempts"] == 2, lambda: self.home.json("show", run))

    @unittest.skipIf(SANITIZED, "sanitizers need large files of their own")
    def test_a_living_run_has_no_time_left(self):
        run = self.queue("n2000.m10")
        self.until(lambda r: r["eta_s"] is not None, lambda: self.row(run))
        self.limit(4096)
        seen = self.until(lambda r: r["reason"] != "", lambda: self.row(run))
        self.assertEqual((seen["state"], seen["reason"], seen["eta_s"]),
                         ("running", "disk full: progress not recorded", None))
        self.limit(resource.RLIM_INFINITY)
        self.until(lambda r: r["reason"] == "" and r["eta_s"] is not None, lambda: self.row(run))

    def test_patience_grows(self):
        """With room for the record but none for the worker: tried after 2 s, 4 s, ... not ten times a second."""
        run = self.queue("n9.r4.k100.edisk_full")
        time.sleep(5)
        shown = self.home.json("show", run)
        self.assertEqual((shown["state"], shown["reason"]), ("queued", "disk full: as asked"))
        self.assertIn(shown["attempts"], (1, 2))


class WorkerProgram(Case):
    def setUp(self):
        self.folder = Home(start=False)
        self.addCleanup(self.folder.close)
        self.worker = self.folder.root / "worker.py"
        shutil.copy(WORKER, self.worker)
        super().setUp()

    def test_vanishes_and_comes_back(self):
        first = self.queue("n5")
        self.until_state(first, "finished")
        self.worker.rename(self.worker.with_suffix(".away"))
        runs = [self.queue("n5") for _ in range(3)]
        status = self.until(lambda s: s["trouble"], lambda: self.home.json("status"))
        self.assertIn(str(self.worker), status["trouble"])
        time.sleep(3)
        for run in runs:
            shown = self.home.json("show", run)
            self.assertEqual((shown["state"], shown["attempts"], shown["reason"]),
                             ("queued", 0, "waiting: worker cannot start"))
        self.assertEqual(len(self.log("worker_unusable")), 1)
        self.worker.with_suffix(".away").rename(self.worker)
        for run in runs:
            self.until_state(run, "finished")
        self.assertEqual(len(self.log("worker_usable")), 1)
        self.assertIsNone(self.home.json("status")["trouble"])

    def test_there_but_refused(self):
        """The system does not take it for a program: no run may come to its limit by that."""
        self.worker.write_text("#!/nonexistent/interpreter\n")
        runs = [self.queue("n5") for _ in range(3)]
        self.until(lambda s: s["trouble"], lambda: self.home.json("status"))
        time.sleep(4)
        shown = [self.home.json("show", run) for run in runs]
        self.assertEqual({s["state"] for s in shown}, {"queued"})
        self.assertLessEqual(sum(s["attempts"] for s in shown), 6)
        self.assertEqual(len(self.log("worker_unusable")), 1)
        shutil.copy(WORKER, self.worker)
        for run in runs:
            self.until_state(run, "finished")
        self.assertIsNone(self.home.json("status")["trouble"])


class RunDirectory(Case):
    def lost(self, run):
        shown = self.until_state(run, "failed", "finished", "queued")
        self.assertEqual(shown["state"], "failed", shown["reason"])
        self.assertIn("directory was deleted or moved while it ran", shown["reason"])
        self.assertIn(str(self.home.path / "runs" / run), shown["reason"])
        self.assertEqual(shown["attempts"], 1)

    def test_deleted_under_a_running_worker(self):
        run = self.queue("n9999.m10.k100000")
        self.until_step(run, 3)
        keeper = next(pid for name, _, pid in self.home.keepers() if name == run)
        shutil.rmtree(self.home.path / "runs" / run)
        self.lost(run)
        self.until(lambda gone: gone, lambda: not pathlib.Path(f"/proc/{keeper}").exists())
        self.assertEqual(len(self.log("directory_gone")), 1)
        self.assertGreaterEqual(len(self.steps(run)), 3)
        self.home.ctl("retry", run)
        self.until_step(run, 1)
        self.home.ctl("cancel", run)

    def test_moved_away(self):
        run = self.queue("n9999.m10.k100000")
        self.until_step(run, 3)
        (self.home.path / "runs" / run).rename(self.home.root / "elsewhere")
        self.lost(run)

    def test_deleted_while_no_daemon_serves(self):
        run = self.queue("n9999.m10.k100000")
        self.until_step(run, 3)
        keeper = next(pid for name, _, pid in self.home.keepers() if name == run)
        self.home.kill_daemon(signal.SIGKILL)
        shutil.rmtree(self.home.path / "runs" / run)
        self.home.start()
        self.lost(run)
        self.until(lambda gone: gone, lambda: not pathlib.Path(f"/proc/{keeper}").exists())

    def test_deleted_and_the_worker_killed(self):
        run = self.queue("n9999.m10.k100000")
        self.until_step(run, 3)
        keeper = next(pid for name, _, pid in self.home.keepers() if name == run)
        shutil.rmtree(self.home.path / "runs" / run)
        os.kill(keeper, signal.SIGKILL)
        self.lost(run)


if __name__ == "__main__":
    unittest.main()
