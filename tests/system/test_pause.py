#!/usr/bin/env python3
"""Runs that step aside and come back: pause and resume, of one run and of the queue, and higher priorities."""
import os
import pathlib
import signal
import sqlite3
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import DaemonCase  # noqa: E402
from harness import Home, english, wait_until  # noqa: E402


class Stepping(DaemonCase):
    def no_step_lost(self, run, last):
        """Each attempt goes on where the one before it ended."""
        shown = self.d.get(f"/v1/runs/{run}")
        ends = [a["last_step"] for a in shown["attempt_list"][:-1]]
        self.assertEqual([a["resume_step"] for a in shown["attempt_list"][1:]], ends)
        self.assertEqual(self.d.steps(run), list(range(1, last + 1)))
        return shown


class Pause(Stepping):
    def test_running_run(self):
        run = self.d.queue("n200.m10.k1000")
        self.d.until_step(run, 5)
        self.assertEqual(self.d.post(f"/v1/runs/{run}/pause")["stepping_aside"], "pause")
        shown = self.d.until(run, "paused")
        self.assertEqual((shown["reason"], shown["stepping_aside"]), ("paused by request", None))
        self.assertEqual(shown["attempt_list"][0]["outcome"], "stepped aside")
        self.assertEqual(self.d.get("/v1/status")["slots"]["cpu"]["used"], 0)
        self.d.kill_daemon()
        self.d.start()
        time.sleep(0.3)
        self.assertEqual(self.d.state(run), "paused")
        self.assertEqual(self.d.post(f"/v1/runs/{run}/resume")["state"], "queued")
        self.d.until(run, "finished")
        self.assertEqual(self.no_step_lost(run, 200)["attempts"], 2)

    def test_queued_run_and_refusals(self):
        busy = [self.d.queue("n9999.m10") for _ in range(2)]
        run = self.d.queue("n5")
        self.assertEqual(self.d.post(f"/v1/runs/{run}/pause")["state"], "paused")
        self.assertIn("is paused: only queued and running", self.d.post(f"/v1/runs/{run}/pause", expect=409)["error"]["message"])
        self.d.post("/v1/runs/nobody/pause", expect=404)
        for b in busy:
            self.d.post(f"/v1/runs/{b}/cancel")
            self.d.until(b, "cancelled")
        self.assertEqual(self.d.state(run), "paused")
        p = self.d.ctl("pause", check=False)
        self.assertEqual(p.returncode, 2)
        self.assertIn("--all", p.stderr)
        self.assertEqual(self.d.ctl("pause", "--all", run, check=False).returncode, 2)
        self.assertEqual(self.d.ctl("resume", run).stdout, f"{run} n5: queued\n")
        self.d.until(run, "finished")
        self.assertEqual(self.d.ctl("resume", run, check=False).returncode, 1)
        self.assertEqual(self.d.ctl("pause", run, check=False).returncode, 1)

    def test_resumed_before_it_has_stepped_aside(self):
        run = self.d.queue("n60.m100.k1000")
        self.d.until_step(run, 3)
        self.d.post(f"/v1/runs/{run}/pause")
        self.d.post(f"/v1/runs/{run}/resume")
        self.d.until(run, "finished")
        self.assertEqual(self.no_step_lost(run, 60)["attempts"], 2)

    def test_daemon_killed_while_a_run_steps_aside(self):
        """The next one knows what was asked, and a second signal costs no step."""
        for asked_first in (True, False):
            run = self.d.queue("n10.m600.k1000")  # long steps: it is still in one when the next daemon finds it
            self.d.until_step(run, 2)
            self.d.post(f"/v1/runs/{run}/pause") if asked_first else None
            self.d.kill_daemon()
            if not asked_first:  # the request was recorded, and no signal sent
                with sqlite3.connect(self.d.path / "baka.db") as db:
                    db.execute("UPDATE runs SET step_aside = 'pause' WHERE id = ?", (int(run[1:]),))
                db.close()
            self.d.start()
            self.d.until(run, "paused")
            self.d.post(f"/v1/runs/{run}/resume")
            self.d.until(run, "finished")
            self.no_step_lost(run, 10)

    def test_asked_again(self):
        """One that goes on as if it had heard nothing is asked for a checkpoint, and told again when it is written."""
        run = self.d.queue("n400.m10.k1000.u1")
        self.d.until_step(run, 3)
        self.d.post(f"/v1/runs/{run}/pause")
        self.d.until(run, "paused")
        self.d.post(f"/v1/runs/{run}/resume")
        self.d.until(run, "finished")
        self.assertEqual(self.no_step_lost(run, 400)["attempts"], 2)
        self.assertIn("worker_asked_again", self.d.log_text())

    def test_killed_over_it(self):
        run = self.d.queue("n9999.m10.h1")
        self.d.until_step(run, 12)
        self.d.post(f"/v1/runs/{run}/pause")
        os.kill(self.d.keeper(run)[1], signal.SIGKILL)
        self.d.until(run, "paused")
        self.d.post(f"/v1/runs/{run}/cancel")
        self.assertEqual(self.d.state(run), "cancelled")

    def test_whole_queue(self):
        runs = [self.d.queue(f"n100.m10.k1000") for _ in range(2)]
        waiting = self.d.queue("n5")
        for run in runs:
            self.d.until_step(run, 5)
        self.assertRegex(self.d.ctl("pause", "--all").stdout, "^the queue is paused; 2 at work step aside")
        for run in runs:
            shown = self.d.until(run, "queued")
            self.assertEqual((shown["reason"], shown["attempts"]), ("the queue is paused", 1))
        self.assertIn("queue       paused", self.d.ctl("status").stdout)
        late = self.d.queue("n5")
        self.d.kill_daemon()
        self.d.start()
        time.sleep(0.5)
        self.assertTrue(self.d.get("/v1/status")["queue"]["paused"])
        self.assertEqual([self.d.state(r) for r in (*runs, waiting, late)], ["queued"] * 4)
        self.d.post(f"/v1/runs/{late}/pause")
        self.assertEqual(self.d.json("resume", "--all"), {"paused": False, "resumed": 1})
        for run in (*runs, waiting, late):
            self.d.until(run, "finished")
        for run in runs:
            self.assertEqual(self.no_step_lost(run, 100)["attempts"], 2)
        self.assertFalse(self.d.get("/v1/status")["queue"]["paused"])


class Preemption(Stepping):
    def test_lowest_makes_room(self):
        low = [self.d.queue("n300.m10.k1000", priority=p) for p in (1, 0)]
        for run in low:
            self.d.until_step(run, 5)
        high = self.d.queue("n40.m10", priority=5)
        self.assertEqual(self.d.until(high, "finished")["attempts"], 1)
        shown = self.d.until(low[1], "finished", timeout=60)
        self.assertEqual(self.d.until(low[0], "finished", timeout=60)["attempts"], 1)
        self.assertEqual(self.no_step_lost(low[1], 300)["attempts"], 2)
        self.assertEqual(shown["attempt_list"][0]["outcome"], "stepped aside")
        self.assertEqual([e["text"] for e in shown["events"] if e["kind"] == "step_aside"],
                         [f"for {high} of priority 5; this one has 0"])
        self.assertIn("made room for a run of higher priority", [e["text"] for e in shown["events"]])

    def test_equal_ones_wait_until_raised(self):
        low = [self.d.queue("n600.m10.k1000") for _ in range(2)]
        for run in low:
            self.d.until_step(run, 5)
        run = self.d.queue("n5")
        time.sleep(0.5)
        self.assertEqual((self.d.state(run), [self.d.state(r) for r in low]), ("queued", ["running"] * 2))
        self.assertEqual(self.d.ctl("priority", run, 3).stdout, f"{run} n5: priority 3\n")
        self.d.until(run, "finished")
        self.assertEqual(self.d.get(f"/v1/runs/{run}")["priority"], 3)
        self.assertIn("3, before 0", [e["text"] for e in self.d.get(f"/v1/runs/{run}")["events"]])
        for r in low:
            self.d.post(f"/v1/runs/{r}/cancel")
            self.d.until(r, "cancelled")
        self.assertEqual(sorted(self.d.get(f"/v1/runs/{r}")["attempts"] for r in low), [1, 2])

    def test_one_that_fails_at_once_takes_no_turns(self):
        low = self.d.queue("n400.m10.k1000", spec={"resources": {"cpus": 2}})
        self.d.until_step(low, 5)
        self.d.queue("n5.x7.r1.n400", priority=5)
        self.d.until(low, "finished", timeout=60)
        self.assertLessEqual(self.no_step_lost(low, 400)["attempts"], 3)

    def test_bad_priorities(self):
        run = self.d.queue("n9999.m10")
        for bad in (1001, 1.5, "high", True):
            self.assertEqual(self.d.queue("n5", priority=bad, expect=400)["path"], "priority")
            self.assertEqual(self.d.post(f"/v1/runs/{run}/priority", {"priority": bad}, 400)["error"]["path"], "priority")
        self.d.post(f"/v1/runs/{run}/priority", {"prio": 1}, 400)
        self.assertEqual(self.d.ctl("priority", run, "many", check=False).returncode, 2)
        self.assertEqual(self.d.ctl("priority", run, "--", "-7").stdout, f"{run} n9999.m10: priority -7\n")
        self.d.post(f"/v1/runs/{run}/cancel")
        self.d.until(run, "cancelled")
        self.d.post(f"/v1/runs/{run}/priority", {"priority": 1}, 409)


class RealWorker(unittest.TestCase):
    def test_same_bits(self):
        """A run paused again and again has the losses of one that was left alone."""
        spec = {"name": "r", "data": {"name": "text"}, "model": {"dim": 32, "layers": 2, "heads": 2},
                "train": {"steps": 600, "seq_len": 32, "batch": 4, "seed": 3, "checkpoint_every": 100000}}
        with Home("--cpu-slots", "1") as home:
            home.prepare("text", english(20_000))
            alone = home.submit(spec, "--name", "alone")[0]
            home.ctl("wait", alone)
            run = home.submit(spec, "--name", "paused")[0]
            pauses = 0
            for at in (50, 250, 400):
                shown = wait_until(f"step {at}", lambda: (s := home.json("show", run)) and
                                   ((s["step"] or 0) >= at or s["state"] == "finished") and s)
                if home.ctl("pause", run, check=False).returncode != 0:
                    break
                shown = wait_until("pause", lambda: (s := home.json("show", run)) and
                                   s["state"] in ("paused", "finished") and s)
                if shown["state"] == "finished":
                    break
                pauses += 1
                home.ctl("resume", run)
            home.ctl("wait", run)
            shown = home.json("show", run)
            self.assertGreater(pauses, 0)
            self.assertEqual(shown["attempts"], pauses + 1)
            self.assertEqual([a["resume_step"] for a in shown["attempt_list"][1:]],
                             [a["last_step"] for a in shown["attempt_list"][:-1]])
            losses = [[line.split(",")[3] for line in home.ctl("steps", r).stdout.splitlines()[1:]] for r in (alone, run)]
            self.assertEqual(len(losses[0]), 600)
            self.assertEqual(*losses)
            self.assertEqual(shown["nondeterminism"], 0)


if __name__ == "__main__":
    unittest.main()
