#!/usr/bin/env python3
"""GPT-NeoX models of Hugging Face in and out, and what runs are used for when they are done: bakactl import --hf, export
--hf, eval and sample, with a real daemon and real workers. Logits are compared in tests/unit/worker/test_neox.c; here
whole ways: a model that goes out and comes in again is the same."""
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BAKACTL, Home

NEOX = pathlib.Path(__file__).resolve().parent.parent / "unit/worker/neox"
SPEC = {"data": {"name": "text"}, "model": {"dim": 32, "layers": 2, "heads": 2},
        "train": {"steps": 120, "seq_len": 32, "batch": 4, "optimizer": {"lr": 3e-3}}}


def tensors(path):
    data = path.read_bytes()
    n, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
            for name, t in header.items()}


class HfCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = Home()
        text = cls.home.root / "text.txt"
        text.write_bytes(b"the elephant walks over small hills and sleeps under trees. " * 120)
        cls.ok("data", "prepare", "--tokenizer", "bytes", str(text), "-o", "text")
        cls.train("gelu", SPEC)
        assert cls.json("evals", "gelu")[-1]["loss"] < 1.5, "a model that has learnt to look back"

    @classmethod
    def tearDownClass(cls):
        cls.home.close()

    @classmethod
    def call(cls, *args, text=True):
        return subprocess.run([BAKACTL, "--home", cls.home.path, *args], capture_output=True, text=text, timeout=300)

    @classmethod
    def ok(cls, *args):
        p = cls.call(*args)
        assert p.returncode == 0, (args, p.stderr)
        return p.stdout

    @classmethod
    def json(cls, *args):
        return json.loads(cls.ok(*args, "--json"))

    @classmethod
    def train(cls, name, spec):
        path = cls.home.root / f"{name}.json"
        path.write_text(json.dumps(spec))
        cls.ok("submit", str(path), "--name", name, "--wait")

    def refused(self, why, *args, status=1):
        p = self.call(*args)
        self.assertEqual(p.returncode, status, p.stdout + p.stderr)
        self.assertIn(why, p.stderr)
        self.assertEqual(p.stderr.count("\n"), 1, p.stderr)

    def export(self, run, name):
        folder = self.home.root / name
        self.ok("export", "--hf", run, "-o", str(folder))
        return folder

    def test_out_and_in_again_is_the_same_model(self):
        out = self.export("gelu", "out")
        config = json.loads((out / "config.json").read_text())
        self.assertEqual((config["model_type"], config["hidden_size"], config["vocab_size"]), ("gpt_neox", 32, 256))
        self.assertEqual((config["intermediate_size"], config["max_position_embeddings"]), (128, 32))
        answer = self.json("import", "--hf", str(out), "--name", "again", "--data", "text")
        self.assertEqual(answer["runs"][0]["name"], "again")
        self.ok("wait", "again")
        before, after = self.json("evals", "gelu")[-1], self.json("evals", "again")
        self.assertEqual([(e["step"], e["epoch"], e["tokens"]) for e in after], [(0, 0, 0)])
        self.assertAlmostEqual(after[0]["loss"], before["loss"], delta=1e-12)  # micro-batches differ
        self.assertEqual(tensors(self.export("again", "out2") / "model.safetensors"),
                         tensors(out / "model.safetensors"))
        compared = self.json("compare", "gelu", "again")
        self.assertEqual(sorted(r["name"] for r in compared["runs"]), ["again", "gelu"])

    def test_training_goes_on_from_a_model(self):
        out = self.export("gelu", "base")
        self.ok("import", "--hf", str(out), "--name", "tuned", "--data", "text", "--set", "train.steps=40", "--set",
                "train.optimizer.lr=3e-3", "--set", "train.batch=4")
        self.ok("wait", "tuned")
        evals = self.json("evals", "tuned")
        self.assertEqual(evals[0]["step"], 0)
        self.assertAlmostEqual(evals[0]["loss"], self.json("evals", "gelu")[-1]["loss"], delta=1e-9)
        self.assertLess(evals[-1]["loss"], evals[0]["loss"])
        self.assertLess(self.json("steps", "tuned")[0]["loss"], self.json("steps", "gelu")[0]["loss"] - 0.5)
        # and from a spec of its own, whose shape must be the model's
        spec = json.loads(json.dumps(SPEC))
        spec["train"]["init_from"] = "tuned"
        self.train_fails("model.vocab is null: the model 'tuned' of train.init_from has 256", spec)
        spec["model"]["vocab"] = 256
        self.train("own", spec)
        self.assertAlmostEqual(self.json("evals", "own")[0]["loss"], evals[0]["loss"], delta=1e-9)
        path = self.home.root / "absent.json"
        spec["train"]["init_from"] = "absent"
        path.write_text(json.dumps(spec))
        self.refused("there is no model 'absent'", "submit", str(path))

    def train_fails(self, why, spec):
        path = self.home.root / "fails.json"
        path.write_text(json.dumps(spec))
        run = self.json("submit", str(path))["runs"][0]["id"]
        self.assertEqual(self.call("wait", run).returncode, 1)
        self.assertIn(why, self.json("show", run)["reason"])

    def test_import_refuses(self):
        pythia = str(NEOX / "pythia")
        self.refused("model.vocab", "import", "--hf", pythia, "--name", "p", "--data", "text")
        self.refused("no data set absent", "import", "--hf", pythia, "--name", "q", "--data", "absent")
        self.refused("--data NAME", "import", "--hf", pythia, "--name", "q", status=2)
        self.refused("not both", "import", "--hf", pythia, "x.csv", "--name", "q", "--data", "text", status=2)
        broken = self.home.root / "broken"
        shutil.copytree(pythia, broken)
        config = json.loads((broken / "config.json").read_text())
        (broken / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
        self.refused('model_type is "llama"', "import", "--hf", str(broken), "--name", "q", "--data", "text")
        (broken / "config.json").write_text(json.dumps(config))
        (broken / "tokenizer.json").write_text("{}")
        self.refused("tokenizer.json", "import", "--hf", str(broken), "--name", "q", "--data", "text")
        os.unlink(broken / "tokenizer.json")
        with open(broken / "model.safetensors", "r+b") as f:
            f.truncate(5000)
        self.refused("lies outside the file", "import", "--hf", str(broken), "--name", "q", "--data", "text")
        self.assertFalse((self.home.path / "models/q").exists())

    def test_export_refuses_what_gpt_neox_has_not(self):
        cases = {"ffn": ({"ffn": {"type": "swiglu"}}, "model.ffn.type"), "rms": ({"norm": "rmsnorm"}, "model.norm"),
                 "one": ({"norms": 1}, "model.norms"), "bare": ({"bias": False}, "model.bias"),
                 "still": ({"rotary_pct": 0}, "model.rotary_pct")}
        for name, (change, field) in cases.items():
            self.train(name, {**SPEC, "model": {**SPEC["model"], **change}, "train": {**SPEC["train"], "steps": 1}})
            self.refused(f"{field}: GPT-NeoX cannot express", "export", "--hf", name, "-o",
                         str(self.home.root / f"no-{name}"))
            self.assertFalse((self.home.root / f"no-{name}").exists())
        out = self.export("gelu", "twice")
        self.refused("holds a model already", "export", "--hf", "gelu", "-o", str(out))

    def test_eval_agrees_with_the_run(self):
        own = self.json("evals", "gelu")[-1]
        disjoint = self.json("eval", "gelu")
        self.assertEqual(disjoint["loss"], own["loss"])
        for key in ("bits_per_byte", "word_perplexity"):
            self.assertEqual(disjoint[key], own[key])
        self.assertEqual({**disjoint, "windowing": ""},
                         {**self.json("eval", "gelu", "--windowing", "sliding:32"), "windowing": ""})
        sliding = self.json("eval", "gelu", "--windowing", "sliding:8")
        self.assertEqual((sliding["windowing"], sliding["predictions"]), ("sliding:8", disjoint["predictions"]))
        self.assertLess(sliding["loss"], disjoint["loss"])  # all have more text before them
        train = self.json("eval", "gelu", "--split", "train", "--data", "text", "--cpu")
        self.assertGreater(train["predictions"], disjoint["predictions"])
        self.assertIn("bits a byte", self.ok("eval", "gelu"))
        self.check_word_perplexity(disjoint, train)
        self.refused("at most train.seq_len, 32", "eval", "gelu", "--windowing", "sliding:33")
        self.refused("disjoint or sliding:STRIDE", "eval", "gelu", "--windowing", "sliding:0", status=2)
        self.refused("no run", "eval", "absent")

    def check_word_perplexity(self, val, train):
        """exp(nats of the part / its words), by every verb that tells it; none where words were never counted."""
        meta = json.loads((self.home.path / "data/text/meta.json").read_text())
        for found, part in ((val, "val"), (train, "train")):
            self.assertGreater(meta[f"{part}_words"], 1)
            wanted = math.exp(found["loss"] * meta[part] / meta[f"{part}_words"])
            self.assertAlmostEqual(found["word_perplexity"] / wanted, 1, delta=1e-12)
        shown, compared = self.json("show", "gelu"), self.json("compare", "gelu")["runs"][0]
        for key in ("perplexity", "bits_per_byte", "word_perplexity"):
            self.assertEqual((shown[key], compared[key]), (val[key], val[key]), key)
        for verb in ("eval", "show", "compare"):
            self.assertIn("word perplexity", self.ok(verb, "gelu"), verb)
        # A data set as it was made before words were counted is the same one, without the number.
        tokens = self.home.path / "data/text/tokens"
        counted = tokens.read_bytes()
        with open(tokens, "r+b") as f:
            f.seek(200)
            self.assertEqual(struct.unpack("<2Q", f.read(16)), (meta["train_words"] + meta["val_words"], meta["train_words"]))
            f.seek(200)
            f.write(bytes(24))
        self.addCleanup(tokens.write_bytes, counted)
        old = self.json("eval", "gelu")
        self.assertEqual((old["loss"], old["word_perplexity"]), (val["loss"], None))
        self.assertNotIn("word perplexity", self.ok("eval", "gelu"))
        spec = json.loads(json.dumps(SPEC))
        spec["train"]["steps"] = 2
        self.train("uncounted", spec)
        self.assertEqual({e["word_perplexity"] for e in self.json("evals", "uncounted")}, {None})
        self.assertNotIn("word perplexity", self.ok("compare", "uncounted"))
        self.assertIn("word perplexity", self.ok("compare", "uncounted", "gelu"))
        self.assertIsNone(self.json("show", "uncounted")["word_perplexity"])

    def test_memories(self):
        """Evaluated as in training; neither exported nor sampled from."""
        cases = {"xl": {"xl": {"len": 40}}, "rmt": {"rmt": {"tokens": 2, "bptt": 2}}, "pause": {"pause": {"tokens": 3}}}
        for name, memory in cases.items():
            self.train(name, {**SPEC, "memory": memory, "train": {**SPEC["train"], "steps": 10, "micro_batch": 3}})
            own, found = self.json("evals", name)[-1], self.json("eval", name)
            self.assertEqual((found["step"], found["loss"]), (own["step"], own["loss"]))
            field = f"memory.{name}.{next(iter(memory[name]))}"
            self.refused(f"{field}: GPT-NeoX cannot express", "export", "--hf", name, "-o", str(self.home.root / "no"))
            self.refused(f"{field}: a text cannot be sampled", "sample", name, "--prompt", "the")
            if name == "pause":
                self.ok("eval", name, "--windowing", "sliding:8")
            else:
                self.refused(f"with {field} each window follows", "eval", name, "--windowing", "sliding:8")

    def test_memory_of_another_length(self):
        """A longer memory in evaluations is no part of training: the run that was made with it says the same."""
        train = {**SPEC["train"], "steps": 10, "micro_batch": 3}
        self.train("short", {**SPEC, "memory": {"xl": {"len": 40}}, "train": train})
        self.train("long", {**SPEC, "memory": {"xl": {"len": 40, "eval_len": 90}}, "train": train})
        trained, longer = self.json("eval", "short"), self.json("eval", "short", "--memory", "90")
        self.assertEqual((trained["memory"], longer["memory"]), (40, 90))
        self.assertEqual(longer["loss"], self.json("evals", "long")[-1]["loss"])
        self.assertNotEqual(longer["loss"], trained["loss"])
        self.assertEqual(longer["predictions"], trained["predictions"])
        self.assertEqual(self.json("eval", "short", "--memory", "40"), trained)
        self.assertEqual(self.json("eval", "long", "--memory", "40")["loss"], trained["loss"])
        self.assertIn("with a memory of 90,", self.ok("eval", "short", "--memory", "90"))
        self.refused("at least memory.xl.len, 40", "eval", "short", "--memory", "39")
        self.refused("trained without one, memory.xl.len is 0", "eval", "gelu", "--memory", "8")
        self.refused("--memory", "eval", "short", "--memory", "0", status=2)
        self.assertEqual(self.json("eval", "gelu")["memory"], 0)

    def test_eval_takes_the_newest_good_checkpoint(self):
        self.train("hurt", {**SPEC, "train": {**SPEC["train"], "steps": 30, "checkpoint_every": 10}})
        folder = self.home.path / "runs" / self.json("show", "hurt")["id"] / "checkpoints"
        newest = self.json("eval", "hurt")
        self.assertEqual(newest["step"], 30)
        with open(folder / "30-a1/model.safetensors", "r+b") as f:
            f.seek(-1, 2)
            f.write(b"x")
        self.assertEqual(self.json("eval", "hurt")["checkpoint"], "checkpoints/20-a1")

    def test_sample_goes_on(self):
        def sample(*more):
            return self.json("sample", "gelu", "--prompt", "the eleph", *more)
        greedy = sample("--tokens", "100", "--temperature", "0")  # further than the window of 32
        self.assertEqual(len(greedy["ids"]), 100)
        self.assertEqual(greedy["ids"][:10], sample("--tokens", "10", "--temperature", "0", "--seed", "5")["ids"])
        self.assertEqual(greedy["ids"][:10], sample("--tokens", "10", "--top-k", "1")["ids"])
        drawn = sample("--tokens", "40", "--seed", "1")
        self.assertEqual(drawn, sample("--tokens", "40", "--seed", "1"))
        self.assertNotEqual(drawn["ids"], sample("--tokens", "40", "--seed", "2")["ids"])
        raw = self.call("sample", "gelu", "--prompt", "the eleph", "--tokens", "40", "--seed", "1", text=False).stdout
        self.assertEqual(list(raw), drawn["ids"] + [ord("\n")])
        self.refused("--prompt TEXT", "sample", "gelu", status=2)
        self.refused("has no token", "sample", "gelu", "--prompt", "")
        self.refused("--temperature", "sample", "gelu", "--prompt", "a", "--temperature", "-1", status=2)


if __name__ == "__main__":
    unittest.main()
