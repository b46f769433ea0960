#!/usr/bin/env python3
"""baka-worker with a memory: killed and resumed to the bit, evaluations that disturb nothing, refusals."""
import os
import pathlib
import random
import signal
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import wait_until  # noqa: E402
from worker_case import PATIENCE, SANITIZED, SPEC, Run, WorkerCase, merged, of_kind, read_safetensors  # noqa: E402

XL = {"memory": {"xl": {"len": 40}}, "train": {"micro_batch": 3}}


class Memory(WorkerCase):
    def run_of(self, change):
        # Bits are compared, which needs no model that has learnt.
        return super().run_of(merged({"train": {"epochs": 0.5}}, change) if SANITIZED else change)

    def whole(self, change):
        r = self.run_of(change)
        self.assertEqual(r.go(), 0, r.log())
        return r

    def killed(self, change, seed):
        """The same, killed a few times on its way and each time resumed with another number of threads."""
        r, rng, kills = self.run_of(change), random.Random(seed), 0
        while True:
            p = r.start(r.newest(), threads=1 + r.attempt % 2)
            if kills < 3:
                ahead = rng.randrange(1, 30)
                wait_until("steps", lambda: p.poll() is not None or len(of_kind(r.journal(), "step")) >= ahead)
                if p.poll() is None:
                    os.kill(of_kind(r.journal(), "start")[0]["pid"], signal.SIGKILL)
                    kills += 1
            if p.wait(timeout=PATIENCE) == 0:
                self.assertGreater(kills, 0)
                return r

    def same(self, a, b):
        self.assertEqual(a.curve(), b.curve())
        self.assertEqual(a.curve("eval"), b.curve("eval"))
        self.assertEqual(a.final_model(), b.final_model())

    def resumes(self, change):
        whole = self.whole(change)
        self.same(self.killed(change, str(change)), whole)
        self.same(self.whole(merged(change, {"resources": {"cpus": 2}})), whole)
        quiet = self.whole(merged(change, {"train": {"eval_every": 0, "checkpoint_every": 0}}))
        self.assertEqual(quiet.curve(), whole.curve())  # evaluations do not disturb training's memory
        return whole

    def learnt(self, run):
        if not SANITIZED:
            self.assertLess(run.curve("eval")[-1][3], 0.6 * run.curve()[0][3])

    def test_xl(self):
        whole = self.resumes(XL)
        tensors, _ = read_safetensors(whole.dir / whole.newest() / "model.safetensors")
        self.assertEqual(tensors["layers.1.past"][:2], ("F32", [4 * 40, 64]))
        self.assertTrue(any(tensors["layers.1.past"][2]))

    def test_xl_stops_at_documents_and_evaluates_longer(self):
        self.resumes(merged(XL, {"data": {"reset": "document"}, "memory": {"xl": {"len": 10, "eval_len": 70}}}))

    def test_xl_helps_where_windows_are_short(self):
        short = {"train": {"seq_len": 4, "micro_batch": 4, "epochs": 1, "eval_every": 0, "checkpoint_every": 0}}
        plain = self.whole(merged(short, {"data": {"order": "stream"}}))
        memory = self.whole(merged(short, {"memory": {"xl": {"len": 16}}}))
        self.assertEqual([e[5] for e in plain.curve("eval")], [e[5] for e in memory.curve("eval")])
        self.assertLess(memory.curve("eval")[-1][3], plain.curve("eval")[-1][3] - 0.05)

    def test_pauses(self):
        for mode in ("drop", "predict_from_last"):
            pauses = {"memory": {"pause": {"mode": mode, "tokens": 4}}, "train": {"micro_batch": 3}}
            whole = self.resumes(pauses)
            plain = self.whole({"train": {"micro_batch": 3}})
            for kind, number in (("step", 2), ("eval", 5)):  # a prediction a token, pauses or not
                self.assertEqual([r[number] for r in whole.curve(kind)], [r[number] for r in plain.curve(kind)])
            self.learnt(whole)

    def test_xl_with_pauses(self):
        self.resumes(merged(XL, {"memory": {"pause": {"mode": "predict_from_last", "tokens": 3}}}))

    def test_rmt(self):
        for bptt in (1, 4):
            whole = self.resumes({"memory": {"rmt": {"tokens": 3, "bptt": bptt}}, "train": {"micro_batch": 3}})
            tensors, _ = read_safetensors(whole.dir / whole.newest() / "model.safetensors")
            self.assertEqual(tensors["rmt.state"][:2], ("F32", [4 * 3, 32]))
            self.learnt(whole)

    def test_all_together(self):
        self.resumes(merged(XL, {"memory": {"rmt": {"tokens": 2}, "pause": {"tokens": 3}}}))

    def test_order_follows_from_the_memory(self):
        self.same(self.whole(XL), self.whole(merged(XL, {"data": {"order": "stream"}})))
        r = Run(self.home, "shuffled", merged(merged(SPEC, XL), {"data": {"order": "shuffle"}}))
        self.assertEqual(r.go(), 1)
        self.assertEqual(r.end()["reason"], "bad_spec")
        for field in ("data.order", "memory.xl.len"):
            self.assertIn(field, r.end()["text"])


if __name__ == "__main__":
    unittest.main()
