#!/usr/bin/env python3
"""The specs in configs/: each is one that the worker takes; those for a CPU also train."""
import json
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from harness import WORKER  # noqa: E402
from worker_case import WorkerCase, merged, of_kind, words  # noqa: E402

CONFIGS = sorted((ROOT / "configs").glob("*.json"))


class Configs(WorkerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in ("book", "demo"):
            cls.prepare(name, words(20000))

    def plan(self, path):
        done = subprocess.run([str(WORKER), "--home", str(self.home), "--plan", str(path)], capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 0, f"{path.name}: {done.stderr}")
        return json.loads(done.stdout)

    def test_small_ones_train_on_a_cpu(self):
        ran = 0
        for path in CONFIGS:
            spec = json.loads(path.read_text())
            if spec["train"].get("device") == "cuda":
                continue
            with self.subTest(config=path.name):
                self.assertLess(self.plan(path)["params"], 2_000_000)
                r = self.run_of(spec=merged(spec, {"train": {"steps": 4}}))
                self.assertEqual(r.go(threads=2), 0, r.log())
                losses = [s["loss"] for s in of_kind(r.journal(), "step")]
                self.assertLess(losses[-1], losses[0])
                ran += 1
        self.assertGreaterEqual(ran, 9)

    def test_bakanets_are_equally_large(self):
        """12 d^2 parameters a feed-forward layer, to half of the 8 of width that matching rounds to, or a norm's."""
        plans = {p.name: self.plan(p) for p in CONFIGS if p.name.startswith("bakanet_")}
        self.assertEqual(len(plans), 9)
        swiglu = plans["bakanet_swiglu.json"]
        self.assertEqual((swiglu["params"], swiglu["d_ff"]), (190_481_664, 3072))
        for name, plan in plans.items():
            with self.subTest(config=name):
                self.assertLess(abs(plan["params"] - swiglu["params"]), 12 * 4 * 3 * 770)


if __name__ == "__main__":
    unittest.main()
