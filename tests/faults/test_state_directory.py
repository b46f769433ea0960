#!/usr/bin/env python3
"""test_state_directory.py - a state directory that somebody tampered with, or that has no room."""
import pathlib
import resource
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BAKAD, SANITIZED, Home, english

SPEC = {"name": "small", "data": {"name": "text"}, "model": {"dim": 16, "layers": 1, "heads": 2},
        "train": {"steps": 40, "seq_len": 32, "batch": 2}}


class StateDirectory(unittest.TestCase):
    def test_run_directories_of_another_database(self):
        """A removed database starts ids anew; the old runs' journals must not become the new runs' curves."""
        with Home() as home:
            home.prepare("text", english(20_000))
            old = home.submit(SPEC)[0]
            home.ctl("wait", old)
            old_steps = home.ctl("steps", old, "--csv").stdout
            home.daemon.terminate()
            home.daemon.wait()
            for f in home.path.glob("baka.db*"):
                f.unlink()
            home.start()
            new = home.submit(SPEC, "--set", "train.seed=9")[0]
            self.assertEqual(new, old)
            home.ctl("wait", new)
            self.assertNotEqual(home.ctl("steps", new, "--csv").stdout.splitlines()[1].split(",")[3],
                                old_steps.splitlines()[1].split(",")[3])
            self.assertEqual(len(list(home.path.glob(f"runs/{old}.foreign-*/attempts/1/journal"))), 1)

    @unittest.skipIf(SANITIZED, "sanitizers need large files of their own")
    def test_file_size_limit(self):
        """A file-size limit is a full disk: one clear error, and the daemon lives."""
        with Home(start=False) as home:
            limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
            home.daemon = subprocess.Popen([BAKAD, "--home", home.path], stdin=subprocess.DEVNULL,
                                           stdout=home.log, stderr=home.log, preexec_fn=limit)
            for _ in range(200):
                if home.ctl("status", check=False).returncode == 0:
                    break
            home.prepare("text", english(20_000))
            spec = home.root / "spec.json"
            spec.write_text('{"data":{"name":"text"},"resources":{"cpus":1}}')
            failed = [p for p in (home.ctl("submit", spec, "--seeds", "500", check=False) for _ in range(8))
                      if p.returncode != 0]
            self.assertTrue(failed)
            self.assertEqual(failed[-1].returncode, 1)
            self.assertIn("no space", failed[-1].stderr)
            self.assertIsNone(home.daemon.poll())
            self.assertEqual(home.ctl("status").returncode, 0)


if __name__ == "__main__":
    unittest.main()
