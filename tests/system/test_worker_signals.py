#!/usr/bin/env python3
"""What baka-worker does when it is asked to stop, to checkpoint or to show its stack."""
import os
import pathlib
import signal
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import wait_until  # noqa: E402
from worker_case import PATIENCE, WorkerCase, of_kind  # noqa: E402


class Signals(WorkerCase):
    def test_sigterm_checkpoints_and_resumes(self):
        for whole_group in (False, True):
            r = self.run_of({"train": {"checkpoint_every": 1000}})
            p = r.start()
            wait_until("ten steps", lambda: len(of_kind(r.journal(), "step")) >= 10)
            if whole_group:
                os.killpg(p.pid, signal.SIGTERM)  # reaches the trainer twice: it is still one request
            else:
                p.terminate()
            self.assertEqual(p.wait(timeout=PATIENCE), 0, r.log())
            end = r.end()
            self.assertEqual(end["reason"], "stopped")
            self.assertEqual(r.newest(), f"checkpoints/{end['step']}-a1")
            self.assertEqual(of_kind(r.journal(), "step")[-1]["step"], end["step"])
            self.assertEqual((r.exit()["status"], r.exit()["signal"]), (0, 0))
            self.assertEqual(r.go(r.newest()), 0, r.log())
            self.same_as_reference(r)

    def test_sigterm_at_once_loses_nothing(self):
        """As early as it can come: before the trainer has its handlers, or before its first step."""
        for delay in (0, 0.002, 0.005, 0.01, 0.02):
            r = self.run_of()
            p = r.start()
            wait_until("lock", lambda: r.path("lock").exists() and r.path("lock").read_text())
            time.sleep(delay)
            p.terminate()
            status = p.wait(timeout=PATIENCE)
            if status == -signal.SIGTERM:
                self.assertFalse(r.path("exit.json").exists())  # before the keeper blocks signals: never launched
                continue
            self.assertEqual(status, 0, r.log())
            self.assertEqual(r.end()["reason"], "stopped")
            self.assertEqual(r.go(r.newest()), 0, r.log())
            self.same_as_reference(r)

    def test_second_sigterm_leaves_at_once(self):
        r = self.run_of({"train": {"epochs": 1000, "seq_len": 512, "batch": 32}, "model": {"dim": 256}})
        p = r.start()
        start = wait_until("start", lambda: of_kind(r.journal(), "start"))[0]
        time.sleep(0.1)
        os.kill(start["pid"], signal.SIGTERM)
        os.kill(start["pid"], signal.SIGTERM)  # may merge with the first while that is pending
        time.sleep(0.01)
        if p.poll() is None:
            try:
                os.kill(start["pid"], signal.SIGTERM)
            except ProcessLookupError:
                pass
        self.assertEqual(p.wait(timeout=PATIENCE), 128 + signal.SIGTERM)
        self.assertEqual(r.exit()["signal"], signal.SIGTERM)

    def test_sigusr1_checkpoints_and_goes_on(self):
        r = self.run_of({"train": {"checkpoint_every": 1000}})
        p = r.start()
        wait_until("ten steps", lambda: len(of_kind(r.journal(), "step")) >= 10)
        p.send_signal(signal.SIGUSR1)
        self.assertEqual(p.wait(timeout=PATIENCE), 0)
        made = [c["step"] for c in of_kind(r.journal(), "checkpoint")]
        self.assertEqual(len(made), 2, made)
        self.assertEqual(made[-1], 224)
        self.same_as_reference(r)

    def test_sigquit_shows_the_stack(self):
        r = self.run_of({"train": {"epochs": 20}})
        p = r.start()
        wait_until("ten steps", lambda: len(of_kind(r.journal(), "step")) >= 10)
        p.send_signal(signal.SIGQUIT)
        wait_until("stack", lambda: "SIGQUIT, stack of the main thread" in r.log() and "baka-worker(" in r.log())
        n = len(of_kind(r.journal(), "step"))
        wait_until("more steps", lambda: len(of_kind(r.journal(), "step")) > n)
        p.terminate()
        self.assertEqual(p.wait(timeout=PATIENCE), 0)

    def test_a_storm_of_signals_changes_nothing(self):
        """Signals land in the middle of oneDNN's products, whose stack pointer is in the heap at times."""
        r = self.run_of({"train": {"checkpoint_every": 1000}})
        p = r.start()
        wait_until("start", lambda: of_kind(r.journal(), "start"))
        sent = 0
        while p.poll() is None:
            p.send_signal(signal.SIGUSR1 if sent % 20 == 19 else signal.SIGQUIT)
            sent += 1
            time.sleep(0.002)
        self.assertEqual(p.wait(), 0, r.log())
        self.assertGreater(r.log().count("stack of the main thread"), 20)
        self.same_as_reference(r)


if __name__ == "__main__":
    unittest.main()
