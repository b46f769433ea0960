#!/usr/bin/env python3
"""test_damaged_checkpoint.py - a checkpoint cut at each 4 KiB, and with 1,000 single bits turned, is never loaded; and a
run whose newest checkpoint is damaged goes back to the one before and ends with the same curve and weights."""
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BUILD
from shim import SEED
from worker_case import Run, SPEC, WorkerCase, of_kind

FLIPS = 1000


class DamagedCheckpoint(WorkerCase):
    def test_no_silent_load(self):
        p = subprocess.run([BUILD / "tests/faults/damage_checkpoint", self.reference.dir, self.reference.newest(), str(SEED),
                            str(FLIPS)], capture_output=True, text=True)
        print(f"BAKA_SEED={SEED}: {p.stdout.strip()}")
        self.assertEqual(p.returncode, 0, p.stderr)

    def test_the_worker_refuses_and_the_one_before_serves(self):
        run = Run(self.home, "damaged", SPEC)
        self.assertEqual(run.go(), 0)
        older, newest = of_kind(run.journal(), "checkpoint")[-2:]
        model = run.dir / newest["path"] / "model.safetensors"
        data = bytearray(model.read_bytes())
        data[len(data) // 2] ^= 16
        model.write_bytes(data)
        self.assertEqual(run.go(newest["path"]), 1)
        self.assertEqual(run.end()["reason"], "bad_checkpoint")
        self.assertEqual(run.go(older["path"]), 0)
        self.assertEqual(run.final_model(), self.reference.final_model())


if __name__ == "__main__":
    unittest.main()
