#!/usr/bin/env python3
"""baka-worker on its own: training, identity of results, evaluation, the command line."""
import json
import pathlib
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import wait_until  # noqa: E402
from worker_case import PATIENCE, SPEC, WORKER, WorkerCase, merged, of_kind, read_safetensors, words  # noqa: E402


class Training(WorkerCase):
    def test_learns_and_tells(self):
        r = self.reference
        records = r.journal()
        start, steps, evals, end = records[0], of_kind(records, "step"), of_kind(records, "eval"), records[-1]
        self.assertEqual(start["kind"], "start")
        self.assertEqual(end["kind"], "end")
        self.assertEqual((end["reason"], end["step"]), ("finished", start["total_steps"]))
        self.assertEqual(end["text"], "")
        # 19,000 train tokens, 18,999 predictions in windows of 32: 594 windows, 149 steps of 4, 223.5 steps asked for.
        self.assertEqual(start["tokens_per_epoch"], 18999)
        self.assertEqual(start["steps_per_epoch"], 149)
        self.assertEqual(start["total_steps"], 224)
        self.assertEqual((start["attempt"], start["resume_step"], start["backend"]), (1, 0, "cpu"))
        self.assertGreater(start["flops_per_token"], 6 * 1000)
        # A CPU has no honest peak and no health to tell of.
        self.assertIsNone(start["peak_flops"])
        self.assertFalse(any("mfu" in s for s in steps) or of_kind(records, "gpu"))
        self.assertEqual([s["step"] for s in steps], list(range(1, 225)))
        self.assertEqual(steps[148]["tokens"], 18999)
        self.assertEqual(steps[148]["epoch"], 1.0)
        self.assertLess(abs(steps[0]["loss"] - 5.545), 0.6)  # ln 256 at the start
        first, last = (sum(s["loss"] for s in part) / 20 for part in (steps[:20], steps[-20:]))
        self.assertLess(last, 0.5 * first)
        self.assertEqual([e["step"] for e in evals], sorted(set(range(20, 225, 20)) | {149, 224}))
        for e in evals:
            self.assertEqual(e["split"], "val")
            self.assertIn(e["predictions"], (999, 1000))
            self.assertAlmostEqual(e["bits_per_byte"], e["loss"] / 0.6931471805599453, places=12)
        self.assertLess(evals[-1]["loss"], 0.6 * evals[0]["loss"] + 1)
        # An evaluation comes before the checkpoint of the same step, each after its step.
        order = [(x["step"], x["kind"]) for x in records if x["kind"] in ("step", "eval", "checkpoint")]
        self.assertEqual(order, sorted(order, key=lambda x: (x[0], ("step", "eval", "checkpoint").index(x[1]))))
        for c in of_kind(records, "checkpoint"):
            folder = r.dir / c["path"]
            self.assertEqual(c["bytes"], sum(f.stat().st_size for f in folder.iterdir()))
        self.assertEqual(r.checkpoints()[-1], "224-a1")
        self.assertEqual([p for p in (r.dir / "checkpoints").iterdir() if p.name.startswith(".")], [])

    def test_exit_json(self):
        e = self.reference.exit()
        self.assertEqual(set(e), {"status", "signal", "core", "maxrss", "cpu_s", "boot_id", "pid", "trainer_pid"})
        self.assertEqual((e["status"], e["signal"], e["core"]), (0, 0, False))
        self.assertGreater(e["maxrss"], 1 << 20)
        self.assertGreater(e["cpu_s"], 0)
        self.assertEqual(e["boot_id"], pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        self.assertEqual(e["trainer_pid"], self.reference.journal()[0]["pid"])
        pid, start, boot = self.reference.path("lock").read_text().split()
        self.assertEqual((int(pid), boot), (e["pid"], e["boot_id"]))
        self.assertGreater(int(start), 0)

    def test_same_again_and_with_two_threads(self):
        for threads in (1, 2):
            r = self.run_of()
            self.assertEqual(r.go(threads=threads), 0, r.log())
            self.assertEqual(r.curve(), self.reference.curve())
            self.assertEqual(r.curve("eval"), self.reference.curve("eval"))
            self.assertEqual(r.final_model(), self.reference.final_model())
            self.assertEqual(r.journal()[0]["numerics_id"], self.reference.journal()[0]["numerics_id"])

    def test_checkpointing_changes_nothing(self):
        r = self.run_of({"train": {"checkpoint_every": 1}})
        self.assertEqual(r.go(), 0, r.log())
        self.assertEqual(r.curve(), self.reference.curve())
        self.assertEqual(len(r.checkpoints()), 224)
        r = self.run_of({"train": {"checkpoint_every": 0}})
        self.assertEqual(r.go(), 0, r.log())
        self.assertEqual(r.curve(), self.reference.curve())
        self.assertEqual(r.checkpoints()[-1], "224-a1")

    def test_another_seed_is_another_run(self):
        r = self.run_of({"train": {"seed": 4, "steps": 3}})
        self.assertEqual(r.go(), 0, r.log())
        self.assertNotEqual(r.curve()[0][3], self.reference.curve()[0][3])
        self.assertNotEqual(r.journal()[0]["numerics_id"], self.reference.journal()[0]["numerics_id"])

    def test_micro_batches_sum_to_the_batch(self):
        r = self.run_of({"train": {"micro_batch": 1, "steps": 30}})
        whole = self.run_of({"train": {"micro_batch": 4, "steps": 30}})
        self.assertEqual((r.go(), whole.go()), (0, 0), r.log())
        for a, b in zip(r.curve(), whole.curve()):
            self.assertAlmostEqual(a[3], b[3], delta=2e-4)
            self.assertEqual(a[2], b[2])
        self.assertEqual(r.journal()[0]["micro_batch"], 1)
        self.assertNotEqual(r.journal()[0]["numerics_id"], whole.journal()[0]["numerics_id"])

    def test_steps_replace_epochs_and_no_validation(self):
        self.prepare("all_train", words(3000), "--val-fraction", "0")
        r = self.run_of({"data": {"name": "all_train"}, "train": {"steps": 7}})
        self.assertEqual(r.go(), 0, r.log())
        self.assertEqual(r.end()["step"], 7)
        self.assertEqual(of_kind(r.journal(), "eval"), [])

    def test_stream_order_learns(self):
        r = self.run_of({"data": {"order": "stream"}, "train": {"epochs": 1}})
        self.assertEqual(r.go(), 0, r.log())
        curve = r.curve()
        self.assertLess(curve[-1][3], 0.6 * curve[0][3])
        self.assertEqual(curve[-1][2], 18999)

    def test_safetensors_by_the_published_format(self):
        tensors, header = read_safetensors(self.reference.dir / self.reference.newest() / "model.safetensors")
        self.assertEqual(header["__metadata__"], {"format": "pt"})
        parameters = {n: t for n, t in tensors.items() if not n.endswith((".m", ".v"))}
        self.assertEqual(len(tensors), 3 * len(parameters))
        count = 0
        for name, (dtype, shape, data) in parameters.items():
            n = 1
            for d in shape:
                n *= d
            self.assertEqual(dtype, "F32")
            self.assertEqual(len(data), 4 * n)
            for suffix in (".m", ".v"):
                self.assertEqual(tensors[name + suffix][:2], (dtype, shape))
            values = struct.unpack(f"<{n}f", data)
            self.assertTrue(all(abs(v) < 100 for v in values), name)
            count += n
        self.assertEqual(count, self.reference.journal()[0]["params"])
        self.assertEqual(parameters["embed.weight"][1], [256, 32])
        self.assertEqual(parameters["final_norm.weight"][1], [32])

    def test_time_to_the_first_step(self):
        r = self.run_of({"train": {"steps": 1}})
        begin = time.monotonic()
        p = r.start()
        wait_until("first step", lambda: of_kind(r.journal(), "step"))
        took = time.monotonic() - begin
        self.assertEqual(p.wait(timeout=PATIENCE), 0)
        print(f"launch to first step: {took * 1e3:.0f} ms", file=sys.stderr)
        self.assertLess(took, PATIENCE / 6)

    def test_diverging_stops_or_skips(self):
        # Decay alone multiplies the weights by about -10^6 a step.
        wild = {"train": {"optimizer": {"lr": 1000}, "weight_decay": 1000, "clip": 0, "warmup": 0,
                          "schedule": "constant", "steps": 40}}
        r = self.run_of(wild)
        self.assertEqual(r.go(), 1, r.log())
        self.assertEqual(r.end()["reason"], "diverged")
        last = of_kind(r.journal(), "step")[-1]
        self.assertTrue(isinstance(last["loss"], str) or isinstance(last["grad_norm"], str), last)
        self.assertEqual(r.end()["step"], last["step"])
        r = self.run_of(merged(wild, {"train": {"on_nonfinite": "skip"}}))
        self.assertEqual(r.go(), 0, r.log())
        self.assertEqual(len(of_kind(r.journal(), "step")), 40)
        self.assertTrue(any("skipped" in n["text"] for n in of_kind(r.journal(), "note")))

    def tool(self, *arguments):
        return subprocess.run([str(WORKER), *map(str, arguments)], capture_output=True, text=True)

    def test_plan(self):
        spec = self.home / "plan.json"
        spec.write_text(json.dumps(SPEC))
        p = self.tool("--home", self.home, "--plan", spec)
        self.assertEqual(p.returncode, 0, p.stderr)
        plan = json.loads(p.stdout)
        start = self.reference.journal()[0]
        self.assertEqual(plan["params"], start["params"])
        self.assertEqual(plan["bytes"]["total"], start["memory_bytes"])
        self.assertGreater(plan["flops_per_token"], 0)
        spec.write_text(json.dumps(merged(SPEC, {"data": {"name": "absent"}, "model": {"vocab": 1000}})))
        self.assertEqual(json.loads(self.tool("--plan", spec).stdout)["params"], plan["params"] + 2 * 32 * 744)
        bad = [merged(SPEC, {"data": {"name": "absent"}}), merged(SPEC, {"model": {"dim": "x"}}),
               merged(SPEC, {"modle": 1})]
        for s, path in zip(bad, ("model.vocab", "model.dim", "modle")):
            spec.write_text(json.dumps(s))
            p = self.tool("--home", self.home, "--plan", spec)
            self.assertEqual((p.returncode, p.stdout), (1, ""))
            self.assertRegex(p.stderr, rf"^baka-worker: .*{path}.*\n$")
        p = self.tool("--plan", self.home / "absent.json")
        self.assertEqual(p.returncode, 1)
        self.assertRegex(p.stderr, r"^baka-worker: .*absent\.json.*\n$")

    def test_tune_without_gpu(self):
        spec = self.home / "tune.json"
        spec.write_text(json.dumps(merged(SPEC, {"train": {"device": "cpu"}})))
        p = self.tool("--home", self.home, "--tune", spec, "--table", self.home / "table.txt")
        self.assertEqual((p.returncode, p.stdout), (1, ""))
        self.assertRegex(p.stderr, r"^baka-worker: the cpu backend has nothing to tune.*\n$")
        self.assertFalse((self.home / "table.txt").exists())

    def test_describe_help_version(self):
        schema = json.loads(self.tool("--describe", "schema").stdout)
        self.assertIn("properties", schema)
        self.assertIn("train.seq_len", self.tool("--describe", "markdown").stdout)
        self.assertRegex(self.tool("--version").stdout, r"^baka-worker \d+\.\d+\.\d+\n$")
        p = self.tool("--help")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertIn("--run-dir", p.stdout)
        with open("/dev/full", "w") as full:
            self.assertEqual(subprocess.run([str(WORKER), "--help"], stdout=full, stderr=subprocess.PIPE).returncode, 1)

    def test_usage(self):
        for arguments in ((), ("--run-dir", "x"), ("--run-dir", "x", "--attempt", "1"), ("--nope",), ("--attempt",),
                          ("--run-dir", "x", "--attempt", "0", "--resume", "none"),
                          ("--run-dir", "x", "--attempt", "1x", "--resume", "none"),
                          ("--run-dir", "x", "--attempt", "1", "--resume", ""),
                          ("--run-dir", "x", "--attempt", "1", "--resume", "none", "--threads", "0"),
                          ("--run-dir", "x", "--attempt", "1", "--resume", "none", "extra"),
                          ("--describe", "poetry"), ("--plan", "x", "--version"), ("--plan", "x", "--tune", "x"),
                          ("--tune", ""), ("--plan", "x", "--table", "y"), ("--tune", "x", "--table", "")):
            p = self.tool(*arguments)
            self.assertEqual((p.returncode, p.stdout), (2, ""), arguments)
            lines = p.stderr.splitlines()
            self.assertEqual(len(lines), 2, p.stderr)
            self.assertTrue(lines[0].startswith("baka-worker: "), p.stderr)
            self.assertIn("--help", lines[1])


if __name__ == "__main__":
    unittest.main()
