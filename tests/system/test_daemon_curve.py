#!/usr/bin/env python3
"""test_daemon_curve.py - what a run's row says of its curve: the step it came to while attempts compute steps again, steps
that were lost with their record, steps whose update was skipped. The worker is fake_worker.py."""
import json
import os
import pathlib
import signal
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import DaemonCase  # noqa: E402


class Curve(DaemonCase):
    def last_step(self, run):
        return (self.d.steps(run) or [0])[-1]

    def test_two_bad_checkpoints(self):
        """show and steps are of one mind at every moment, however far the attempts fall back."""
        run = self.d.queue("n200.m8.k20.f60")
        self.d.until_step(run, 90)
        os.kill(self.d.keeper(run)[1], signal.SIGKILL)
        shown, behind = {"state": "running"}, 0
        while shown["state"] not in ("finished", "failed"):
            before = self.last_step(run)
            shown = self.d.get(f"/v1/runs/{run}")
            after = self.last_step(run)
            self.assertTrue(before <= shown["step"] <= after, f"show says {shown['step']}, steps {before} to {after}")
            behind += shown["attempt_list"][-1]["last_step"] < before
        self.assertEqual((shown["state"], shown["attempts"], shown["step"]), ("finished", 4, 200))
        self.assertGreater(behind, 5, "the fall was not seen")
        self.assertEqual([k["mark"] for k in shown["checkpoints"] if k["attempt"] == 1].count("bad"), 2)
        self.assertEqual(self.d.steps(run), list(range(1, 201)))

    def test_a_lost_step_is_told_everywhere(self):
        run, whole = self.d.queue("n20.d7", tags=["both"]), self.d.queue("n20", tags=["both"])
        waited = self.d.ctl("wait", run, whole)
        shown = self.d.json("show", run)
        self.assertEqual((shown["state"], shown["missing_steps"], shown["step"]), ("finished", 1, 20))
        self.assertEqual([e["text"] for e in shown["events"] if e["kind"] == "missing_steps"],
                         ["1 of the steps done is recorded nowhere"])
        warning = f"bakactl: warning: {run} n20.d7: 1 step is missing, a journal was damaged; " \
                  f"bakactl show {run} tells where\n"
        self.assertEqual(waited.stderr, warning)
        self.assertIn("warning   1 step is missing: a journal was damaged\n", self.d.ctl("show", run).stdout)
        for args in (("steps", run), ("steps", run, "--json"), ("compare", "both"), ("compare", "both", "--json"),
                     ("wait", run, "--json")):
            told = self.d.ctl(*args)
            self.assertEqual(told.stderr, warning, args)
            if "--json" in args:
                json.loads(told.stdout)
        self.assertEqual(self.d.get(f"/v1/runs/{whole}")["missing_steps"], 0)
        self.assertEqual(self.d.ctl("steps", whole).stderr, "")

    def test_the_last_step_is_lost(self):
        run = self.d.queue("n20.d20")
        self.assertEqual(self.d.until(run, "finished")["missing_steps"], 1)

    def test_skipped_steps_are_counted(self):
        skip = {"train": {"seq_len": 16, "batch": 2, "on_nonfinite": "skip"}}
        run, one = self.d.queue("n12.j3", spec=skip), self.d.queue("n12.j12", spec=skip)
        self.assertRegex(self.d.ctl("wait", run).stdout, ": finished, .*, 4 steps skipped, took ")
        self.assertRegex(self.d.ctl("wait", one).stdout, ": finished, .*, 1 step skipped, took ")
        self.assertEqual(self.d.json("show", run)["skipped_steps"], 4)
        self.assertIn("skipped   4 of the updates", self.d.ctl("show", run).stdout)
        calm = self.d.queue("n12", spec=skip)
        self.assertNotIn("skipped", self.d.ctl("wait", calm).stdout)


if __name__ == "__main__":
    unittest.main()
