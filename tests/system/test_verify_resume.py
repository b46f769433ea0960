#!/usr/bin/env python3
"""test_verify_resume.py - bakactl verify-resume: an honest worker is equal, one that comes back with another result is
caught, and nothing is left behind."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BAKACTL, WORKER, Home, english, wait_until

SPEC = {
    "data": {"name": "text"},
    "model": {"dim": 16, "layers": 1, "heads": 2},
    "train": {"steps": 40, "seq_len": 16, "batch": 2, "seed": 3, "eval_every": 20},
}
# Comes back with another gradient norm in its last step.
LIAR = """#!/bin/sh
{worker} "$@"
status=$?
case "$*" in
*"--attempt 1 "*) ;;
*) for journal in "$4"/attempts/*/journal; do sed -i '/"step":40,.*grad_norm/s/"grad_norm":/"grad_norm":1/' "$journal"; done ;;
esac
exit $status
"""


class VerifyResume(unittest.TestCase):
    def setUp(self):
        self.home = Home(start=False)
        self.addCleanup(self.home.close)
        self.home.prepare("text", english(20_000))
        self.spec = self.home.root / "spec.json"
        self.spec.write_text(json.dumps(SPEC))

    def verify(self, *args, bakactl=BAKACTL):
        return subprocess.run([bakactl, "--home", self.home.path, "verify-resume", self.spec, *args], capture_output=True,
                              text=True, timeout=300)

    def test_equal(self):
        p = self.verify("--kills", "3", "--seed", "5", "--json")
        self.assertEqual(p.returncode, 0, p.stderr)
        found = json.loads(p.stdout)
        self.assertTrue(found["equal"])
        self.assertEqual(found["seed"], 5)
        self.assertEqual(found["differences"], 0)
        self.assertEqual(found["weights_undisturbed"], found["weights_killed"])
        self.assertEqual(found["steps"], 40)
        self.assertFalse((self.home.path / "verify-resume").exists())
        again = json.loads(self.verify("--kills", "3", "--seed", "5", "--json").stdout)
        self.assertEqual(again["kill_steps"][:2], found["kill_steps"][:2])
        text = self.verify("--set", "train.steps=20").stdout
        self.assertIn("equal bit for bit: ", text)

    def test_unequal(self):
        folder = self.home.root / "liars"
        folder.mkdir()
        shutil.copy(BAKACTL, folder / "bakactl")
        (folder / "baka-worker").write_text(LIAR.format(worker=WORKER))
        (folder / "baka-worker").chmod(0o755)
        p = self.verify("--kills", "1", "--seed", "1", "--json", bakactl=folder / "bakactl")
        self.assertEqual(p.returncode, 1, p.stdout + p.stderr)
        found = json.loads(p.stdout)
        self.assertFalse(found["equal"])
        self.assertEqual(found["first_difference"]["step"], 40)
        self.assertEqual(found["first_difference"]["what"], "gradient norm")
        self.assertTrue((pathlib.Path(found["folder"]) / "killed/attempts/2/journal").exists(), "the evidence is gone")
        self.assertIn("NOT EQUAL", self.verify("--kills", "1", bakactl=folder / "bakactl").stdout)

    def test_refusals(self):
        for args, status, word in ((("--set", "data.name=nix"), 1, "no data set nix"), (("--kills", "0"), 2, "--kills 0"),
                                   (("--set", "train.steps=x"), 2, "train.steps is x")):
            p = self.verify(*args)
            self.assertEqual(p.returncode, status, p.stdout + p.stderr)
            self.assertIn(word, p.stderr)
            self.assertEqual(len(p.stderr.strip().splitlines()), 1, p.stderr)
            self.assertFalse((self.home.path / "verify-resume").exists())

    def test_interrupted(self):
        p = subprocess.Popen([BAKACTL, "--home", self.home.path, "verify-resume", self.spec, "--set", "train.steps=1000000"],
                             stderr=subprocess.PIPE, text=True)
        journal = wait_until("journal", lambda: next(self.home.path.glob("verify-resume/*/*/attempts/1/journal"), None))
        wait_until("step", lambda: '"step"' in journal.read_text())
        worker = self.home.children(p.pid)
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(30), -signal.SIGINT)
        p.stderr.close()
        self.assertTrue(worker)
        self.assertFalse(any(os.path.exists(f"/proc/{pid}") for pid in worker))
        self.assertFalse((self.home.path / "verify-resume").exists())


if __name__ == "__main__":
    unittest.main()
