#!/usr/bin/env python3
"""Evaluations and samples in the queue, with a real daemon and real workers: what they find is what the same model says
at once and here (--now), whoever is killed meanwhile; cancelled, one after the other, before runs that wait; the
checkpoint that they read stays where it is."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BAKACTL, SANITIZED, Home, english, wait_until

SPEC = {"data": {"name": "text"}, "model": {"dim": 32, "layers": 2, "heads": 2},
        "train": {"steps": 40, "seq_len": 64, "batch": 4, "optimizer": {"lr": 3e-3}}}
TEXT = 8000 if SANITIZED else 30000
LONG = ("--split", "train", "--windowing", "sliding:1")  # a window a token: seconds


class JobsCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = Home("--cpu-slots", "2")
        cls.home.prepare("text", english(TEXT))
        cls.home.submit({**SPEC, "name": "model"})
        cls.home.ctl("wait", "model")

    @classmethod
    def tearDownClass(cls):
        cls.home.close()

    def detach(self, *args):
        return self.home.json(*args, "--detach")["runs"][0]["id"]

    def train_on(self, name, *args, cpus=1, **train):
        """Runs that last longer than their test, and end with it."""
        runs = self.home.submit({**SPEC, "name": name, "resources": {"cpus": cpus},
                                 "train": {**SPEC["train"], "steps": 10000000, **train}}, *args)

        def end():
            self.home.ctl("cancel", *runs, check=False)
            for run in runs:
                self.until_state(run, "cancelled")
        self.addCleanup(end)
        return runs

    def show(self, run):
        return self.home.json("show", run)

    def state(self, run):
        return self.show(run)["state"]

    def until_state(self, run, *states):
        return wait_until(f"{run} in {states}", lambda: (lambda r: r if r["state"] in states else None)(self.show(run)))

    def trainer_of(self, run):
        def find():
            for name, _, pid in self.home.keepers():
                if name == run and self.home.children(pid):
                    return pid, self.home.children(pid)[0]
            return None
        return wait_until(f"a worker of {run}", find)

    def refused(self, why, *args, status=1):
        p = self.home.ctl(*args, check=False)
        self.assertEqual(p.returncode, status, p.stdout + p.stderr)
        self.assertIn(why, p.stderr)
        self.assertEqual(p.stderr.count("\n"), 1, p.stderr)

    def restart_daemon(self):
        self.home.kill_daemon(signal.SIGKILL)
        self.home.start()

    # --- evaluations

    def test_an_evaluation_is_recorded_and_shown(self):
        now = self.home.json("eval", "model", "--windowing", "sliding:32", "--now")
        job = self.detach("eval", "model", "--windowing", "sliding:32")
        self.assertEqual(self.home.json("eval", job), now)
        self.assertIn(f"loss {now['loss']:.4f},", self.home.ctl("eval", job).stdout)
        shown = self.show(job)
        source = self.show("model")
        self.assertEqual((shown["kind"], shown["state"], shown["name"], shown["source"]),
                         ("eval", "finished", "model", source["id"]))
        self.assertEqual(shown["result"], now)
        self.assertEqual((shown["job"]["data"], shown["job"]["windowing"]), ("text", "sliding:32"))
        self.assertEqual(source["kind"], "train", "the run's name is the run's, whatever is asked of it later")
        kept = [e for e in source["evaluations"] if e["id"] == job]
        self.assertEqual(kept, [{"id": job, "cpu": False, **now}])
        row = self.home.json("evals", job)
        self.assertEqual(len(row), 1)
        self.assertEqual((row[0]["step"], row[0]["loss"], row[0]["data"], row[0]["windowing"], row[0]["memory"]),
                         (40, now["loss"], "text", "sliding:32", None))
        self.assertAlmostEqual(row[0]["epoch"], source["epoch"], delta=1e-12)
        self.assertEqual(self.home.json("evals", "model")[-1]["step"], 40)
        self.assertNotIn("windowing", self.home.json("evals", "model")[-1])
        for text in (self.home.ctl("show", "model").stdout, self.home.ctl("compare", "model").stdout):
            self.assertRegex(text, rf"model +{job} +text +val +sliding:32 64 +- +40 +{now['loss']:.4f}")
        self.assertIn("asked     loss on val of text, sliding:32 windows", self.home.ctl("show", job).stdout)
        self.assertRegex(self.home.ctl("list", "--all").stdout, rf"{job} +model +eval +finished")
        self.assertNotIn("KIND", self.home.ctl("list", "model").stdout)
        self.home.ctl("wait", job)
        self.refused("is an evaluation of model's model, not a run to compare", "compare", "model", job)

    def test_the_daemon_is_killed(self):
        expected = self.home.json("eval", "model", *LONG, "--now")
        with subprocess.Popen([BAKACTL, "--home", self.home.path, "eval", "model", *LONG, "--json"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
            job = wait_until("the job", lambda: next((r["id"] for r in self.home.json("list")["runs"]
                                                      if r["state"] == "running"), None))
            keeper = self.trainer_of(job)
            self.restart_daemon()
            self.assertEqual(self.trainer_of(job), keeper, "adopted, not started anew")
            out, errors = waiting.communicate(timeout=300)
        self.assertEqual(waiting.returncode, 0, errors)
        self.assertEqual(json.loads(out), expected)
        self.assertLessEqual(errors.count("\n"), 1, errors)
        self.assertEqual(self.show(job)["attempts"], 1)

    def test_the_worker_is_killed(self):
        expected = self.home.json("eval", "model", *LONG, "--now")
        job = self.detach("eval", "model", *LONG)
        self.until_state(job, "running")
        os.kill(self.trainer_of(job)[1], signal.SIGKILL)
        self.assertEqual(self.home.json("eval", job), expected)
        shown = self.show(job)
        self.assertEqual([a["outcome"] for a in shown["attempt_list"]], ["killed: SIGKILL", "finished"])
        self.assertEqual({a["resume"] for a in shown["attempt_list"]}, {"checkpoints/40-a1"})
        self.assertEqual((shown["missing_steps"], len(self.home.json("evals", job))), (0, 1))

    def test_cancel_and_retry(self):
        job = self.detach("eval", "model", *LONG)
        self.until_state(job, "running")
        self.assertIn("stops after its batch", self.home.ctl("cancel", job).stdout)
        self.until_state(job, "cancelled")
        self.refused(f"{job} cancelled: cancelled by request", "eval", job)
        self.assertIsNone(self.show(job)["result"])
        self.assertEqual(self.home.json("evals", job), [])
        self.home.ctl("retry", job)
        self.assertGreater(self.home.json("eval", job)["predictions"], TEXT * 9 // 10)

    def test_two_at_once_and_before_runs_that_wait(self):
        runs = self.train_on("busy", "--seeds", "6")
        self.until_state(runs[1], "running")
        jobs = [self.detach("eval", "model", *LONG),
                self.detach("eval", "model", "--windowing", "sliding:2", "--split", "train")]
        time.sleep(0.3)
        self.assertEqual([self.state(j) for j in jobs], ["queued", "queued"], "both slots are taken")
        self.home.ctl("cancel", *runs[:2])
        for job in jobs:
            self.until_state(job, "running")
        self.assertEqual([self.state(r) for r in runs[2:]], ["queued"] * 4)
        self.assertEqual(self.home.json("status")["slots"]["cpu"]["used"], 2)
        self.assertNotEqual(*[self.home.json("eval", j)["loss"] for j in jobs])

    def test_the_checkpoint_stays(self):
        """A run that goes on making checkpoints has its old ones pruned, but not the one that is read."""
        self.train_on("onward", checkpoint_every=20)
        wait_until("a checkpoint", lambda: self.show("onward")["checkpoints"])
        job = self.detach("eval", "onward", *LONG)
        self.until_state(job, "running")
        checkpoint = wait_until("its checkpoint", lambda: self.show(job)["attempt_list"][0]["resume"])
        folder = self.home.path / "runs" / self.show("onward")["id"]

        def newer():
            marks = {c["path"]: c["mark"] for c in self.show("onward")["checkpoints"]}
            return sum(m == "pruned" for p, m in marks.items() if int(p.split("/")[1].split("-")[0]) >
                       int(checkpoint.split("/")[1].split("-")[0])) > 3
        wait_until("newer checkpoints that are pruned", newer)
        self.assertEqual(self.state(job), "running", "the evaluation has to last longer")
        self.assertTrue((folder / checkpoint / "manifest.json").exists())
        self.assertEqual(self.home.json("eval", job)["checkpoint"], checkpoint)
        wait_until("the end of it", lambda: not (folder / checkpoint).exists())

    def test_damaged_checkpoints(self):
        self.home.submit({**SPEC, "name": "hurt", "train": {**SPEC["train"], "checkpoint_every": 20}})
        self.home.ctl("wait", "hurt")
        folder = self.home.path / "runs" / self.show("hurt")["id"] / "checkpoints"
        for name in ("40-a1", "20-a1"):
            with open(folder / name / "model.safetensors", "r+b") as f:
                f.seek(-1, 2)
                f.write(b"x")
        self.refused("the run " + self.show("hurt")["id"] + " has no good checkpoint any more", "eval", "hurt")
        self.assertEqual([c["mark"] for c in self.show("hurt")["checkpoints"]], ["bad", "bad"])
        self.refused("has no checkpoint yet", "eval", "hurt")

    def test_refused_when_submitted(self):
        before = len(self.home.json("list")["runs"])
        self.train_on("late", checkpoint_every=5000000)
        self.refused("has no checkpoint yet", "eval", "late")
        self.refused("no run", "eval", "absent")
        self.refused('there is no data set "absent"', "eval", "model", "--data", "absent")
        self.home.prepare("short", b"few words", "--val-fraction", "0")
        self.refused("no such split", "eval", "model", "--data", "short")
        self.refused("at most train.seq_len, 64", "eval", "model", "--windowing", "sliding:65")
        self.refused("memory.xl.len is 0", "eval", "model", "--memory", "128")
        self.refused("exclude each other", "eval", "model", "--now", "--detach", status=2)
        curve = self.home.root / "curve.csv"
        curve.write_text("step,epoch,tokens,loss\n1,0.1,10,3\n2,0.2,20,2\n")
        self.home.ctl("import", curve, "--name", "curve")
        self.refused("there is no model", "eval", "curve")
        self.refused("there is no model", "sample", "curve", "--prompt", "a")
        tokenized = self.home.path / "data/other/tokens"
        self.home.prepare("other", english(2000))
        with open(tokenized, "r+b") as f:  # as another tokenizer of no more ids would have named itself
            f.seek(64)
            f.write(b"bpe:0123456789abcdef")
        self.refused("was cut by another tokenizer (bpe:0123456789abcdef) than the run's 'text' (bytes)", "eval", "model",
                     "--data", "other")
        self.refused("was cut by another tokenizer", "eval", "model", "--data", "other", "--now")
        job = self.detach("eval", "model")
        self.home.ctl("eval", job)
        self.refused("was asked already", "eval", job, "--split", "val", status=2)
        self.refused("a job of kind eval: it has no model of its own", "eval", "--now", job)
        self.refused("has none of its own", "sample", job, "--prompt", "a")
        self.assertEqual(len(self.home.json("list")["runs"]) - before, 3, "late, curve, one job")

    # --- samples

    def test_a_sample_is_kept_and_printed(self):
        args = ("--prompt", "the small", "--tokens", "40", "--seed", "3")
        now = self.home.json("sample", "model", *args, "--now")
        self.assertEqual(self.home.json("sample", "model", *args), now)
        job = self.detach("sample", "model", *args)
        self.assertEqual(self.home.json("sample", job), now)
        raw = subprocess.run([BAKACTL, "--home", self.home.path, "sample", job], capture_output=True, check=True)
        self.assertEqual(list(raw.stdout), now["ids"] + [ord("\n")])
        shown = self.show(job)
        self.assertEqual((shown["kind"], shown["result"]["step"], shown["job"]["prompt"]), ("sample", 40, "the small"))
        kept = (self.home.path / "runs" / job / "attempts/1/sample").read_text().split()
        self.assertEqual([int(i) for i in kept], now["ids"])
        self.assertIn("40 tokens behind \"the small\"", self.home.ctl("show", job).stdout)
        self.refused("was asked already", "sample", job, "--seed", "4", status=2)

    def test_a_sample_outlives_daemon_and_worker(self):
        args = ("--prompt", "the", "--tokens", "6000", "--seed", "1")
        expected = self.home.json("sample", "model", *args, "--now")
        with subprocess.Popen([BAKACTL, "--home", self.home.path, "sample", "model", *args], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as waiting:
            first = os.read(waiting.stdout.fileno(), 1)  # it comes as it is drawn
            job = next(r["id"] for r in reversed(self.home.json("list")["runs"]) if r["kind"] == "sample")
            self.assertEqual(self.state(job), "running")
            os.kill(self.trainer_of(job)[1], signal.SIGKILL)
            self.restart_daemon()
            out, errors = waiting.communicate(timeout=300)
        self.assertEqual(waiting.returncode, 0, errors)
        self.assertEqual(list(first + out), expected["ids"] + [ord("\n")])
        self.assertEqual(self.show(job)["attempts"], 2)


if __name__ == "__main__":
    unittest.main()
