#!/usr/bin/env python3
"""A worker that makes no progress, lies, or does not go: what bakad does about it, with system/fake_worker.py."""
import ctypes
import os
import pathlib
import signal
import sqlite3
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import DaemonCase, PATIENCE  # noqa: E402
from harness import wait_until  # noqa: E402

PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
FLOOR = 2 if PATIENCE == 20 else 8  # a sanitized daemon on a busy machine needs time for honest workers


class Hung(DaemonCase):
    args = ("--cpu-slots", "2", "--hung-start", str(2 * FLOOR), "--hung-floor", str(FLOOR), "--cancel-grace", "1")

    def log(self, run, attempt=1):
        return (self.d.path / f"runs/{run}/attempts/{attempt}/worker.log").read_text()

    def events(self, run, kind):
        return [e for e in self.d.get(f"/v1/runs/{run}")["events"] if e["kind"] == kind]

    def test_silence_is_evidenced_killed_and_resumed(self):
        run = self.d.queue("n40.q12.y1.k5.g0")
        shown = self.d.until(run, "finished", timeout=6 * PATIENCE)
        self.assertEqual(shown["attempts"], 2)
        first = shown["attempt_list"][0]
        self.assertEqual((first["outcome"], first["last_step"], shown["attempt_list"][1]["resume_step"]), ("hung", 12, 10))
        self.assertEqual(self.d.steps(run), list(range(1, 41)))
        told = self.events(run, "hung")
        self.assertEqual(len(told), 1)
        self.assertRegex(told[0]["text"], r"^nothing new for \d+ s, the budget of a step after step 12; pid \d+: sleeping")
        self.assertIn("; GPU at step 0: Xid 0, 64 C, 20480 MiB in use", told[0]["text"])
        self.assertIn("hang", self.log(run))  # its stack: the names of its functions
        back = [e for e in shown["events"] if e.get("from") == "running" and e["to"] == "queued"]
        self.assertRegex(back[0]["text"], "^hung: nothing new for")

    def test_same_step_three_times_is_final(self):
        run = self.d.queue("n40.q7.k5")
        shown = self.d.until(run, "failed", timeout=9 * PATIENCE)
        self.assertEqual([a["outcome"] for a in shown["attempt_list"]], ["hung"] * 3)
        self.assertRegex(shown["reason"], "^crashed or hung 3 times after step 7: hung: ")

    def test_each_phase(self):
        start = self.d.queue("y2.n20")
        end = self.d.queue("n20.y3")
        self.assertRegex(wait_until("a hung start", lambda: self.events(start, "hung"))[0]["text"],
                         "a start after step 0")
        self.d.post(f"/v1/runs/{start}/cancel")
        self.assertRegex(wait_until("a hung end", lambda: self.events(end, "hung"))[0]["text"], "after step 20")
        self.d.post(f"/v1/runs/{end}/cancel")
        run = self.d.queue("n40.q10.y4.k5", spec={"train": {"seq_len": 16, "batch": 2, "checkpoint_every": 5}})
        self.assertRegex(wait_until("a hung checkpoint", lambda: self.events(run, "hung"))[0]["text"],
                         "a checkpoint after step 10")
        self.d.post(f"/v1/runs/{run}/cancel")

    def test_noise_is_no_progress(self):
        halves, again = self.d.queue("n40.p7.y1"), self.d.queue("n40.v7.y1")
        for run in (halves, again):
            shown = self.d.until(run, "finished", timeout=6 * PATIENCE)
            self.assertEqual((shown["attempts"], shown["attempt_list"][0]["outcome"]), (2, "hung"))
            self.assertEqual(self.d.steps(run), list(range(1, 41)))
        losses = [row[3] for row in self.d.get(f"/v1/runs/{again}/steps?limit=100")["rows"]]
        self.assertNotIn(99.0, losses)
        self.assertTrue(self.d.get(f"/v1/runs/{again}")["attempt_list"][0]["journal_damaged"])

    def test_lies_change_nothing(self):
        run = self.d.queue("n20.w7")
        shown = self.d.until(run, "finished")
        self.assertEqual(self.d.steps(run), list(range(1, 21)))
        self.assertNotIn(99.0, [row[3] for row in self.d.get(f"/v1/runs/{run}/steps?limit=100")["rows"]])
        self.assertTrue(shown["attempt_list"][0]["journal_damaged"])

    def test_slow_is_not_hung(self):
        """Steps that take longer than most, but come."""
        run = self.d.queue(f"n4.m{1000 * FLOOR // 2}")
        self.assertEqual(self.d.until(run, "finished", timeout=6 * PATIENCE)["attempts"], 1)

    def test_late_words(self):
        """Stopped for longer than its budget and woken before SIGKILL: it may still checkpoint and say that it stopped;
        the run goes on from there. One that ignores SIGTERM is killed, and what it left behind writes on in vain."""
        self.d.kill_daemon(signal.SIGTERM)
        self.d.daemon_args = (*self.d.daemon_args, "--cancel-grace", "60")
        self.d.start()
        run = self.d.queue("n300.m10.k1000")
        self.d.until_step(run, 8)
        trainer = self.d.keeper(run)[1]
        os.kill(trainer, signal.SIGSTOP)
        text = wait_until("the event", lambda: self.events(run, "hung"))[0]["text"]
        self.assertIn("stopped (SIGSTOP)", text)
        wait_until("SIGTERM", lambda: "why=hung" in self.d.log_text())
        os.kill(trainer, signal.SIGCONT)
        shown = self.d.until(run, "finished", timeout=6 * PATIENCE)
        self.assertEqual((shown["attempts"], shown["attempt_list"][0]["outcome"]), (2, "hung"))
        self.assertEqual(shown["attempt_list"][1]["resume_step"], shown["attempt_list"][0]["last_step"])
        self.assertEqual(self.d.steps(run), list(range(1, 301)))
        self.assertEqual(shown["nondeterminism"], 0)

    def test_words_to_an_old_attempt(self):
        """A process of a dead attempt writes steps into that attempt's journal while a new one runs: nobody reads them,
        also not the next daemon."""
        run = self.d.queue("n60.m20.o7.r8.s9.y1")
        self.addCleanup(self.kill_leftovers, run)
        self.d.until(run, "queued", "running")
        wait_until("a second attempt", lambda: self.d.get(f"/v1/runs/{run}")["attempts"] >= 2)
        journal = self.d.path / f"runs/{run}/attempts/1/journal"
        size = journal.stat().st_size
        wait_until("late words", lambda: journal.stat().st_size > size)
        self.d.kill_daemon()
        self.d.start()
        wait_until("progress", lambda: self.d.get(f"/v1/runs/{run}")["attempts"] >= 3 or self.d.state(run) == "failed")
        rows = self.d.get(f"/v1/runs/{run}/steps?limit=1000")["rows"]
        self.assertEqual(self.d.get(f"/v1/runs/{run}")["attempt_list"][0]["last_step"], 8)
        self.assertFalse([r for r in rows if r[3] == 99.0], "an old attempt's words are in the curve")

    @staticmethod
    def kill_leftovers(run):
        for p in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if "fake_worker" in p.read_text() and f"/{run}\0" in p.read_text():
                    os.kill(int(p.parent.name), signal.SIGKILL)
            except OSError:
                pass

    def test_one_that_cannot_be_killed(self):
        """Its trainer is kept from being released, as by a driver that does not let it go: slots stay taken and status
        says so; when it goes the run resumes."""
        libc = ctypes.CDLL(None, use_errno=True)
        run = self.d.queue("n60.m10.q30.y1.h1.k5")
        self.d.until_step(run, 30)
        _, trainer = self.d.keeper(run)
        if libc.ptrace(PTRACE_SEIZE, trainer, None, None) != 0:
            self.skipTest("ptrace is not permitted here")
        stuck = wait_until("quarantine", lambda: self.d.get("/v1/status")["quarantined"])
        self.assertEqual((stuck[0]["run"], stuck[0]["pid"]), (run, trainer))
        self.assertEqual(self.d.get("/v1/status")["slots"]["cpu"]["used"], 1)
        self.assertIn(f"cannot be killed: {run}", self.d.ctl("status").stdout)
        self.assertEqual(self.d.get(f"/v1/runs/{run}")["reason"], "hung: cannot be killed")
        self.assertEqual(len(self.events(run, "unkillable")), 1)
        os.waitpid(trainer, 0x40000000)  # __WALL: the tracer lets it go
        shown = self.d.until(run, "finished", timeout=6 * PATIENCE)
        self.assertEqual(shown["attempts"], 2)
        self.assertEqual(self.d.get("/v1/status")["quarantined"], [])
        self.assertEqual(self.d.steps(run), list(range(1, 61)))

    def test_adopted_hang(self):
        """The clock begins anew with the daemon, and the budget is still known."""
        run = self.d.queue("n40.q12.y1")
        self.d.until_step(run, 12)
        time.sleep(FLOOR / 2)
        self.d.kill_daemon()
        self.d.start()
        self.assertEqual(self.events(run, "hung"), [])
        shown = self.d.until(run, "finished", timeout=6 * PATIENCE)
        self.assertEqual((shown["attempts"], shown["attempt_list"][0]["outcome"]), (2, "hung"))
        self.assertEqual(self.d.steps(run), list(range(1, 41)))

    def test_a_stopped_daemon_is_no_silence(self):
        run = self.d.queue("n100.m60")
        self.d.until_step(run, 3)
        keeper, trainer = self.d.keeper(run)
        for pid in (trainer, keeper, self.d.daemon.pid):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3 * FLOOR)
        for pid in (self.d.daemon.pid, keeper, trainer):
            os.kill(pid, signal.SIGCONT)
        shown = self.d.until(run, "finished", timeout=3 * PATIENCE)
        self.assertEqual((shown["attempts"], self.events(run, "hung")), (1, []))


class Reboot(DaemonCase):
    def test_told_from_a_crash(self):
        """A machine that went down leaves a lock that nobody holds, of another boot, and no exit.json. As often as it
        comes at one step, it is no crash."""
        run = self.d.queue("n60.m10.k10.q25")
        for attempt in range(1, 5):
            wait_until("the attempt", lambda: (a := self.d.get(f"/v1/runs/{run}")["attempt_list"]) and
                       len(a) == attempt and a[-1]["last_step"] >= 25)
            keeper, trainer = self.d.keeper(run)
            self.d.kill_daemon()
            os.kill(keeper, signal.SIGKILL)
            wait_until("its end", lambda: not pathlib.Path(f"/proc/{trainer}").exists())
            lock = self.d.path / f"runs/{run}/attempts/{attempt}/lock"
            self.assertFalse(lock.with_name("exit.json").exists())
            pid, start, _ = lock.read_text().split()
            lock.write_text(f"{pid} {start} 11111111-2222-3333-4444-555555555555\n")
            self.d.start()
        shown = wait_until("the fifth attempt", lambda: (s := self.d.get(f"/v1/runs/{run}")) and s["attempts"] == 5 and s)
        self.assertEqual([a["outcome"] for a in shown["attempt_list"][:4]], ["reboot"] * 4)
        self.assertIn("the machine was started anew while it ran; it resumes", [e["text"] for e in shown["events"]])
        self.assertEqual(self.d.steps(run)[:25], list(range(1, 26)))
        self.d.post(f"/v1/runs/{run}/cancel")


class Adoption(DaemonCase):
    def test_asked_while_it_adopts(self):
        """A request that is answered in the first moments of a daemon reaches a worker that is adopted just then."""
        for action, state in (("cancel", "cancelled"), ("pause", "paused")) * 6:
            run = self.d.queue("n9999.m10.k1000")
            self.d.until_step(run, 1)
            self.d.kill_daemon()
            self.d.start()
            self.d.post(f"/v1/runs/{run}/{action}")
            self.d.until(run, state)
            if action == "pause":
                self.d.post(f"/v1/runs/{run}/cancel")


class Clock(DaemonCase):
    def test_set_back(self):
        """A wait that was recorded before the clock was set back by a day does not last a day."""
        busy = [self.d.queue("n9999.m10") for _ in range(2)]
        run = self.d.queue("n5")
        for b in busy:
            self.d.until_step(b, 1)
        self.d.kill_daemon()
        db = sqlite3.connect(self.d.path / "baka.db")
        with db:
            db.execute("UPDATE runs SET not_before_ms = ? WHERE id = ?", (int(1000 * (time.time() + 86400)), int(run[1:])))
        db.close()
        self.d.start()
        self.d.post(f"/v1/runs/{busy[0]}/cancel")
        self.d.until(run, "finished")
        self.d.post(f"/v1/runs/{busy[1]}/cancel")


if __name__ == "__main__":
    unittest.main()
