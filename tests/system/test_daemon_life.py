#!/usr/bin/env python3
"""bakad's own life: two of them, adoption after kill -9, full disks, bad homes, what it costs at rest."""
import os
import pathlib
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import DaemonCase, PATIENCE, WORKER  # noqa: E402
from harness import BAKAD, SANITIZED  # noqa: E402


class Life(DaemonCase):
    def test_second_daemon(self):
        p = subprocess.run([BAKAD, "--home", self.d.path], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(p.returncode, 1)
        self.assertRegex(p.stderr.splitlines()[-1], rf"^bakad: another bakad \(pid {self.d.daemon.pid}\) is serving ")
        self.d.get("/v1/status")

    def test_sigterm_leaves_workers(self):
        run = self.d.queue("n200.m10")
        self.d.until_step(run, 3)
        keeper, _ = self.d.keeper(run)
        begun = time.monotonic()
        self.assertEqual(self.d.kill_daemon(signal.SIGTERM), 0)
        self.assertLess(time.monotonic() - begun, 10 if SANITIZED else 1)
        self.assertFalse(self.d.sock.exists())
        os.kill(keeper, 0)
        self.d.start()
        shown = self.d.until(run, "finished")
        self.assertEqual(shown["attempts"], 1)
        self.assertEqual(self.d.steps(run), list(range(1, 201)))

    def test_adoption_after_kill_9(self):
        run = self.d.queue("n150.m10")
        gone = self.d.queue("n30.m10")
        self.d.until_step(run, 3)
        self.d.kill_daemon()
        self.assertTrue(self.d.sock.exists())
        end = time.monotonic() + PATIENCE
        while not (self.d.path / f"runs/{gone}/attempts/1/exit.json").exists() and time.monotonic() < end:
            time.sleep(0.02)
        self.d.start()
        self.assertEqual(self.d.until(gone, "finished")["attempts"], 1)  # ended while nobody looked
        self.assertEqual(self.d.steps(gone), list(range(1, 31)))
        self.assertEqual(self.d.get("/v1/status")["slots"]["cpu"]["used"], 1)
        for _ in range(3):
            self.d.kill_daemon()
            self.d.start()
        shown = self.d.until(run, "finished")
        self.assertEqual(shown["attempts"], 1)
        self.assertEqual(self.d.steps(run), list(range(1, 151)))
        self.assertIn("attempt_adopted", self.d.log_text())

    def test_environment_of_a_worker(self):
        """What changes a library's threads or results is withheld; the run's own share is set."""
        self.d.kill_daemon(signal.SIGTERM)
        given = {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "7", "MKL_NUM_THREADS": "9", "BAKA_CPU_SLOTS": "2", "MINE": "kept"}
        with unittest.mock.patch.dict(os.environ, given):
            self.d.start()
        run = self.d.queue("n9999.m10")
        self.d.until_step(run, 1)
        text = pathlib.Path(f"/proc/{self.d.keeper(run)[1]}/environ").read_text()
        seen = dict(item.split("=", 1) for item in text.split("\0") if item)
        self.assertEqual({name: seen.get(name) for name in given},
                         {**dict.fromkeys(given), "GOMP_SPINCOUNT": "1000", "MINE": "kept"})
        self.assertEqual((seen["OMP_NUM_THREADS"], seen["BAKA_HOME"]), ("1", str(self.d.path)))
        self.d.post(f"/v1/runs/{run}/cancel")

    def test_adopted_worker_can_be_cancelled(self):
        run = self.d.queue("n9999.m10")
        self.d.until_step(run, 3)
        self.d.kill_daemon()
        self.d.start()
        self.d.until_step(run, 4)
        self.d.post(f"/v1/runs/{run}/cancel")
        self.d.until(run, "cancelled")
        run = self.d.queue("n9999.m10")  # cancelled by one daemon, which is killed before the worker ends
        self.d.until_step(run, 3)
        pid = self.d.keeper(run)[1]
        os.kill(pid, signal.SIGSTOP)
        self.d.post(f"/v1/runs/{run}/cancel")
        self.d.kill_daemon()
        os.kill(pid, signal.SIGCONT)
        self.d.start()
        self.d.until(run, "cancelled")

    def test_kills_of_worker_resume(self):
        for whom in (0, 1):  # keeper, trainer
            run = self.d.queue("n60.m10")
            self.d.until_step(run, 12)
            os.kill(self.d.keeper(run)[whom], signal.SIGKILL)
            shown = self.d.until(run, "finished")
            self.assertEqual(shown["attempts"], 2)
            self.assertGreaterEqual(shown["attempt_list"][1]["resume_step"], 10)
            self.assertEqual(self.d.steps(run), list(range(1, 61)))
            self.assertEqual(shown["nondeterminism"], 0)
            self.assertIn(shown["attempt_list"][0]["outcome"], ("lost", "killed: SIGKILL"))

    def test_keeper_killed_while_daemon_is_down(self):
        run = self.d.queue("n60.m10")
        self.d.until_step(run, 12)
        self.d.kill_daemon()
        os.kill(self.d.keeper(run)[0], signal.SIGKILL)
        self.d.start()
        shown = self.d.until(run, "finished")
        self.assertEqual((shown["attempts"], shown["attempt_list"][0]["outcome"]), (2, "lost"))
        self.assertEqual(self.d.steps(run), list(range(1, 61)))

    def test_idle_costs_nothing(self):
        run = self.d.queue("n5")
        self.d.until(run, "finished")
        time.sleep(0.3)
        before = self.d.cpu_ticks()
        switches = lambda: int(re.search(r"voluntary_ctxt_switches:\s+(\d+)",
                                         pathlib.Path(f"/proc/{self.d.daemon.pid}/status").read_text())[1])
        slept = switches()
        time.sleep(4)
        self.assertEqual(self.d.cpu_ticks() - before, 0)
        self.assertLessEqual(switches() - slept, 2)
        if not SANITIZED:
            self.assertLess(self.d.rss_mb(), 40)

    def test_bad_homes(self):
        def fails(home, part, code=1, **kw):
            p = subprocess.run([BAKAD, "--home", home, "--worker", WORKER], capture_output=True, text=True, timeout=PATIENCE, **kw)
            lines = [x for x in p.stderr.splitlines() if x.startswith("bakad: ")]
            self.assertEqual((p.returncode, len(lines)), (code, 1), p.stderr)
            self.assertIn(part, lines[0])
        fails(self.d.root / ("x" * 90) / ("y" * 20), "107")
        file = self.d.root / "file"
        file.write_text("")
        fails(file, "file")
        fails(file / "below", "file")
        if os.getuid() != 0:
            (self.d.root / "ro").mkdir(mode=0o500)
            fails(self.d.root / "ro", "not writable")
        broken = self.d.root / "broken"
        broken.mkdir()
        (broken / "baka.db").write_bytes(b"not a database, certainly not" * 100)
        fails(broken, "baka.db")
        (self.d.root / "c").mkdir()
        (self.d.root / "c/config.json").write_text('{"cpu_slot": 2}')
        fails(self.d.root / "c", "cpu_slots", code=2)
        self.assertEqual(subprocess.run([BAKAD, "--cpu-slots", "no"], capture_output=True).returncode, 2)

    def test_full_disk(self):
        """Files may not grow beyond a limit, which is lifted later: refused requests, nothing broken, nothing lost."""
        run = self.d.queue("n400.m10")
        self.d.until_step(run, 3)
        size = max(p.stat().st_size for p in self.d.path.glob("baka.db*"))
        resource.prlimit(self.d.daemon.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        made, status = [], 201
        while status == 201:
            status, body = self.d.call("POST", "/v1/runs", {"spec": {"data": {"name": "text"}}, "name": "n2", "seeds": 200})
            made += [r["id"] for r in body["runs"]] if status == 201 else []
            self.assertLess(len(made), 100000)
        self.assertEqual((status, body["error"]["code"]), (503, "no_space"))
        time.sleep(1.5)
        self.d.get("/v1/status")
        resource.prlimit(self.d.daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        made.append(self.d.queue("n2"))
        shown = self.d.until(run, "finished")
        self.assertEqual((shown["attempts"], self.d.steps(run)), (1, list(range(1, 401))))
        counts = self.d.get("/v1/status")["runs"]
        self.assertEqual(sum(counts.values()), len(made) + 1)
        self.d.kill_daemon()
        db = sqlite3.connect(self.d.path / "baka.db")
        self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        db.close()

    def test_mode_and_lock(self):
        self.assertEqual(self.d.path.stat().st_mode & 0o777 | 0o55, 0o755)
        self.assertEqual(self.d.sock.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.d.path.joinpath("bakad.lock").read_text().split()[0], str(self.d.daemon.pid))


if __name__ == "__main__":
    unittest.main()
