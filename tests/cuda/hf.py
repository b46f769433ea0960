#!/usr/bin/env python3
"""hf.py - models to and from Hugging Face's transformers itself, where it is installed: what transformers saves, baka
evaluates to the same loss and continues with the same tokens; what baka exports, transformers loads bit for bit.

Called by run.py; needs torch and transformers. The reference is transformers in float64, eager attention, on the CPU.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit/worker")]
from runs import Home, merged, of_kind  # noqa: E402
from stage import WORKER, Skip, Stage  # noqa: E402

WINDOW, PROMPT, CONTINUED = 48, 8, 16
CPU = {"train": {"device": "cpu"}}
GPU = {"train": {"device": "cuda"}, "resources": {"gpus": 1}}


def worker(home, *args, **more):
    p = subprocess.run([WORKER, "--home", home.path, *map(str, args)], capture_output=True, text=True, **more)
    assert p.returncode == 0, p.stderr
    return p.stdout


class Neox:
    def __init__(self, home, stage):
        try:
            import torch
            import transformers
        except ImportError as e:
            raise Skip(f"{e.name} is not installed") from None
        import make_neox_fixtures as fixtures
        transformers.utils.logging.disable_progress_bar()
        self.home, self.torch, self.transformers, self.fixtures = home, torch, transformers, fixtures
        stage.more.update(torch=torch.__version__, transformers=transformers.__version__)

    def saved(self, name):
        """The folder in which transformers saved the model, and the model in float64."""
        raw, saved = self.home.path / "hf" / name / "raw", self.home.path / "hf" / name / "saved"
        if not saved.exists():
            self.fixtures.write_model(raw, *self.fixtures.CASES[name])
            self.load(raw, self.torch.float32).save_pretrained(saved)
        return saved, self.load(saved, self.torch.float64)

    def load(self, folder, dtype):
        model, told = self.transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="eager", output_loading_info=True)
        assert not told["missing_keys"] and not told["mismatched_keys"], told
        return model.eval()

    def tokens(self, name, vocab):
        data = f"tokens-{name}"
        if not (self.home.path / "data" / data).exists():
            self.home.tokens(data, 20_000, "--vocab", vocab, "--val-fraction", "0.05")
        meta = json.loads((self.home.path / "data" / data / "meta.json").read_text())
        file = (self.home.path / "data" / data / "tokens").read_bytes()
        size = int.from_bytes(file[12:16], "little")
        ids = [int.from_bytes(file[at:at + size], "little")
               for at in range(4096 + meta["train"] * size, 4096 + meta["tokens"] * size, size)]
        return data, ids

    def run(self, name, change):
        saved, model = self.saved(name)
        told = json.loads(worker(self.home, "--import-hf", saved, "--name", name))
        data, val = self.tokens(name, model.config.vocab_size)
        run = self.home.run(merged({
            "data": {"name": data}, "model": told["model"],
            "train": {"init_from": name, "epochs": 0, "seq_len": WINDOW, "batch": 4}}, change))
        status = run.go(threads=4)
        assert status == 0, f"ended with {status}: {run.journal()[-1:]}\n{run.log()}"
        return run, model, val

    def losses(self, name, change, limit):
        run, model, val = self.run(name, change)
        got, backend = of_kind(run.journal(), "eval")[-1], of_kind(run.journal(), "start")[0]["backend"]
        assert backend == change["train"]["device"], f"it ran on {backend}"
        total, count = 0.0, 0
        with self.torch.no_grad():
            for at in range(0, len(val) - 1, WINDOW):
                targets = self.torch.tensor(val[at + 1:at + 1 + WINDOW])
                logits = model(self.torch.tensor([val[at:at + len(targets)]])).logits[0]
                total += self.torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
                count += len(targets)
        want = total / count
        assert got["predictions"] == count, f"{got['predictions']} predictions, not {count}"
        assert math.isclose(got["loss"], want, rel_tol=limit), f"loss {got['loss']}, transformers' {want}"
        return f"loss {got['loss']:.9f}, transformers' {want:.9f}: {abs(got['loss'] / want - 1):.1e} over {count} tokens"

    def continued(self, name):
        """Greedy, from cached keys and values, for as long as transformers' own choice is clear of rounding."""
        run, model, val = self.run(name, CPU)
        prompt, clear = val[:PROMPT], []
        with self.torch.no_grad():
            while len(clear) < CONTINUED:
                best, ids = model(self.torch.tensor([prompt + clear])).logits[0, -1].topk(2)
                if best[0] - best[1] < 1e-3:
                    break
                clear.append(int(ids[0]))
        out = worker(self.home, "--sample", CONTINUED, "--run-dir", run.dir, "--temperature", 0, "--on-cpu",
                     input="".join(f"{i}\n" for i in prompt))
        got = [int(line) for line in out.split()]
        assert len(clear) > CONTINUED // 2 and got[:len(clear)] == clear, f"{got}, transformers {clear}"
        return f"{len(clear)} tokens the same"

    def back(self, name):
        run, model, _ = self.run(name, CPU)
        out = self.home.path / "hf" / name / "exported"
        worker(self.home, "--export-hf", out, "--run-dir", run.dir)
        again = self.load(out, self.torch.float32)
        for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size",
                    "hidden_act", "layer_norm_eps", "use_parallel_residual", "tie_word_embeddings", "rope_parameters"):
            a, b = (getattr(m.config, key, None) for m in (model, again))
            same_form = {a, b} <= {"gelu_new", "gelu_fast", "gelu_pytorch_tanh"} if key == "hidden_act" else False
            assert a == b or same_form, f"{key} is {b}, not {a}"
        want, have = model.state_dict(), again.state_dict()
        assert want.keys() == have.keys(), set(want) ^ set(have)
        for key, value in have.items():
            assert self.torch.equal(value.double(), want[key].double()), key
        return f"{len(have)} tensors the same"


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--only", default="")
    stage = Stage("hf", a.parse_args().only, deadline=440)
    with Home() as home:
        state = {}

        def case(method, name, *more):
            state["neox"] = state.get("neox") or Neox(home, stage)
            return getattr(state["neox"], method)(name, *more)

        for name in ("pythia", "sequential", "tied", "14m", "160m"):
            stage.case(f"{name}, fp32 on the CPU", case, "losses", name, CPU, 1e-6)
            stage.case(f"{name}, fp32 on the GPU", case, "losses", name, GPU, 1e-6)
            stage.case(f"{name}, bf16 on the GPU", case, "losses", name,
                       merged(GPU, {"train": {"precision": "bf16"}}), 5e-3)
            stage.case(f"{name}, continued", case, "continued", name)
            stage.case(f"{name}, exported", case, "back", name)
    sys.exit(stage.close())


if __name__ == "__main__":
    main()
