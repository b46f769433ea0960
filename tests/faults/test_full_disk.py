#!/usr/bin/env python3
"""test_full_disk.py - run directories on a disk with no room, or with room for a few blocks: whatever the worker can no
longer make (its folder, lock, exit.json, log, journal), its run waits, is never taken for one that crashes, and
finishes when there is room."""
import os
import pathlib
import sqlite3
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Home, english, wait_until

BLOCK = os.sysconf("SC_PAGE_SIZE")
STEPS = 30
SPEC = {
    "name": "waits",
    "data": {"name": "text"},
    "model": {"dim": 16, "layers": 1, "heads": 2},
    "train": {"steps": STEPS, "seq_len": 16, "batch": 2, "seed": 3, "checkpoint_every": 10},
}


class FullDisk(unittest.TestCase):
    def setUp(self):
        self.home = Home(start=False)
        self.addCleanup(self.home.close)
        self.runs = self.home.path / "runs"
        self.runs.mkdir(parents=True, mode=0o700)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", self.runs], capture_output=True).returncode:
            self.skipTest("mounting a tmpfs is not permitted here")
        self.addCleanup(subprocess.run, ["umount", "-l", self.runs])
        self.home.prepare("text", english(20_000))
        self.home.start()

    def leave(self, blocks):
        """All but so many blocks of the disk are somebody else's."""
        filler = self.runs / "filler"
        filler.unlink(missing_ok=True)
        with open(filler, "wb") as f:
            free = os.statvfs(self.runs).f_bavail - blocks
            os.posix_fallocate(f.fileno(), 0, max(free, 1) * BLOCK)

    def crashes(self, run):
        with sqlite3.connect(f"file:{self.home.path / 'baka.db'}?mode=ro", uri=True) as db:
            return db.execute("SELECT crash_count FROM runs WHERE id = ?", (int(run[1:]),)).fetchone()[0]

    def test_a_worker_that_cannot_begin_waits(self):
        runs, outcomes = [], set()
        for blocks in range(12):
            self.leave(blocks)
            run = self.home.submit(SPEC)[0]
            runs.append(run)
            shown = wait_until(f"end of an attempt with {blocks} blocks", lambda: next(
                (s for s in [self.home.json("show", run)] if s["attempt_list"] and s["attempt_list"][0]["outcome"]), None))
            self.assertIn(shown["state"], ("queued", "starting", "running"), shown["reason"])
            ended = next(e for e in shown["events"] if e["kind"] == "state" and e.get("to") == "queued" and e["from"])
            self.assertRegex(ended["text"], "^disk full: ", f"{blocks} blocks")
            outcomes.add(shown["attempt_list"][0]["outcome"])
        self.assertEqual(outcomes, {"not started", "disk_full"})
        self.assertEqual([self.crashes(run) for run in runs], [0] * len(runs))
        self.assertIn('reason="disk full: the worker had no room to begin"',
                      (self.home.root / "bakad.log").read_text(errors="replace"))
        (self.runs / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", self.runs], check=True)
        self.home.ctl("wait", *runs, timeout=300)
        for run in runs:
            rows = self.home.ctl("steps", run, "--csv").stdout.splitlines()[1:]
            self.assertEqual([int(r.split(",")[0]) for r in rows], list(range(1, STEPS + 1)))


if __name__ == "__main__":
    unittest.main()
