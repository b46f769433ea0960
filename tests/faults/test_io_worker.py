#!/usr/bin/env python3
"""test_io_worker.py - the n-th write, fsync, rename ... of a worker fails, once or from then on, for n = 1, 2, ... until
none is left to fail; on its journal, its checkpoints and the rest of its attempt's folder.

Whatever fails, the attempt finishes with the undisturbed run's numbers, or it ends with one clear error; then an
attempt that resumes from its newest recorded checkpoint finishes with the same curve and the same weights, bit for bit.
Each n in the long form (BAKA_FAULTS_LONG=1), some without it.
"""
import collections
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import SANITIZED
from shim import LONG, Fault, sweep
from worker_case import WorkerCase, of_kind, words, Run, merged, SPEC

SMALL = merged(SPEC, {"model": {"dim": 16, "layers": 1, "ffn": {"type": "gelu"}},
                      "train": {"epochs": 0, "steps": 8, "seq_len": 16, "batch": 2, "eval_every": 5, "checkpoint_every": 3}})
KINDS = [  # what is called, how it fails, on what, and how many n the short form takes
    ("write", ("EIO", "ENOSPC", "short"), "*/attempts/*/journal", 2),
    ("write", ("EIO", "ENOSPC", "short"), "*/checkpoints/*", 2),
    ("write", ("EIO", "ENOSPC", "short"), "*/attempts/*/.exit.json.tmp", 1),
    ("write", ("EIO",), "*/attempts/*/lock", 1),
    ("sync", ("EIO", "ENOSPC"), "*/attempts/*", 2),
    ("sync", ("EIO", "ENOSPC"), "*/checkpoints*", 2),
    ("rename", ("EIO", "ENOSPC"), "*/checkpoints*", 2),
    ("rename", ("EIO", "ENOSPC"), "*/attempts/*", 1),
    ("open", ("EIO", "ENOSPC"), "*/runs/*", 1),
    ("mkdir", ("EIO", "ENOSPC"), "*/runs/*", 1),
    ("allocate", ("EIO", "ENOSPC"), "*/runs/*", 1),
    ("truncate", ("EIO",), "*/runs/*", 1),
    ("remove", ("EIO",), "*/runs/*", 1),
    ("read", ("EIO",), "*/runs/*", 1),
]


@unittest.skipIf(SANITIZED, "the shim cannot stand in front of a sanitizer's runtime")
class IoWorker(WorkerCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.calm = Run(cls.home, "calm", SMALL)
        assert cls.calm.go() == 0, cls.calm.log()
        cls.done = collections.Counter()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        print(f"{sum(cls.done.values())} runs with a failing call ({'every n' if LONG else 'short form'}): {dict(cls.done)}")

    def attempt(self, name, fault, resume="none"):
        run = Run(self.home, name, SMALL)
        return run, run.go(env=fault.environment())

    def check(self, run, status, fault):
        journal, log = run.journal(), run.log()
        ended = journal[-1] if journal and journal[-1]["kind"] == "end" else None
        if ended and ended["reason"] == "finished":
            self.assertEqual(run.curve(), self.calm.curve())
            if status != 0:  # it is written, but whether it lasts could not be made sure of
                self.assertIn("end_not_written", log)
        elif ended:
            self.assertTrue(ended["text"], "no word on what failed")
            self.assertIn(status, (1, 75))
        else:  # its last word could not be written either, or came before the journal: then the log has it
            self.assertNotEqual(status, 0, "a success that the journal does not know")
            self.assertRegex(log, "baka-worker: |attempt_not_started|end_not_written")
        if fault.text.split()[0] in ("sync", "rename") and fault.text.endswith("checkpoints*"):
            self.assertEqual(status, 1, "a checkpoint that may not last was taken for one that does")
        self.assertNotIn(status, range(129, 160), f"a crash: {log}")
        for mark in of_kind(journal, "checkpoint"):
            self.assertTrue((run.dir / mark["path"] / "manifest.json").exists(), mark)
        recorded = of_kind(journal, "checkpoint")
        resume = recorded[-1]["path"] if recorded else "none"
        self.assertEqual(run.go(resume), 0, f"{fault.text}: {run.log()}")
        self.assertEqual(run.curve(), self.calm.curve())
        self.assertEqual(run.curve("eval"), self.calm.curve("eval"))
        self.assertEqual(run.final_model(), self.calm.final_model())

    def test_every_call(self):
        number = 0
        for op, errors, pattern, short in KINDS:
            probe = Fault(self.home / "count", op, errors[0], 10**9, "once", pattern)
            _, status = self.attempt(f"probe{number}", probe)
            number += 1
            self.assertEqual(status, 0)
            calls = probe.counts()[0]
            self.assertGreater(calls, 0, f"no {op} on {pattern}")
            for error, mode, n in sweep(op, errors, calls, short):
                fault = Fault(self.home / "count", op, error, n, mode, pattern)
                with self.subTest(op=op, error=error, mode=mode, n=n, pattern=pattern):
                    run, status = self.attempt(f"f{number}", fault)
                    number += 1
                    self.assertGreater(fault.counts()[1], 0, "nothing failed")
                    self.check(run, status, fault)
                    self.done[f"{op}{' ' + pattern.split('/')[-1] if op == 'write' else ''}"] += 1


if __name__ == "__main__":
    unittest.main()
