#!/usr/bin/env python3
"""What baka-worker refuses, and what it does on damaged files and full disks."""
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from worker_case import SPEC, WorkerCase, merged, of_kind, words  # noqa: E402


class Refusals(WorkerCase):
    def fails(self, r, reason, text, resume="none", **popen):
        self.assertEqual(r.go(resume, **popen), 1, r.log())
        end = r.end()
        self.assertEqual(end["reason"], reason)
        self.assertIn(text, end["text"])
        self.assertEqual(r.exit()["status"], 1)
        self.assertEqual(of_kind(r.journal(), "step"), [])

    def test_bad_spec(self):
        self.fails(self.run_of({"model": {"dim": 33}}), "bad_spec", "model.")
        self.fails(self.run_of({"model": {"dimm": 32}}), "bad_spec", "dim")
        self.fails(self.run_of({"model": {"vocab": 100}}), "bad_spec", "model.vocab")
        self.fails(self.run_of(spec="{"), "bad_spec", "line 1, column 2")
        r = self.run_of()
        (r.dir / "spec.json").unlink()
        self.fails(r, "bad_spec", "spec.json")

    def test_bad_data(self):
        self.fails(self.run_of({"data": {"name": "absent"}}), "bad_data", "absent")
        self.prepare("hurt", words(5000))
        tokens = self.home / "data/hurt/tokens"
        os.chmod(tokens, 0o644)
        whole = tokens.read_bytes()
        tokens.write_bytes(whole[:-100])
        self.fails(self.run_of({"data": {"name": "hurt"}}), "bad_data", "hurt")
        tokens.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        self.fails(self.run_of({"data": {"name": "hurt"}}), "bad_data", "hurt")

    def test_other_data_than_the_checkpoints(self):
        r = self.run_of({"data": {"name": "changes"}, "train": {"steps": 2}})
        self.prepare("changes", words(5000))
        self.assertEqual(r.go(), 0, r.log())
        shutil.rmtree(self.home / "data/changes")
        self.prepare("changes", words(5000, seed=2))
        self.fails(r, "bad_data", "changes", "checkpoints/2-a1")

    def test_device_that_is_absent(self):
        r = self.run_of({"train": {"device": "cuda"}})
        self.assertEqual(r.go(), 1)
        self.assertIn(r.end()["reason"], ("backend_error", "bad_spec"))

    def test_damaged_checkpoint(self):
        r = self.run_of({"train": {"steps": 4, "checkpoint_every": 2}})
        self.assertEqual(r.go(), 0, r.log())
        good = r.dir / "checkpoints/2-a1"
        for name in ("model.safetensors", "state.json", "manifest.json"):
            whole = (good / name).read_bytes()
            for damage in (whole[:-1], whole[: len(whole) // 2], whole[:9] + bytes([whole[9] ^ 4]) + whole[10:], None):
                if damage is None:
                    (good / name).unlink()
                else:
                    (good / name).write_bytes(damage)
                self.fails(r, "bad_checkpoint", "checkpoints/2-a1", "checkpoints/2-a1")
                self.assertEqual(of_kind(r.journal(), "start"), [])
            (good / name).write_bytes(whole)
        self.fails(r, "bad_checkpoint", "checkpoints/9-a1", "checkpoints/9-a1")
        self.fails(r, "bad_checkpoint", "../2-a1", "../2-a1")
        self.assertEqual(r.go("checkpoints/2-a1"), 0, r.log())
        # Of another spec: shapes that fit are no excuse.
        spec = json.loads((r.dir / "spec.json").read_text())
        (r.dir / "spec.json").write_text(json.dumps(merged(spec, {"train": {"seed": 9}})))
        self.fails(r, "bad_checkpoint", "another spec", "checkpoints/2-a1")

    def test_file_size_limit(self):
        """A disk that fills: the journal keeps whole records, the attempt ends as disk_full, a later one goes on."""
        hit = 0
        for limit in (4400, 9000, 20000, 40000):
            r = self.run_of({"train": {"checkpoint_every": 1000}})
            status = r.go(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
            self.assertEqual(status, 1, r.log())
            data = r.path("journal").read_bytes()
            self.assertLessEqual(len(data), limit)
            self.assertTrue(data.endswith(b"\n"))
            self.assertEqual(r.end()["reason"], "disk_full")
            hit += len(of_kind(r.journal(), "step")) > 0
            self.assertEqual(list((r.dir / "checkpoints").glob("*")) if (r.dir / "checkpoints").exists() else [], [])
            self.assertEqual(r.go(r.newest()), 0, r.log())
            self.same_as_reference(r)
        self.assertGreater(hit, 0)

    def test_full_disk(self):
        """A real one: first the journal finds no room, then the checkpoint; the exit status is told all the same."""
        reasons = []
        for size, every in ((32, 1000), (40, 1000), (48, 1000), (96, 40), (256, 40), (600, 40)):
            r = self.run_of()
            if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(r.dir)],
                              capture_output=True).returncode != 0:
                self.skipTest("mounting a tmpfs is not permitted here")
            try:
                (r.dir / "spec.json").write_text(json.dumps(merged(SPEC, {"train": {"checkpoint_every": every}})))
                self.assertEqual(r.go(), 1, r.log())
                self.assertTrue(r.path("journal").read_bytes().endswith(b"\n"))
                self.assertEqual(r.end()["reason"], "disk_full")
                self.assertEqual(r.exit()["status"], 1)
                self.assertEqual([p for p in r.dir.glob("checkpoints/.tmp*")], [])
                reasons.append(r.end()["text"])
                subprocess.run(["mount", "-o", "remount,size=16m", str(r.dir)], check=True)
                self.assertEqual(r.go(r.newest()), 0, r.log())
                self.same_as_reference(r)
            finally:
                subprocess.run(["umount", str(r.dir)], check=True)
        self.assertTrue(any("journal" in t for t in reasons), reasons)
        self.assertTrue(any("checkpoints" in t for t in reasons), reasons)


if __name__ == "__main__":
    unittest.main()
