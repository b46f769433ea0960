#!/usr/bin/env python3
"""baka-worker with each optimizer: it learns, 1 or 2 threads and a resume change no bit, lomo is sgd bit for bit."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import wait_until  # noqa: E402
from worker_case import PATIENCE, WORKER, WorkerCase, merged, of_kind, read_safetensors  # noqa: E402

# A rate that suits the small model, and what the checkpoint holds of "layers.0.attn.qkv.weight" and of its bias.
OPTIMIZERS = {
    "sgd": (0.3, [], []),
    "lion": (1e-3, [".m"], [".m"]),
    "muon": (0.02, [".m"], [".m", ".v"]),
    "lomo": (0.3, [], []),
    "adalomo": (0.02, [".col", ".row"], [".v"]),
}

# Each feed-forward layer and each memory, so that every optimizer meets some; all pairs are in
# tests/unit/worker/test_model_optimizer.c.
VARIANTS = {
    "sgd": [({"type": "relu2"}, {"xl": {"len": 40}}), ({"type": "geglu"}, {"rmt": {"tokens": 3, "bptt": 4}})],
    "lion": [({"type": "mini_moe", "mini_moe": {"gate": "vector"}}, {"pause": {"tokens": 4}}),
             ({"type": "elephant", "elephant": {"learnable": True, "pre_norm": True, "a": 0.5, "d": 4}},
              {"rmt": {"tokens": 3}})],
    "muon": [({"type": "mini_moe"}, {"rmt": {"tokens": 3, "bptt": 2}}), ({"type": "sdpa"}, {"pause": {"tokens": 4}})],
    "lomo": [({"type": "mini_moe", "mini_moe": {"gate": "vector"}}, {"rmt": {"tokens": 3, "bptt": 4}}),
             ({"type": "sdpa"}, {"xl": {"len": 40}})],
    "adalomo": [({"type": "elephant_glu", "elephant": {"learnable": True}},
                 {"xl": {"len": 40}, "rmt": {"tokens": 2}, "pause": {"tokens": 3}}),
                ({"type": "mini_moe"}, {"pause": {"mode": "predict_from_last", "tokens": 4}})],
}


def chosen(name, change=None):
    return merged({"train": {"steps": 60, "optimizer": {"type": name, "lr": OPTIMIZERS[name][0]}}}, change or {})


class Optimizers(WorkerCase):
    def finished(self, change, threads=1):
        r = self.run_of(change)
        self.assertEqual(r.go(threads=threads), 0, r.log())
        return r

    def test_each_learns_and_nothing_else_matters(self):
        for name in OPTIMIZERS:
            with self.subTest(name):
                r, two = self.finished(chosen(name)), self.finished(chosen(name), threads=2)
                losses = [s["loss"] for s in of_kind(r.journal(), "step")]
                self.assertLess(sum(losses[-10:]) / 10, losses[0] - 0.5)
                self.assertEqual(r.curve(), two.curve())
                self.assertEqual(r.final_model(), two.final_model())

    def test_killed_and_resumed(self):
        for name in OPTIMIZERS:
            with self.subTest(name):
                whole, r = self.finished(chosen(name)), self.run_of(chosen(name))
                p = r.start()
                wait_until("a checkpoint", lambda: p.poll() is not None or r.newest() != "none")
                os.kill(of_kind(r.journal(), "start")[0]["pid"], signal.SIGKILL)
                p.wait(timeout=PATIENCE)
                self.assertEqual(r.go(r.newest(), threads=2), 0, r.log())
                self.assertGreater(r.journal()[0]["resume_step"], 0)
                self.assertEqual(r.curve(), whole.curve())
                self.assertEqual(r.final_model(), whole.final_model())

    def test_with_other_layers_and_memories(self):
        """From a checkpoint, on another number of threads, to the same bits; evaluated later as the run itself did."""
        for name, variants in VARIANTS.items():
            for ffn, memory in variants:
                with self.subTest(name, ffn=ffn, memory=memory):
                    change = chosen(name, {"model": {"ffn": ffn}, "memory": memory, "train": {"steps": 36}})
                    whole, again = self.finished(change), self.run_of(change)
                    losses = [s["loss"] for s in of_kind(whole.journal(), "step")]
                    self.assertLess(losses[-1], losses[0])
                    checkpoint = next(n for n in whole.checkpoints() if n.startswith("15-"))
                    shutil.copytree(whole.dir / "checkpoints" / checkpoint, again.dir / "checkpoints" / checkpoint)
                    again.attempt = 1
                    self.assertEqual(again.go(f"checkpoints/{checkpoint}", threads=2), 0, again.log())
                    self.assertEqual(again.curve(), whole.curve()[15:])
                    self.assertEqual(again.final_model(), whole.final_model())
                    found = subprocess.run([str(WORKER), "--home", str(self.home), "--eval", "words", "--run-dir",
                                            str(whole.dir)], check=True, capture_output=True, text=True).stdout
                    self.assertEqual(json.loads(found)["loss"], whole.curve("eval")[-1][3])

    def test_a_checkpoint_has_what_the_optimizer_keeps(self):
        for name, (_, matrix, vector) in OPTIMIZERS.items():
            with self.subTest(name):
                r = self.finished(chosen(name, {"train": {"steps": 3}}))
                tensors, _ = read_safetensors(r.dir / r.newest() / "model.safetensors")
                for parameter, suffixes in (("layers.0.attn.qkv.weight", matrix), ("layers.0.attn.qkv.bias", vector)):
                    found = sorted(t[len(parameter):] for t in tensors if t.startswith(parameter + "."))
                    self.assertEqual(found, suffixes)
        self.assertEqual(tensors["layers.0.attn.qkv.weight.row"][1], [96])
        self.assertEqual(tensors["layers.0.attn.qkv.weight.col"][1], [32])

    def test_lomo_is_sgd(self):
        """Bit for bit, with clipping (two passes) and without, whether the head has weights of its own or not."""
        for clip, tied, recompute in ((0, False, "none"), (0, True, "all"), (0.5, True, "none"), (0.5, False, "all")):
            with self.subTest(clip=clip, tied=tied, recompute=recompute):
                change = {"model": {"tie_embeddings": tied},
                          "train": {"clip": clip, "weight_decay": 0.01, "recompute": recompute, "steps": 40}}
                sgd, lomo = (self.finished(chosen(name, change)) for name in ("sgd", "lomo"))
                self.assertEqual(lomo.curve(), sgd.curve())
                self.assertEqual(lomo.final_model(), sgd.final_model())
                self.assertGreater(max(s["grad_norm"] for s in of_kind(sgd.journal(), "step")), 0.5)

    def test_the_whole_gradient_never_exists(self):
        """The plan says so, and the process's peak follows the plan."""
        shape = {"model": {"dim": 512, "layers": 10, "heads": 4, "ffn": {"type": "gelu"}},
                 "train": {"steps": 2, "batch": 1, "seq_len": 16}}
        bytes_of, peak = {}, {}
        for name in ("adamw", "sgd", "lomo"):
            r = self.finished(merged(shape, {"train": {"optimizer": {"type": name}}}))
            plan = subprocess.run([str(WORKER), "--home", str(self.home), "--plan", str(r.dir / "spec.json")],
                                  check=True, capture_output=True, text=True).stdout
            bytes_of[name], peak[name] = json.loads(plan)["bytes"], r.exit()["maxrss"]
            self.assertEqual(r.journal()[0]["memory_bytes"], bytes_of[name]["total"])
        parameters = bytes_of["sgd"]["parameters"]
        self.assertEqual(bytes_of["sgd"]["gradients"], parameters)
        self.assertEqual((bytes_of["sgd"]["moments"], bytes_of["lomo"]["moments"]), (0, 0))
        self.assertEqual(bytes_of["adamw"]["moments"], 2 * parameters)
        self.assertLess(bytes_of["lomo"]["gradients"], parameters / 25)
        for more, less in (("adamw", "sgd"), ("sgd", "lomo")):
            planned = bytes_of[more]["total"] - bytes_of[less]["total"]
            self.assertGreater(planned, 30e6)
            self.assertLess(abs(peak[more] - peak[less] - planned), 0.25 * planned, (peak, planned))

    def test_not_finite(self):
        """Without a measured norm weights have changed before it shows: the run ends, and no checkpoint has them."""
        r = self.run_of(chosen("lomo", {"train": {"optimizer": {"lr": 1000}, "warmup": 0, "clip": 0,
                                                  "checkpoint_every": 1}}))
        self.assertEqual(r.go(), 1)
        self.assertEqual(r.end()["reason"], "diverged")
        self.assertEqual(int(r.checkpoints()[-1].split("-")[0]), r.end()["step"] - 1)


if __name__ == "__main__":
    unittest.main()
