#!/usr/bin/env python3
"""test_compare_figure.py - the figure that baka began with: running means of the training loss over epochs of 42,700
steps, three of SwiGLU and two of elephant, laid over each other, and an arrow where elephant's second epoch falls below
SwiGLU's third. compare has to say what the arrow said, and what it did not: that one seed decides nothing."""
import math
import pathlib
import random
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Home, SANITIZED  # noqa: E402

STEPS = 4_200 if SANITIZED else 42_700
TOKENS = 2_700  # a step
# name, epoch, where the running mean ends, how far it still falls over the last part of the epoch, in nats an epoch
CURVES = [("swiglu-1", 1, 5.427, 1.10), ("swiglu-2", 2, 5.077, 0.14), ("swiglu-3", 3, 4.908, 0.065),
          ("elephant-1", 1, 5.409, 1.15), ("elephant-2", 2, 4.882, 0.065 + (4.908 - 4.882) / 0.14)]


def running_mean(end, slope, wobble):
    """By step: straight near the end, steeper at the beginning, with the noise of a mean that has few members there."""
    for step in range(1, STEPS + 1):
        x = step / STEPS
        start = max(0.0, 0.7 - x)
        yield end + slope * (1 - x) + 1.5 * start * start + wobble.gauss(0, 0.3) / math.sqrt(step) / 20 * (1 - x)


class Figure(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = Home()
        cls.curves = {}
        for on in ("train", "val"):
            for name, epoch, end, slope in CURVES:
                rows, values = ["step,epoch,tokens,loss,val_loss"], []
                for step, loss in enumerate(running_mean(end, slope, random.Random(f"{name}{on}")), 1):
                    values.append(loss)
                    evaluated = on == "val" and step % (STEPS // 100) == 0
                    # the curves lie over each other: tokens count from the epoch's beginning
                    rows.append(f"{step},{epoch - 1 + step / STEPS!r},{step * TOKENS},{loss!r},{repr(loss) if evaluated else ''}")
                path = cls.home.root / f"{name}.csv"
                path.write_text("\n".join(rows) + "\n")
                cls.home.ctl("import", path, "--name", f"{name}-{on}", "--tag", on)
                cls.curves[f"{name}-{on}"] = values

    @classmethod
    def tearDownClass(cls):
        cls.home.close()

    def pair(self, answer, a, b):
        ids = {r["name"]: r["id"] for r in answer["runs"]}
        crosses = [c for c in answer["crosses"] if {c["a"], c["b"]} == {ids[a], ids[b]}]
        arrows = [x for x in answer["arrows"] if {x["winner"], x["loser"]} == {ids[a], ids[b]}]
        decisions = [d for d in answer["decisions"] if {d["a"], d["b"]} == {a, b}]
        self.assertEqual((len(crosses), len(arrows), len(decisions)), (1, 1, 1))
        return ids, crosses[0], arrows[0], decisions[0]

    def check(self, on, metric):
        answer = self.home.json("compare", on)
        elephant, swiglu = f"elephant-2-{on}", f"swiglu-3-{on}"
        ids, cross, arrow, decision = self.pair(answer, elephant, swiglu)
        # what the arrow said
        self.assertEqual((cross["metric"], cross["below"]), (metric, ids[elephant]))
        self.assertAlmostEqual(cross["epoch"], 1.86, delta=0.01)
        # passing the best of all three epochs comes later on the same curves
        self.assertEqual((arrow["metric"], arrow["winner"]), (metric, ids[elephant]))
        self.assertGreater(arrow["epoch"], cross["epoch"] + 0.02)
        bar = min(self.curves[swiglu]) if on == "val" else 4.908
        self.assertLess(arrow["loss"], bar + 0.002)
        # and what it did not say
        self.assertEqual((decision["verdict"], decision["n"]), ("too_few_seeds", 1))
        text = self.home.ctl("compare", elephant, swiglu).stdout
        where = f"at {STEPS * TOKENS / 1e6:.4g} million tokens" + (" in training loss" if on == "train" else "")
        self.assertIn(f"{elephant} and {swiglu} {where}: one seed decides nothing (difference 0.02", text)
        self.assertIn("cross last at epoch 1.86; " + elephant + " is below from there", text)
        # two epochs of elephant stand below all of SwiGLU's
        winners = {x["loser"] for x in answer["arrows"] if x["winner"] == ids[elephant]}
        self.assertEqual(winners, set(ids.values()) - {ids[elephant]})

    def test_by_training_loss(self):
        self.check("train", "train_loss")

    def test_by_validation_loss(self):
        self.check("val", "val_loss")


if __name__ == "__main__":
    unittest.main(verbosity=2)
