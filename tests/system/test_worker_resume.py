#!/usr/bin/env python3
"""baka-worker killed and resumed, its locks, and what it asks of them: no step lost, no bit changed."""
import fcntl
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import wait_until  # noqa: E402
from worker_case import KILLS, PATIENCE, SANITIZED, WorkerCase, alive, of_kind  # noqa: E402


class Resume(WorkerCase):
    def kill_and_resume(self, victim):
        """Kills at random steps until KILLS kills have hit a running attempt, then lets the run finish."""
        rng = random.Random(victim)
        r = self.run_of()
        hits = 0
        while True:
            resume = r.newest()
            p = r.start(resume, threads=1 + r.attempt % 2)
            if hits < KILLS:
                ahead = rng.randrange(0, 30)
                wait_until("steps", lambda: p.poll() is not None or len(of_kind(r.journal(), "step")) >= ahead)
                start = of_kind(r.journal(), "start")
                pid = p.pid if victim == "keeper" else start[0]["pid"] if start else None
                if pid is not None and p.poll() is None:
                    try:
                        os.kill(pid, signal.SIGKILL)
                        hits += 1
                    except ProcessLookupError:
                        pass
            status = p.wait(timeout=PATIENCE)
            if start_pid := [s["pid"] for s in of_kind(r.journal(), "start")]:
                wait_until("end of the trainer", lambda: not alive(start_pid[0]))
            if status == 0:
                break
            if victim == "keeper":
                self.assertEqual(status, -signal.SIGKILL)
                self.assertFalse(r.path("exit.json").exists())
            else:
                self.assertEqual(status, 128 + signal.SIGKILL)
                self.assertEqual((r.exit()["status"], r.exit()["signal"]), (-1, signal.SIGKILL))
            self.assertLess(r.attempt, 20 * KILLS)
        self.assertGreater(hits, KILLS // 2)
        self.same_as_reference(r)

    def test_killed_trainer(self):
        self.kill_and_resume("trainer")

    def test_killed_keeper_takes_the_trainer_along(self):
        self.kill_and_resume("keeper")

    def test_resume_from_every_checkpoint(self):
        r = self.run_of()
        self.assertEqual(r.go(), 0, r.log())
        for name in r.checkpoints():
            other = self.run_of()
            shutil.copytree(r.dir / "checkpoints" / name, other.dir / "checkpoints" / name)
            other.attempt = 1
            self.assertEqual(other.go(f"checkpoints/{name}"), 0, other.log())
            step = int(name.split("-")[0])
            self.assertEqual(of_kind(other.journal(), "start")[0]["resume_step"], step)
            self.assertEqual(other.curve(), self.reference.curve()[step:])
            self.assertEqual(other.curve("eval"), [e for e in self.reference.curve("eval") if e[0] > step])
            self.assertEqual(other.final_model(), self.reference.final_model())

    def test_each_feed_forward_goes_on_from_its_checkpoint(self):
        """To the same bits, on another number of threads; what these layers keep and learn is all in the checkpoint."""
        layers = [{"type": "relu2"}, {"type": "geglu", "gelu": "tanh"}, {"type": "mini_moe", "mini_moe": {"units": 4}},
                  {"type": "mini_moe", "mini_moe": {"units": 2, "gate": "vector"}}, {"type": "sdpa"},
                  {"type": "elephant", "elephant": {"learnable": True, "pre_norm": True, "a": 0.5, "d": 4}},
                  {"type": "elephant_glu", "elephant": {"learnable": True}}]
        for layer in layers:
            with self.subTest(layer=layer):
                change = {"model": {"ffn": layer}, "train": {"steps": 40, "epochs": 1, "micro_batch": 3}}
                whole, again = self.run_of(change), self.run_of(change)
                self.assertEqual(whole.go(), 0, whole.log())
                losses = [s["loss"] for s in of_kind(whole.journal(), "step")]
                self.assertLess(losses[-1], losses[0])
                name = next(n for n in whole.checkpoints() if n.startswith("15-"))
                shutil.copytree(whole.dir / "checkpoints" / name, again.dir / "checkpoints" / name)
                again.attempt = 1
                self.assertEqual(again.go(f"checkpoints/{name}", threads=2), 0, again.log())
                self.assertEqual(again.curve(), whole.curve()[15:])
                self.assertEqual(again.final_model(), whole.final_model())

    def test_micro_batch_is_pinned(self):
        """What the first start chose, here under a limit, stays, whatever room the next one finds."""
        r = self.run_of({"train": {"steps": 30}})
        p = r.start(more=("--micro-batch-limit", "2"))
        wait_until("a checkpoint", lambda: p.poll() is not None or r.newest() != "none")
        p.terminate()
        self.assertEqual(p.wait(timeout=PATIENCE), 0, r.log())
        self.assertEqual(r.go(r.newest()), 0, r.log())
        whole = self.run_of({"train": {"steps": 30, "micro_batch": 2}})
        self.assertEqual(whole.go(), 0, whole.log())
        self.assertEqual([r.journal(a)[0]["micro_batch"] for a in (1, 2)], [2, 2])
        self.assertEqual(r.curve(), whole.curve())
        self.assertEqual(r.final_model(), whole.final_model())

    def test_recomputation_is_nobodys_business(self):
        """It is no part of the result: a run may go on under another policy, and ends as if it never had."""
        r = self.run_of({"train": {"recompute": "all"}})
        p = r.start()
        wait_until("a checkpoint", lambda: p.poll() is not None or r.newest() != "none")
        os.kill(of_kind(r.journal(), "start")[0]["pid"], signal.SIGKILL)
        p.wait(timeout=PATIENCE)
        spec = json.loads((r.dir / "spec.json").read_text())
        spec["train"]["recompute"] = "cheap"
        (r.dir / "spec.json").write_text(json.dumps(spec))
        self.assertEqual(r.go(r.newest()), 0, r.log())
        self.same_as_reference(r)
        starts = [r.journal(a)[0] for a in (1, 2)] + [self.reference.journal()[0]]
        self.assertEqual(len({s["numerics_id"] for s in starts}), 1)
        self.assertLess(starts[0]["memory_bytes"], starts[1]["memory_bytes"])
        self.assertLess(starts[1]["memory_bytes"], starts[2]["memory_bytes"])

    def test_resuming_a_finished_run_only_ends(self):
        r = self.run_of()
        self.assertEqual(r.go(), 0, r.log())
        self.assertEqual(r.go("checkpoints/224-a1"), 0, r.log())
        self.assertEqual([x["kind"] for x in r.journal()], ["start", "end"])
        self.assertEqual(r.end()["reason"], "finished")

    def test_a_held_lock_is_refused(self):
        r = self.run_of()
        r.path("x", 1).parent.mkdir(parents=True)
        with open(r.path("lock", 1), "w") as lock:
            fcntl.fcntl(lock, getattr(fcntl, "F_OFD_SETLK", 37), struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
            self.assertEqual(r.go(), 1)
            self.assertIn("is locked: attempt 1 is running already", r.log())
            self.assertFalse(r.path("journal").exists())
            # With the descriptor handed over it is the same lock, and goes.
            p = subprocess.run(r.command(1, "none", 1) + ["--lock-fd", str(lock.fileno())], pass_fds=[lock.fileno()],
                               capture_output=True, text=True)
            self.assertEqual(p.returncode, 0, p.stderr)
        self.assertEqual(r.end(1)["reason"], "finished")

    def test_a_foreign_lock_descriptor_is_refused(self):
        r = self.run_of()
        with tempfile.TemporaryFile() as other:
            p = subprocess.run(r.command(1, "none", 1) + ["--lock-fd", str(other.fileno())], pass_fds=[other.fileno()],
                               capture_output=True, text=True)
        self.assertEqual(p.returncode, 1)
        self.assertRegex(p.stderr, r"^baka-worker: --lock-fd \d+ is not .*/lock\n$")

    def test_the_lock_goes_with_the_keeper(self):
        r = self.run_of({"train": {"epochs": 100}})
        p = r.start()
        start = wait_until("start", lambda: of_kind(r.journal(), "start"))[0]
        locks = pathlib.Path("/proc/locks").read_text()
        self.assertIn(str(os.stat(r.path("lock")).st_ino), locks)
        fds = [os.readlink(f) for f in pathlib.Path(f"/proc/{start['pid']}/fd").iterdir()]
        self.assertNotIn(str(r.path("lock")), fds)  # the trainer gave its copy up
        self.assertEqual(pathlib.Path(f"/proc/{p.pid}/comm").read_text().strip(), "baka-keeper")
        self.assertEqual(pathlib.Path(f"/proc/{start['pid']}/comm").read_text().strip(), "baka-trainer")
        self.assertEqual(len(list(pathlib.Path(f"/proc/{p.pid}/task").iterdir())), 1)
        rollup = pathlib.Path(f"/proc/{p.pid}/smaps_rollup").read_text()
        private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
        print(f"keeper's private memory: {private} kB", file=sys.stderr)
        if not SANITIZED:
            self.assertLess(private, 2048)
        os.kill(p.pid, signal.SIGKILL)
        p.wait()
        wait_until("end of the trainer", lambda: not alive(start["pid"]), 5)

    def test_an_attempt_is_never_run_twice(self):
        r = self.run_of({"train": {"steps": 2}})
        self.assertEqual(r.go(), 0)
        before = r.path("journal").read_bytes()
        r.attempt = 0
        self.assertEqual(r.go(), 1)
        self.assertIn("an attempt is never run twice", r.log())
        self.assertEqual(r.path("journal").read_bytes(), before)


if __name__ == "__main__":
    unittest.main()
