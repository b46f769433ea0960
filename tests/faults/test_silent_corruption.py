#!/usr/bin/env python3
"""test_silent_corruption.py - a bit that turns in a gradient is caught by train.verify_every, in the first or the second
time that the step is done; the run goes on from its checkpoint and ends as if nothing had been. Doing steps twice changes no
bit, whatever the optimizer and the memory."""
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BUILD, Home, english
from worker_case import Run, SPEC, WorkerCase, merged, of_kind

FLIP_WORKER = BUILD / "tests/faults/flip_worker"
SMALL = {"data": {"name": "text"}, "model": {"dim": 16, "layers": 2, "heads": 2},
         "train": {"steps": 20, "seq_len": 16, "batch": 2, "seed": 3, "checkpoint_every": 4, "verify_every": 5}}


def exact(csv):
    lines = csv.splitlines()
    keep = [i for i, n in enumerate(lines[0].split(",")) if n not in ("ms", "tok_s")]
    return [",".join(line.split(",")[i] for i in keep) for line in lines]


class SilentCorruption(unittest.TestCase):
    def live(self, flip, spec=SMALL):
        """(what show says, the curve) of a run whose worker turns a bit before the optimizer's n-th call."""
        with Home("--worker", FLIP_WORKER, start=False) as home:
            home.prepare("text", english(20_000))
            if flip:
                os.environ["FAULT_FLIP"] = f"{flip} {home.root / 'flipped'}"
            try:
                home.start()
            finally:
                os.environ.pop("FAULT_FLIP", None)
            run = home.submit(spec)[0]
            home.ctl("wait", run, check=False)
            self.assertEqual((home.root / "flipped").exists(), bool(flip))
            return home.json("show", run), exact(home.ctl("steps", run, "--csv").stdout)

    def test_a_turned_bit_is_caught(self):
        _, want = self.live(None)
        for call in (5, 6, 11, 12):  # steps 5 and 10, each the first and the second time
            with self.subTest(call=call):
                shown, steps = self.live(call)
                self.assertEqual(shown["state"], "finished", shown["reason"])
                first = shown["attempt_list"][0]
                self.assertEqual(first["end_reason"], "silent_corruption")
                self.assertRegex(first["end_text"], r"^step (5|10) was done twice from the same state: ")
                self.assertEqual(shown["attempt_list"][1]["resume_step"], 4 if call < 7 else 8)
                self.assertEqual(len(shown["attempt_list"]), 2)
                self.assertEqual(steps, want)

    def test_without_it_nobody_sees(self):
        """What the option is for: the same bit, a step that is not done twice, and another curve without a word."""
        _, want = self.live(None)
        shown, steps = self.live(3)
        self.assertEqual(shown["state"], "finished")
        self.assertEqual(len(shown["attempt_list"]), 1)
        self.assertEqual(steps[:4], want[:4])
        self.assertNotEqual(steps, want)


class Unchanged(WorkerCase):
    def test_doing_steps_twice_changes_no_bit(self):
        cases = [{"train": {"optimizer": {"type": t}}} for t in ("adamw", "sgd", "lion", "muon", "lomo", "adalomo")]
        cases += [{"data": {"order": "stream"}, "memory": {"xl": {"len": 16}}},
                  {"data": {"order": "stream"}, "memory": {"rmt": {"tokens": 2}}},
                  {"train": {"batch": 4, "micro_batch": 2}}]
        for change in cases:
            with self.subTest(change=change):
                base = merged(merged(SPEC, {"train": {"epochs": 0, "steps": 12, "optimizer": {"lr": 1e-3}}}), change)
                plain, twice = Run(self.home, f"p{cases.index(change)}", base), Run(
                    self.home, f"t{cases.index(change)}", merged(base, {"train": {"verify_every": 2}}))
                self.assertEqual(plain.go(), 0, plain.log())
                self.assertEqual(twice.go(), 0, twice.log())
                self.assertEqual(twice.curve(), plain.curve())
                self.assertEqual(twice.curve("eval"), plain.curve("eval"))
                self.assertEqual(twice.final_model(), plain.final_model())
                self.assertEqual(of_kind(twice.journal(), "start")[0]["numerics_id"],
                                 of_kind(plain.journal(), "start")[0]["numerics_id"])


if __name__ == "__main__":
    unittest.main()
