#!/usr/bin/env python3
"""Room on the disk before it is full: watermarks, room for a run's checkpoints, which of them stay, and logs that do not
grow for ever. The watermarks need a file system of their own; the others do not."""
import os
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import Daemon, DaemonCase  # noqa: E402
from harness import wait_until  # noqa: E402

MIB = 1 << 20


class Watermarks(unittest.TestCase):
    def setUp(self):
        self.d = Daemon("--cpu-slots", "2", "--disk-low", "8", "--disk-high", "12", start=False)
        self.addCleanup(self.d.close)
        self.runs = self.d.path / "runs"
        self.runs.mkdir(parents=True, mode=0o700)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", self.runs], capture_output=True).returncode:
            self.skipTest("mounting a tmpfs is not permitted here")
        self.addCleanup(subprocess.run, ["umount", "-l", self.runs])

    def leave(self, mib):
        """All but so much of the disk is somebody else's."""
        filler = self.runs / "filler"
        filler.unlink(missing_ok=True)
        with open(filler, "wb") as f:
            fs = os.statvfs(self.runs)
            os.posix_fallocate(f.fileno(), 0, max(fs.f_bavail * fs.f_frsize - mib * MIB, 1))

    def test_steps_aside_and_goes_on(self):
        self.d.start()
        run = self.d.queue("n600.m10.k1000")
        self.d.until_step(run, 5)
        self.leave(7)
        shown = self.d.until(run, "queued")
        self.assertEqual(shown["attempt_list"][0]["outcome"], "stepped aside")
        self.assertEqual(shown["reason"], "disk low: waiting for room")
        waiting = self.d.queue("n5")
        self.assertRegex(self.d.get("/v1/status")["trouble"], r"^disk low: \d MiB are free in ")
        self.leave(10)  # above the low mark, below the high one
        time.sleep(2.5)
        self.assertEqual([self.d.state(r) for r in (run, waiting)], ["queued"] * 2)
        self.d.kill_daemon()  # the next one has not seen it low: the low mark decides
        self.leave(7)
        self.d.start()
        time.sleep(1.5)
        self.assertEqual(self.d.state(waiting), "queued")
        self.leave(20)
        for r in (run, waiting):
            self.d.until(r, "finished", timeout=60)
        shown = self.d.get(f"/v1/runs/{run}")
        self.assertEqual(shown["attempt_list"][1]["resume_step"], shown["attempt_list"][0]["last_step"])
        self.assertEqual(self.d.steps(run), list(range(1, 601)))
        self.assertIsNone(self.d.get("/v1/status")["trouble"])

    def test_room_for_checkpoints(self):
        """A model of which three checkpoints take about 19 MiB waits until they find room; a small one does not."""
        self.d.start()
        self.leave(20)
        spec = {"model": {"dim": 96, "layers": 4, "heads": 2}, "train": {"seq_len": 16, "batch": 2}}
        big, small = self.d.queue("n5", spec=spec), self.d.queue("n5")
        self.d.until(small, "finished")
        shown = wait_until("a refused launch", lambda: (s := self.d.get(f"/v1/runs/{big}")) and s["attempts"] > 0 and
                           s["reason"] and s)
        self.assertRegex(shown["reason"], r"^disk full: \d+ MiB are needed for checkpoints \(3 of \d MiB\), \d+ MiB are free")
        self.leave(35)
        self.d.until(big, "finished", timeout=60)

    def test_a_small_disk_is_not_watched(self):
        self.d.daemon_args = ("--worker", self.d.daemon_args[1], "--disk-low", "8", "--disk-high", "21")
        self.d.start()
        self.leave(3)
        self.d.until(self.d.queue("n5"), "finished")


class Checkpoints(DaemonCase):
    args = ("--cpu-slots", "1", "--keep-every", "20", "--keep-best", "1", "--keep-checkpoints", "2")

    def test_kept(self):
        run = self.d.queue("n100.k5")
        self.d.until(run, "finished")
        folders = lambda: sorted(int(p.name.split("-")[0]) for p in (self.d.path / f"runs/{run}/checkpoints").iterdir())
        wait_until("pruning", lambda: folders() == [20, 40, 60, 80, 95, 100])
        marks = {k["step"]: k["mark"] for k in self.d.get(f"/v1/runs/{run}")["checkpoints"]}
        self.assertEqual([s for s, m in marks.items() if m == "good"], [100, 95, 80, 60, 40, 20])


class Logs(DaemonCase):
    args = ("--cpu-slots", "1", "--worker-log", "1")

    def test_a_flood_is_bounded(self):
        run = self.d.queue("n200.m10.l300")  # 60 MB
        folder = self.d.path / f"runs/{run}/attempts/1"
        most = 0
        while self.d.state(run) in ("queued", "starting", "running"):
            most = max(most, sum(p.stat().st_size for p in folder.glob("worker.log*")) if folder.exists() else 0)
        self.assertEqual(self.d.state(run), "finished")
        self.assertGreater(most, MIB)
        self.assertLess(most, 30 * MIB)  # one MiB, its copy, and what comes between two looks
        self.assertLessEqual((folder / "worker.log.1").stat().st_size, MIB // 2)
        self.assertIn("bakad: this log had ", (folder / "worker.log").read_text())
        self.assertEqual(self.d.steps(run), list(range(1, 201)))
        self.assertTrue(self.d.get(f"/v1/runs/{run}/log?offset=99999999")["text"])  # a reader that is beyond begins anew


if __name__ == "__main__":
    unittest.main()
