#!/usr/bin/env python3
"""test_compare_axes.py - what compare draws over and orders by: axes, equal budgets, smoothing, gaps, attempts; and what
it says of runs that have none of it. The worker is fake_worker.py: 8 tokens a step, 6,000 FLOPs a token."""
import math
import os
import pathlib
import re
import signal
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from daemon_case import DaemonCase  # noqa: E402
from harness import BAKACTL  # noqa: E402
from test_cli_refusals import on_terminal  # noqa: E402


class Axes(DaemonCase):
    def bring(self, name, rows, *more):
        path = self.d.root / "curve.csv"
        path.write_text("step,epoch,tokens,loss,val_loss\n" + "".join(",".join(map(str, r)) + "\n" for r in rows))
        return self.d.json("import", path, "--name", name, *more)["runs"][0]["id"]

    def told(self, *args):
        return self.d.ctl("compare", *args).stdout

    def refused(self, status, words, *args):
        p = self.d.ctl("compare", *args, check=False)
        self.assertEqual(p.returncode, status, p.stderr)
        self.assertIn(words, p.stderr)
        self.assertEqual(len(p.stderr.splitlines()), 1, p.stderr)

    def test_time_of_a_run_that_was_killed(self):
        """Steps that were computed twice count once; energy that was spent twice was spent."""
        run = self.d.queue("n120.m8.k20.g0")
        self.d.until_step(run, 50)
        os.kill(self.d.keeper(run)[1], signal.SIGKILL)
        self.d.until(run, "finished")
        r = self.d.get(f"/v1/compare?ref={run}&points=1000&time=1")["runs"][0]
        self.assertEqual(r["attempts"], 2)
        self.assertEqual(r["curves"]["raw"]["step"], list(range(1, 121)))
        for k, seconds in enumerate(r["curves"]["raw"]["seconds"], 1):
            self.assertAlmostEqual(seconds, 0.008 * k, places=9)
        self.assertEqual((r["energy"]["step"][-1], r["energy"]["joules"][-1]), (120, 1.8e6))
        self.assertNotIn("seconds", self.d.get(f"/v1/compare?ref={run}&points=10")["runs"][0]["curves"]["raw"])

    def test_budgets(self):
        slow, fast = self.d.queue("n40.m4.g0"), self.d.queue("n80.m1.g0")
        foreign = self.bring("foreign", [(s, s / 10, s * 80, 1 + 1 / s, "") for s in range(1, 11)])
        for run in (slow, fast):
            self.d.until(run, "finished")
        def at(*args):
            return self.told(slow, fast, "--metric", "train", *args)

        def order(text):
            return [l.split()[0] for l in text.splitlines() if re.match(r"n[48]0", l)][:2]

        both = at("--at", "tokens")
        at_320 = 1 + math.exp(-4)  # the shorter has 320 tokens, but a mean over two or four steps stands there
        row = {l.split()[0]: float(l.split()[1]) for l in both.splitlines() if re.match(r"n[48]0.* MiB$", l)}
        self.assertIn("train at 320 tokens", both)
        for name in ("n40.m4.g0", "n80.m1.g0"):
            self.assertAlmostEqual(row[name], at_320, delta=0.005)
        # 80 ms of the fast one are all of it, and half of the slow one
        self.assertIn("train at 80ms", at("--at", "time"))
        self.assertEqual(order(at("--at", "time")), ["n80.m1.g0", "n40.m4.g0"])
        self.assertIn("train at 1.92M FLOPs", at("--at", "flops"))
        self.assertIn("train at 0.5 kWh", at("--at", "energy"))
        self.assertIn("note: unequal tokens: n40.m4.g0 has 320, n80.m1.g0 has 640", both)
        # orders
        for where in ("best", "end"):
            self.assertEqual(order(at("--at", where)), ["n80.m1.g0", "n40.m4.g0"])
        # an import knows tokens but no time
        mixed = self.told(slow, foreign, "--x", "time")
        self.assertIn("foreign does not know its time and is not drawn", mixed)
        self.refused(1, "--x time: none of these runs knows its time", foreign, "--x", "time")
        self.refused(1, "--at energy: none of these runs knows its energy", foreign, "--at", "energy")
        for axis, label in (("step", "step "), ("tokens", "tokens "), ("time", "time (s) "), ("gpu-time", None),
                            ("flops", "MFLOPs "), ("energy", "energy (Wh)")):
            if label:
                self.assertRegex(self.told(slow, fast, "--x", axis), rf"(?m)^ *{re.escape(label)}")
            else:
                self.refused(1, "none of these runs knows its gpu-time", slow, fast, "--x", axis)

    def test_smoothing_and_gaps(self):
        rows = [(s, s / 100, s * 10, 2 + 1 / s + 0.5 * (-1) ** s, "") for s in range(1, 301)]
        for s in (50, 51, 200):
            rows[s - 1] = (*rows[s - 1][:3], "nan", "")
        run = self.bring("rough", rows)
        r = self.d.get(f"/v1/compare?ref={run}&points=1000&smooth=ema:0.9")["runs"][0]
        self.assertEqual(r["not_finite"], 3)
        mean = weight = 0.0
        for row, low, high, smooth in zip(rows, *(r["curves"]["raw"][k] for k in ("min", "max", "smooth"))):
            if row[3] == "nan":
                self.assertEqual((low, high, smooth), ("nan",) * 3)
                continue
            mean, weight = 0.9 * mean + row[3], 0.9 * weight + 1
            self.assertEqual((low, high), (row[3], row[3]))
            self.assertAlmostEqual(smooth, mean / weight, places=12)
        text = self.told(run, "--smooth", "window:20")
        self.assertIn("training loss (nats a prediction, smoothed; raw behind it)", text)
        self.assertIn("note: rough has 3 steps whose loss is not finite: gaps in its curve", text)
        self.refused(1, "ema:B with 0 <= B < 1, or window:N", run, "--smooth", "ema:1")

    def test_odd_company(self):
        """One run, none, no steps, no common axis, running, failed at step 3, a name twice, many at once."""
        self.refused(2, "too few arguments")
        self.refused(1, "nothing", "nothing")
        failed, running = self.d.queue("n20.r3.eeinternal_error"), self.d.queue("n4000.m20")
        low = self.bring("alone", [(s, s / 10, s * 80, 1 + 1 / s, 1 + 1 / s) for s in range(1, 11)])
        self.assertIn("alone", self.told(low))
        self.d.until_step(running, 2)
        queued = [self.d.queue(f"n900.m{k}") for k in (20, 21, 22)]
        apart = self.bring("apart", [(s, s / 10, 10 ** 6 + s, 1.0, 1.5) for s in range(1, 11)])
        answer = self.d.json("compare", low, apart)
        self.assertEqual([c for c in answer["crosses"]], [])
        self.assertEqual(answer["decisions"][0]["verdict"], "no_answer")
        self.assertIn("no pair of seeds has a finite loss there, nothing decided", self.told(low, apart))
        for axis in ("step", "epoch", "tokens"):
            self.told(low, apart, "--x", axis, "--log", "xy", "--at", axis)
        text = self.told(failed, running, *queued, low)
        self.assertIn("n4000.m20 is still running", text)
        self.assertRegex(text, r"note: n900\.m2\d is queued and has no steps yet")
        self.d.ctl("cancel", running, *queued)

    def test_many_runs(self):
        rows = [(s, s / 2, s * 10, 3 / s, 3 / s + 1) for s in (1, 2)]
        for k in range(120):
            self.bring(f"many-{k:03}", [(*r[:3], r[3] + k / 1000, r[4] + k / 1000) for r in rows], "--tag", "many")
        answer = self.d.json("compare", "many")
        self.assertEqual((len(answer["runs"]), len(answer["decisions"])), (120, 0))
        self.assertEqual(len(answer["arrows"]) + len(answer["undecided"]), 120 * 119 // 2)
        text = self.told("many")
        self.assertIn("the 9 lowest are drawn, 111 more are in the table", text)
        self.assertLess(len(text.splitlines()), 120 + 80)

    def test_narrow_terminals(self):
        a = self.bring("left", [(s, s / 10, s * 80, 1 + 1 / s, 1 + 1 / s) for s in range(1, 31)])
        b = self.bring("right", [(s, s / 10, s * 80, 1 + 2 / s, 1 + 2 / s) for s in range(1, 31)])
        for columns in (20, 30, 40, 60, 80):
            lines = on_terminal(BAKACTL, "--home", self.d.path, "compare", a, b, columns=columns, NO_COLOR="1")
            self.assertTrue([l for l in lines if any("\u2800" < c < "\u2900" for c in l)], lines)
            self.assertEqual([l for l in lines if len(l) > columns], [], columns)


if __name__ == "__main__":
    unittest.main(verbosity=2)
