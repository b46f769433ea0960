#!/usr/bin/env python3
"""train.py - whole runs of baka-worker on a GPU: curves against the CPU's, identity of results, faults, memory, time.

Called by run.py, which knows whether there is a GPU; BAKA_BUILD names the build.
"""
import argparse
import json
import math
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from runs import Home, Watch, first_step_seconds, merged, of_kind, trainer_pid, wait_until  # noqa: E402
from stage import WORKER, Skip, Stage  # noqa: E402

MIB = 1 << 20
BASE = {
    "data": {"name": "words"},
    "model": {"dim": 64, "layers": 2, "heads": 4},
    "train": {"steps": 50, "seq_len": 64, "batch": 8, "seed": 3, "warmup": 5, "optimizer": {"lr": 2e-3}},
}
GPU = {"train": {"device": "cuda"}, "resources": {"gpus": 1}}
BF16 = merged(GPU, {"train": {"precision": "bf16"}})
# Long enough to be killed, small enough to be quick.
LONG = merged(merged(BASE, BF16), {
    "model": {"dim": 128, "layers": 4, "ffn": {"type": "elephant_glu"}},
    "train": {"steps": 1500, "seq_len": 128, "checkpoint_every": 200, "eval_every": 500}})
PYTHIA = merged(merged(BASE, BF16), {
    "model": {"preset": "pythia-160m", "dim": 768, "layers": 12, "heads": 12},
    "train": {"steps": 12, "seq_len": 1024, "batch": 8, "checkpoint_every": 1000}})


def model(ffn, norm, norms, parallel, **more):
    train = more.pop("train", {})
    data = more.pop("data", {})
    memory = more.pop("memory", {})
    ffn = ffn if isinstance(ffn, dict) else {"type": ffn}
    return {"model": {"ffn": ffn, "norm": norm, "norms": norms, "parallel_residual": parallel, **more},
            "train": train, "data": data, "memory": memory}


MODELS = {
    "gelu, parallel, 2 layer norms": model("gelu", "layernorm", 2, True),
    "gelu, sequential, tied": model("gelu", "layernorm", 2, False, tie_embeddings=True),
    "swiglu, parallel, 1 rms norm, no bias": model("swiglu", "rmsnorm", 1, True, bias=False, rotary_pct=1),
    "swiglu, sequential, micro-batches": model("swiglu", "layernorm", 2, False, train={"micro_batch": 3}),
    "elephant, parallel, 1 layer norm": model("elephant", "layernorm", 1, True),
    "elephant, sequential, odd sizes": model("elephant", "rmsnorm", 2, False, dim=60, heads=3, d_ff=101,
                                             train={"seq_len": 49, "batch": 5}),
    "elephant_glu, parallel, 2 rms norms": model("elephant_glu", "rmsnorm", 2, True),
    "elephant_glu, sequential, documents": model("elephant_glu", "layernorm", 2, False,
                                                 data={"order": "stream", "reset": "document"}),
    "relu2, parallel": model("relu2", "layernorm", 2, True),
    "mini_moe, parallel": model({"type": "mini_moe", "mini_moe": {"units": 4}}, "layernorm", 2, True),
    "mini_moe, vector gates, sequential": model({"type": "mini_moe", "mini_moe": {"units": 2, "gate": "vector"}},
                                                "rmsnorm", 2, False),
    "sdpa, 320 keys": model({"type": "sdpa", "sdpa": {"n": 320}}, "layernorm", 2, True),
    "sdpa, 100 keys, micro-batches": model({"type": "sdpa", "sdpa": {"n": 100}}, "layernorm", 1, True,
                                           train={"micro_batch": 3}),
    "elephant, learned and normed": model({"type": "elephant", "elephant": {"learnable": True, "pre_norm": True}},
                                          "layernorm", 2, True),
    "elephant_glu, learned, sequential": model({"type": "elephant_glu", "elephant": {"learnable": True}}, "layernorm",
                                               2, False),
    "geglu, tanh, head_dim 64, sequence 300": model("geglu", "layernorm", 2, True, heads=1,
                                                    train={"seq_len": 300, "batch": 3}),
    "xl, longer than a window, micro-batches": model("swiglu", "layernorm", 1, True, bias=False, rotary_pct=1,
                                                     memory={"xl": {"len": 96}}, train={"micro_batch": 3}),
    "xl, shorter, documents": model("gelu", "layernorm", 2, False, data={"reset": "document"},
                                    memory={"xl": {"len": 40, "eval_len": 100}}),
    "pauses dropped": model("gelu", "layernorm", 2, True, memory={"pause": {"mode": "drop", "tokens": 8}}),
    "pauses predict, with xl": model("gelu", "layernorm", 2, True, memory={
        "xl": {"len": 64}, "pause": {"mode": "predict_from_last", "tokens": 6}}),
    "rmt, 4 segments, micro-batches": model("swiglu", "layernorm", 2, True, memory={"rmt": {"tokens": 4, "bptt": 4}},
                                            train={"micro_batch": 3}),
    "rmt, xl and pauses": model("gelu", "rmsnorm", 2, False, memory={
        "rmt": {"tokens": 3}, "xl": {"len": 64}, "pause": {"tokens": 5}}),
    "sgd with momentum": model("gelu", "layernorm", 2, True, train={
        "micro_batch": 3, "optimizer": {"type": "sgd", "lr": 0.1, "momentum": 0.9}}),
    "lion": model("swiglu", "layernorm", 2, True, train={"optimizer": {"type": "lion", "lr": 1e-3}}),
    "muon": model("swiglu", "layernorm", 2, True, train={"optimizer": {"type": "muon", "lr": 0.02}}),
    "lomo": model("swiglu", "layernorm", 2, True, train={"optimizer": {"type": "lomo", "lr": 0.3}}),
    "adalomo": model("gelu", "layernorm", 2, False, train={"optimizer": {"type": "adalomo", "lr": 0.01}}),
}


def finished(run, threads=1, resume="none"):
    """Runs the attempt to its end, which must be a good one."""
    status = run.go(resume, threads)
    end = run.journal()[-1] if run.journal() else {}
    if end.get("reason") == "backend_error" and "needs oneDNN" in end.get("text", ""):
        raise Skip(end["text"])
    assert status == 0 and end.get("reason") == "finished", f"ended with {status}: {end}\n{run.log()}"
    return run


def refused(run, reason, pattern):
    status, end = run.go(), run.end()
    assert status == 1 and end["reason"] == reason, f"ended with {status}: {end}\n{run.log()}"
    assert run.exit()["signal"] == 0, run.exit()
    assert re.search(pattern, end["text"]), f"'{end['text']}' does not match {pattern}"
    return end["text"]


class Train:
    def __init__(self, home, stage):
        self.home, self.stage, self.cpu, self.whole = home, stage, {}, None

    # ---- against the CPU

    def losses(self, change, device):
        run = finished(self.home.run(merged(merged(BASE, change), device)), threads=min(os.cpu_count(), 4))
        losses = [s["loss"] for s in of_kind(run.journal(), "step")]
        evals = [e["loss"] for e in of_kind(run.journal(), "eval")]
        assert len(losses) == 50 and evals, run.journal()[-1]
        return losses + evals[-1:], run

    def curve(self, name, device, early, late):
        if name not in self.cpu:
            self.cpu[name] = self.losses(MODELS[name], {"train": {"device": "cpu"}})[0]
        got, run = self.losses(MODELS[name], device)
        assert of_kind(run.journal(), "start")[0]["backend"] == "cuda"
        want = self.cpu[name]
        worst = [abs(g - w) / abs(w) if math.isfinite(g) else math.inf for g, w in zip(got, want)]
        for i, difference in enumerate(worst):
            limit = early if i < 25 else late
            where = f"step {i + 1}" if i < 50 else "the evaluation"
            assert difference <= limit, f"{where}: loss {got[i]}, on the CPU {want[i]}: {difference:.2g} over {limit:g}"
        assert want[49] < 0.8 * want[0], f"it learned nothing: {want[0]} to {want[49]}"
        return f"largest difference {max(worst[:25]):.1e} in 25 steps, {max(worst):.1e} in all"

    # ---- identity

    def reference(self):
        self.whole = self.whole or finished(self.home.run(LONG))
        return self.whole

    def same(self, run):
        whole = self.reference()
        for kind in ("step", "eval"):
            for a, b in zip(run.curve(kind), whole.curve(kind)):
                assert a == b, f"{kind} {a[0]} differs: {a}, not {b}"
            assert len(run.curve(kind)) == len(whole.curve(kind))
        assert run.final_model() == whole.final_model(), "the models differ"

    def twice(self):
        self.same(finished(self.home.run(LONG)))
        spec = merged(merged(BASE, GPU), {"train": {"steps": 100}})
        a, b = (finished(self.home.run(spec)) for _ in range(2))
        assert a.curve() == b.curve() and a.final_model() == b.final_model(), "fp32 differs"
        return f"{len(self.reference().curve())} steps in bf16, 100 in fp32"

    def kills(self):
        self.reference()
        rng, run, hits = random.Random(5), self.home.run(LONG), []
        while len(hits) < 3:
            at = (rng.randrange(50, 1300) if not hits else hits[-1] + rng.randrange(20, 150)) % 1450
            p = run.start(run.newest())
            wait_until(f"step {at}", lambda: p.poll() is not None or [
                s for s in of_kind(run.journal(), "step") if s["step"] >= at])
            assert p.poll() is None, run.log()
            os.kill(trainer_pid(run), signal.SIGKILL)
            p.wait(60)
            assert run.exit()["signal"] == signal.SIGKILL, run.exit()
            hits.append(of_kind(run.journal(), "step")[-1]["step"])
        finished(run, resume=run.newest())
        self.same(run)
        return f"killed after steps {', '.join(map(str, hits))}"

    def stop(self):
        run = self.home.run(LONG)
        p = run.start()
        wait_until("step 100", lambda: p.poll() is not None or len(of_kind(run.journal(), "step")) >= 100)
        p.terminate()
        assert p.wait(60) == 0, run.log()
        end = run.end()
        assert end["reason"] == "stopped" and run.newest() == f"checkpoints/{end['step']}-a1", end
        finished(run, resume=run.newest())
        self.same(run)
        return f"stopped at step {end['step']}"

    def together(self):
        self.reference()
        runs = [self.home.run(LONG) for _ in range(2)]
        started = [r.start() for r in runs]
        for p, r in zip(started, runs):
            assert p.wait(120) == 0, r.log()
            self.same(r)

    # ---- health

    def health(self):
        run = self.reference()
        journal = run.journal()
        start, steps, seen = (of_kind(journal, kind) for kind in ("start", "step", "gpu"))
        if not seen:
            raise Skip("NVML is not to be had")
        assert start[0]["flops_per_token"] > 0 and start[0]["peak_flops"], f"no peak is known for {start[0]['device']}"
        assert all(0 < s["mfu"] < 1 for s in steps), [s for s in steps if not 0 < s.get("mfu", 0) < 1][:3]
        assert (seen[0]["step"], seen[-1]["step"]) == (0, 1500), seen
        for s in seen:
            assert 0 < s["memory_used"] <= s["memory_total"] and 10 < s["temperature_c"] < 110, s
            assert 10 < s["power_w"] < 2000 and 100 < s["sm_clock_mhz"] < 5000, s
            assert isinstance(s["throttle"], list) and s["xid"] in (0, None) and not s["ecc_uncorrected"], s
        joules = [s["energy_j"] for s in seen]
        seconds = sum(s["ms"] for s in steps) / 1000
        assert 0 <= joules[0] < joules[-1] and joules == sorted(joules), joules
        assert 10 < (joules[-1] - joules[0]) / seconds < 3000, f"{joules[-1]:.0f} J in {seconds:.1f} s"
        took = [float(ms) for ms in re.findall(r"gpu_looked_at .*ms=([0-9.]+)", run.log())]
        text = (f"MFU {max(s['mfu'] for s in steps):.2%} at most, {seen[-1]['power_w']:.0f} W, {joules[-1]:.0f} J, "
                f"throttle {seen[-1]['throttle']}; a look takes {', '.join(f'{t:.1f}' for t in took)} ms")
        assert len(took) == len(seen) and max(took) < 20, text
        return text

    # ---- faults

    def too_large(self):
        spec = merged(PYTHIA, {"model": {"layers": 48, "dim": 2048, "heads": 16, "d_ff": 8192},
                               "train": {"seq_len": 256, "batch": 4096, "micro_batch": 4096}})
        return refused(self.home.run(spec), "bad_spec", r"train\.micro_batch \d+ fits")

    def share(self):
        """A part of the GPU, too small for the whole batch: refused with what fits, and that fits."""
        spec = merged(PYTHIA, {"train": {"seq_len": 256, "batch": 64, "micro_batch": 64, "steps": 2,
                                         "recompute": "none"}})
        whole, least = (self.home.plan(merged(spec, {"train": {"micro_batch": n}}))["bytes"]["total"] for n in (64, 8))
        spec = merged(spec, {"resources": {"gpu_memory": (whole + least) // 2 // MIB}})
        text = refused(self.home.run(spec), "bad_spec", r"train\.micro_batch \d+ fits")
        fits = int(re.search(r"micro_batch (\d+) fits", text)[1])
        finished(self.home.run(merged(spec, {"train": {"micro_batch": fits}})))
        return text

    def hidden(self):
        run = self.home.run(merged(BASE, GPU))
        status = run.go(env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
        end = run.end()
        assert (status, end["reason"]) == (1, "backend_error") and "no GPU" in end["text"], f"{status}: {end}"
        auto = self.home.run(merged(BASE, {"train": {"steps": 2}}))
        status = auto.go(env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
        told = auto.end()["text"]
        if status != 0 and "needs oneDNN" in told:
            return end["text"]
        assert status == 0 and of_kind(auto.journal(), "start")[0]["backend"] == "cpu", auto.log()
        return end["text"]

    def taken(self):
        """Another process has nearly all memory: room for a context, not for the run."""
        spec = merged(PYTHIA, {"train": {"batch": 32}})
        texts = []
        for leave in (2000, 150):
            hog = subprocess.Popen([sys.executable, HERE / "gpu.py", "hog", str(leave)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            try:
                line = hog.stdout.readline()
                assert line == "ready\n", line + hog.stdout.read()
                texts.append(refused(self.home.run(spec), "oom_gpu", r"the run needs \d+ MiB, \w+ \d+ MiB"))
            finally:
                hog.stdin.close()
                hog.wait(30)
        return "\n".join(texts)

    def wild(self):
        change = {"train": {"optimizer": {"lr": 1000}, "weight_decay": 1000, "clip": 0, "warmup": 0,
                            "schedule": "constant", "steps": 40}}
        for device in (GPU, BF16):
            spec = merged(merged(BASE, change), device)
            run = self.home.run(spec)
            status, end = run.go(), run.end()
            assert (status, end["reason"]) == (1, "diverged"), f"{status}: {end}\n{run.log()}"
            assert end["step"] == of_kind(run.journal(), "step")[-1]["step"]
            run = finished(self.home.run(merged(spec, {"train": {"on_nonfinite": "skip"}})))
            assert len(of_kind(run.journal(), "step")) == 40
            assert any("skipped" in n["text"] for n in of_kind(run.journal(), "note")), run.journal()

    def tune(self):
        """A line a product goes to the table; runs read the one beside the library, which stays as it is."""
        spec, table = self.home.path / "tune.json", self.home.path / "table.txt"
        spec.write_text(json.dumps(merged(BASE, BF16)))
        command = [WORKER, "--home", self.home.path, "--tune", spec, "--table", table]
        p = subprocess.run(command, capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
        rows = [x.split("\t") for x in table.read_text().splitlines() if not x.startswith("#")]
        assert rows and len(rows) == len(p.stdout.splitlines()), f"{len(rows)} rows:\n{p.stdout}"
        assert all(len(r) == 4 and r[0] == rows[0][0] and len(r[3].split()) == 8 for r in rows), rows
        again = subprocess.run(command, capture_output=True, text=True)
        assert again.returncode == 0 and len(table.read_text().splitlines()) == len(rows) + 1, again.stderr
        return f"{len(rows)} products"

    # ---- memory and time

    def memory(self, change):
        return self.watched(merged(PYTHIA, change))[1]

    def recompute(self, change):
        """What is kept changes the memory and not a bit of the losses."""
        texts, kept = [], None
        for policy in ("none", "cheap", "all"):
            run, text = self.watched(merged(merged(PYTHIA, change), {"train": {"micro_batch": 4, "recompute": policy}}))
            kept = kept or run
            assert run.curve() == kept.curve() and run.curve("eval") == kept.curve("eval"), f"{policy} differs"
            texts.append(f"{policy}: {text}")
        return "\n".join(texts)

    def watched(self, spec):
        """The finished run, and how its memory compares with the plan."""
        planned = self.home.plan(spec)["bytes"]
        run = self.home.run(spec)
        with Watch(lambda: trainer_pid(run)) as seen:
            finished(run)
        if seen.bytes is None:
            raise Skip("NVML is not to be had")
        assert of_kind(run.journal(), "start")[0]["memory_bytes"] == planned["total"]
        difference = seen.bytes - planned["total"]
        text = (f"planned {planned['total'] / MIB:.0f} MiB, seen {seen.bytes / MIB:.0f} "
                f"({'the process' if seen.of_process else 'the whole GPU'}): {difference / MIB:+.0f}; "
                f"context planned {planned['total'] / MIB - (planned['arena'] + planned['workspace']) / MIB:.0f}")
        assert abs(difference) <= max(64 * MIB, 0.05 * planned["total"]), text
        return run, text

    def launch(self, spec):
        took = []
        for _ in range(3):
            run = self.home.run(spec)
            p, seconds = first_step_seconds(run)
            took.append(seconds)
            p.kill()  # and its trainer with it: no checkpoint
            p.wait(60)
            time.sleep(0.3)
        text = "launch to first step: " + ", ".join(f"{t:.2f} s" for t in took)
        assert sorted(took)[1] < 2, text
        return text


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--only", default="")
    stage = Stage("train", a.parse_args().only, deadline=440)
    with Home() as home:
        home.tokens("words", 1_000_000, "--words", "--val-fraction", "0.02")
        t = Train(home, stage)
        for name in MODELS:
            stage.case(f"fp32 {name}", t.curve, name, GPU, 1e-4, 1e-3)
            stage.case(f"bf16 {name}", t.curve, name, BF16, 2e-2, 2e-2)
        stage.case("the same twice", t.twice)
        stage.case("kill -9 and resume", t.kills)
        stage.case("SIGTERM and resume", t.stop)
        stage.case("two at once", t.together)
        stage.case("MFU, energy and health", t.health)
        stage.case("larger than the GPU", t.too_large)
        stage.case("larger than its share", t.share)
        stage.case("no GPU visible", t.hidden)
        stage.case("memory taken by another", t.taken)
        stage.case("not finite", t.wild)
        stage.case("tune", t.tune)
        stage.case("memory as planned", t.memory, {})
        stage.case("memory as planned, small", t.memory, {"model": {"preset": "pythia-14m", "dim": 128, "layers": 6,
                                                                   "heads": 4}})
        for name, change in (("xl", {"xl": {"len": 1024}}), ("rmt", {"rmt": {"tokens": 10, "bptt": 2}})):
            stage.case(f"memory as planned, {name}", t.memory, {"memory": change})
            stage.case(f"recomputed, {name}", t.recompute, {"memory": change, "train": {"seq_len": 512}})
        stage.case("recomputed, parallel", t.recompute, {})
        stage.case("recomputed, sequential, fp32", t.recompute,
                   {"model": {"parallel_residual": False, "ffn": {"type": "swiglu"}},
                    "train": {"precision": "fp32", "seq_len": 512}})
        stage.case("time to the first step", t.launch, PYTHIA)
        stage.case("time to the first step, small", t.launch, merged(BASE, BF16))
    sys.exit(stage.close())


if __name__ == "__main__":
    main()
