#!/usr/bin/env python3
"""test_daemon_start.py - what bakad refuses or says at its start: a worker that can never start, a state directory that
is none, a daemon that serves already, a database that was emptied."""
import fcntl
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import BAKAD, SANITIZED, Home, english

WORKER = HERE / "fake_worker.py"
PATIENCE = 60 if SANITIZED else 20
SPEC = {"name": "n5", "data": {"name": "text"}, "model": {"dim": 16, "layers": 1, "heads": 2},
        "train": {"seq_len": 16, "batch": 2}}


class Case(unittest.TestCase):
    def setUp(self):
        self.home = Home("--worker", WORKER, start=False)
        self.addCleanup(self.home.close)

    def refused(self, *args, code=1, **kw):
        """The one line that a start which fails leaves, without its "bakad: "."""
        p = subprocess.run([BAKAD, *args], capture_output=True, text=True, timeout=PATIENCE, **kw)
        self.assertEqual((p.returncode, p.stderr.count("\n")), (code, 1), p.stderr)
        self.assertTrue(p.stderr.startswith("bakad: "), p.stderr)
        return p.stderr[len("bakad: "):-1]


class WorkerProgram(Case):
    def test_refused(self):
        root = self.home.root
        (root / "folder").mkdir()
        (root / "text").write_text("#!/bin/sh\n")
        for path, why in ((root / "none", "No such file"), (root / "folder", "it is a directory"),
                          (root / "text", "not executable"), (root / "text/below", "Not a directory")):
            if path.name == "text" and os.access(path, os.X_OK):
                continue
            for args, env in ((["--worker", path], {}), ([], {"BAKA_WORKER": str(path)})):
                line = self.refused("--home", self.home.path, *args, env={**os.environ, **env})
                self.assertIn(f"the worker program {path} cannot be used", line)
                self.assertIn(why, line)
                self.assertIn('give the path of baka-worker by --worker, BAKA_WORKER or "worker"', line)
        (self.home.path / "config.json").write_text('{"worker": "/nonexistent/worker"}')
        clean = {k: v for k, v in os.environ.items() if k != "BAKA_WORKER"}
        self.assertIn("/nonexistent/worker", self.refused("--home", self.home.path, env=clean))

    def test_relative_path(self):
        """Means bakad's directory, not that of each run."""
        self.home.prepare("text", english(5000))
        self.home.daemon_args = ("--worker", os.path.relpath(WORKER))
        self.home.start()
        run = self.home.submit(SPEC)[0]
        self.assertEqual(self.home.ctl("wait", run, "--timeout", PATIENCE, check=False).returncode, 0)


class Settings(Case):
    def test_wrong_wherever_it_stands(self):
        file = self.home.root / "other.json"
        for key, value, why in (("cpu_slots", "x", "not a whole number"), ("cpu_slots", "0", "from 1 to 4096"),
                                ("log_level", "loud", "none of debug")):
            flag, variable = "--" + key.replace("_", "-"), "BAKA_" + key.upper()
            file.write_text(f'{{"{key}": {value if value == "0" else json.dumps(value)}}}')
            for place, args, env in ((flag, [flag, value], {}), (variable, [], {variable: value}),
                                     (f"{file}: {key}", ["--config", file], {})):
                line = self.refused("--home", self.home.path, *args, env={**os.environ, **env}, code=2)
                self.assertTrue(line.startswith(place), line)
                self.assertIn("must be a number" if args == ["--config", file] and value == "x" else why, line)
        file.write_text("{")
        self.assertIn("other.json", self.refused("--home", self.home.path, "--config", file, code=2))
        self.refused("--home", self.home.path, "--config", self.home.root / "none.json", code=1)
        self.assertFalse(self.home.path.exists())


class StateDirectory(Case):
    def test_too_long_for_the_socket(self):
        """107 bytes fit with "/bakad.sock"; what does not leaves nothing behind."""
        fits = str(self.home.root / ("x" * 200))[:107 - len("/bakad.sock")]
        line = self.refused("--home", fits + "y")
        self.assertIn("108 bytes long and the system allows 107", line)
        self.assertFalse(os.path.exists(fits + "y"))
        self.home.path = pathlib.Path(fits)
        self.home.start()
        self.home.ctl("status")

    def test_a_plain_file(self):
        file = self.home.root / "file"
        file.write_text("")
        line = self.refused("--home", file)
        self.assertIn(f"the state directory {file} is not a directory", line)
        self.assertNotIn("config.json", line)
        line = self.refused("--home", file / "below")
        self.assertIn(f"the state directory {file}/below cannot be used", line)
        self.assertNotIn("config.json", line)

    def test_emptied_database(self):
        self.home.prepare("text", english(5000))
        log = lambda: (self.home.root / "bakad.log").read_text()
        self.home.start()
        run = self.home.submit(SPEC)[0]
        self.home.ctl("wait", run)
        self.home.kill_daemon()  # the database's file is behind its write-ahead log now
        self.home.start()
        self.assertNotIn("database_empty", log())
        for lose in (lambda p: p.write_bytes(b""), lambda p: p.unlink()):
            self.home.daemon.terminate()
            self.home.daemon.wait()
            before = len(log())
            lose(self.home.path / "baka.db")
            self.home.start()
            lines = [line for line in log()[before:].splitlines() if "database_empty" in line]
            self.assertEqual(len(lines), 1)
            self.assertIn("their records are lost unless baka.db is restored", lines[0])

    def test_torn_at_creation(self):
        """No run was ever made: an empty file is a new database."""
        self.home.path.mkdir(exist_ok=True)
        (self.home.path / "baka.db").write_bytes(b"")
        self.home.start()
        self.assertNotIn("database_empty", (self.home.root / "bakad.log").read_text())


class Second(Case):
    def setUp(self):
        super().setUp()
        self.home.path.mkdir()
        self.lock = open(self.home.path / "bakad.lock", "w+b", buffering=0)
        self.addCleanup(self.lock.close)

    def hold(self):
        """Locks as bakad does, by the open file."""
        fcntl.fcntl(self.lock, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))

    def identity(self):
        stat = pathlib.Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
        return f"{os.getpid()} {stat[19]}\n".encode()

    def test_holder_writes_its_name_late(self):
        self.lock.write(b"1234567 89\n")  # of a daemon that is long gone
        self.hold()
        def write():
            time.sleep(0.3)
            self.lock.truncate(0)
            os.pwrite(self.lock.fileno(), self.identity(), 0)
        late = threading.Thread(target=write)
        late.start()
        self.addCleanup(late.join)
        self.assertIn(f"another bakad (pid {os.getpid()}) is serving {self.home.path}", self.refused("--home", self.home.path))

    def test_holder_without_a_name(self):
        self.hold()
        line = self.refused("--home", self.home.path)
        self.assertIn(f"another bakad is serving {self.home.path}", line)
        self.assertNotIn("(pid", line)

    def test_in_the_same_instant(self):
        for _ in range(10):
            started = [subprocess.Popen([BAKAD, "--home", self.home.path, "--worker", WORKER], stderr=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL, text=True) for _ in range(4)]
            pids = [p.pid for p in started]
            texts = {}
            end = time.monotonic() + PATIENCE
            while len(texts) < 3 and time.monotonic() < end:
                for p in started:
                    if p.pid not in texts and p.poll() is not None:
                        texts[p.pid] = p.stderr.read()
                time.sleep(0.01)
            winner = [p for p in started if p.pid not in texts]
            for p in winner:
                p.terminate()
            for p in started:
                p.wait()
                p.stderr.close()
            self.assertEqual(len(winner), 1, texts)
            for text in texts.values():
                m = re.search(r"another bakad \(pid (\d+)\) is serving", text)
                self.assertTrue(m, text)
                self.assertEqual(int(m[1]), winner[0].pid, pids)


if __name__ == "__main__":
    unittest.main()
