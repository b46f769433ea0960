#!/usr/bin/env python3
"""test_daemon.py - bakad through raw HTTP on its socket, with a worker that trains nothing (fake_worker.py).

Submissions, reads, steps, cancel and retry; two daemons, adoption after kill -9, workers that are killed, crash, hang or
end badly; requests that are malformed, slow, huge or many; what the daemon costs at rest.
"""
import http.client
import json
import os
import pathlib
import re
import resource
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import BAKAD, Home, SANITIZED

WORKER = HERE / "fake_worker.py"
PATIENCE = 60 if SANITIZED else 20


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout=PATIENCE):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def write_data(home, name="text", vocab=256, count=4000):
    """A data set by the documented layout: header of 4,096 bytes, ids of one byte, one document."""
    folder = home / "data" / name
    folder.mkdir(parents=True)
    header = struct.pack("<8sIIQQQQ", b"BAKATOK1", 4096, 1, count, count, 1, vocab)
    (folder / "tokens").write_bytes(header.ljust(4096, b"\0") + bytes(count) + struct.pack("<Q", 0))


class Daemon(Home):
    """A daemon whose worker is fake_worker.py, spoken to by HTTP."""

    def __init__(self, *args, start=True):
        super().__init__("--worker", WORKER, "--log-level", "debug", *args, start=False)
        write_data(self.path)
        self.sock = self.path / "bakad.sock"
        if start:
            self.start()

    def start(self, timeout=PATIENCE):
        self.daemon = subprocess.Popen([BAKAD, "--home", self.path, *self.daemon_args], stdin=subprocess.DEVNULL,
                                       stdout=self.log, stderr=self.log)
        end = time.monotonic() + timeout
        while time.monotonic() < end and self.daemon.poll() is None:
            try:
                self.get("/v1/status")
                return
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
        raise AssertionError("bakad does not serve:\n" + self.log_text()[-3000:])

    def log_text(self):
        return (self.root / "bakad.log").read_text(errors="replace")

    def call(self, method, path, body=None, raw=None):
        """(status, parsed body)"""
        c = Connection(self.sock)
        try:
            c.request(method, path, raw if raw is not None else None if body is None else json.dumps(body))
            r = c.getresponse()
            data = r.read()
            return r.status, json.loads(data) if data else None
        finally:
            c.close()

    def get(self, path, expect=200):
        status, body = self.call("GET", path)
        assert status == expect, (path, status, body)
        return body

    def post(self, path, body=None, expect=200):
        status, answer = self.call("POST", path, body)
        assert status == expect, (path, status, answer)
        return answer

    def queue(self, name="run", expect=201, **more):
        spec = {"data": {"name": "text"}, "model": {"dim": 16, "layers": 1, "heads": 2},
                "train": {"seq_len": 16, "batch": 2}, **more.pop("spec", {})}
        answer = self.post("/v1/runs", {"spec": spec, "name": name, **more}, expect)
        return answer["runs"][0]["id"] if expect == 201 else answer["error"]

    def state(self, run):
        return self.get(f"/v1/runs/{run}")["state"]

    def until(self, run, *states, timeout=PATIENCE):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            shown = self.get(f"/v1/runs/{run}")
            if shown["state"] in states:
                return shown
            time.sleep(0.01)
        raise AssertionError(f"{run} does not become {states}: {json.dumps(shown, indent=1)}\n{self.log_text()[-2000:]}")

    def until_step(self, run, step):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if (self.get(f"/v1/runs/{run}")["step"] or 0) >= step:
                return
            time.sleep(0.01)
        raise AssertionError(f"{run} does not reach step {step}\n{self.log_text()[-2000:]}")

    def steps(self, run):
        return [row[0] for row in self.get(f"/v1/runs/{run}/steps?limit=16384")["rows"]]

    def keeper(self, run):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for name, _, pid in self.keepers():
                if name == run and self.children(pid):
                    return pid, self.children(pid)[0]
            time.sleep(0.005)
        raise AssertionError(f"no worker of {run}")

    def cpu_ticks(self):
        f = pathlib.Path(f"/proc/{self.daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(f[11]) + int(f[12])

    def rss_mb(self):
        text = pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


class Case(unittest.TestCase):
    args = ("--cpu-slots", "2")

    def setUp(self):
        self.d = Daemon(*self.args)
        self.addCleanup(self.d.close)


class Queue(Case):
    def test_submit_show_list_steps(self):
        run = self.d.queue("n20", tags=["t1", "t2"])
        shown = self.d.until(run, "finished")
        self.assertEqual((shown["name"], shown["step"], shown["total_steps"], shown["attempts"]), ("n20", 20, 20, 1))
        self.assertEqual(shown["tags"], ["t1", "t2"])
        self.assertEqual(shown["kind"], "train")
        self.assertEqual(shown["spec"]["model"]["dim"], 16)
        self.assertAlmostEqual(shown["val_loss"], 1.5)
        self.assertGreater(shown["params"], 0)
        self.assertEqual([c["mark"] for c in shown["checkpoints"]], ["good", "good", "pruned", "pruned"])
        self.assertEqual(sorted(p.name for p in self.d.path.glob(f"runs/{run}/checkpoints/*"))[-2:], ["15-a1", "20-a1"])
        self.assertEqual(shown["attempt_list"][0]["outcome"], "finished")
        story = [e["to"] for e in shown["events"] if e["kind"] == "state"]
        self.assertEqual(story, ["starting", "running", "finished"])
        self.assertEqual(self.d.steps(run), list(range(1, 21)))
        page = self.d.get(f"/v1/runs/{run}/steps?after=5&limit=3")
        self.assertEqual(([r[0] for r in page["rows"]], page["next"]), ([6, 7, 8], 8))
        self.assertEqual(page["columns"], ["step", "epoch", "tokens", "loss", "lr", "grad_norm", "ms", "tok_s"])
        self.assertEqual(self.d.get(f"/v1/runs/{run}/evals")["rows"][0][3:5], ["val", 1.5])
        log = self.d.get(f"/v1/runs/{run}/log")
        self.assertEqual((log["text"], log["end"]), ("attempt 1 from 0\n", True))
        self.assertEqual(self.d.get(f"/v1/runs/{run}/log?offset=-7")["text"], "from 0\n")
        self.assertEqual([r["id"] for r in self.d.get("/v1/runs?tag=t1")["runs"]], [run])
        self.assertEqual(self.d.get("/v1/runs/n20")["id"], run)
        files = {p.relative_to(self.d.path / "runs" / run).as_posix() for p in (self.d.path / "runs" / run).rglob("*")}
        self.assertLessEqual({"spec.json", "attempts/1/lock", "attempts/1/journal", "attempts/1/exit.json"}, files)

    def test_request_is_idempotent(self):
        body = {"request_id": "r-1", "spec": {"data": {"name": "text"}}, "name": "n3", "seeds": 3}
        first = self.d.post("/v1/runs", body, 201)["runs"]
        again = self.d.post("/v1/runs", body, 201)["runs"]
        self.assertEqual([r["id"] for r in first], [r["id"] for r in again])
        self.assertEqual([r["name"] for r in first], ["n3-s1", "n3-s2", "n3-s3"])
        self.assertEqual(len(self.d.get("/v1/runs")["runs"]), 3)

    def test_refused_submissions(self):
        for more, path, part in [
            ({"spec": {"data": {"name": "nope"}}}, "data.name", "nope"),
            ({"spec": {"resources": {"cpus": 3}}}, "resources.cpus", "2"),
            ({"spec": {"resources": {"gpus": 1}}}, "resources.gpus", "0"),
            ({"spec": {"train": {"device": "cuda"}}}, "train.device", "CUDA"),
            ({"spec": {"model": {"dim": 65536, "layers": 1000, "heads": 2}}}, None, ""),
            ({"spec": {"model": {"dimm": 3}}}, "model.dimm", "dim"),
            ({"name": "b00001"}, "name", "id"),
            ({"sweep": [{"path": "train.batch", "values": ["2", "zero"]}]}, "train.batch", ""),
        ]:
            error = self.d.queue(expect=413 if path is None else 400, **{"name": "x", **more})
            if path is not None:
                self.assertEqual(error["path"], path, error)
            self.assertIn(part, error["message"])
            self.assertNotIn("\n", error["message"])
        self.assertEqual(self.d.get("/v1/runs")["runs"], [])

    def test_slots_and_order(self):
        ids = [self.d.queue(f"n20.m10.i{i}") for i in range(5)]
        most = 0
        while any(self.d.state(i) != "finished" for i in ids):
            used = self.d.get("/v1/status")["slots"]["cpu"]["used"]
            most = max(most, used)
            self.assertLessEqual(used, 2)
        self.assertEqual(most, 2)
        started = [self.d.get(f"/v1/runs/{i}")["started_ms"] for i in ids]
        self.assertLess(started[0], started[2])
        self.assertLess(started[1], started[4])

    def test_cancel_and_retry(self):
        busy = [self.d.queue("n9999.m10.i1"), self.d.queue("n9999.m10.i2")]
        waiting = self.d.queue("n5")
        self.assertEqual(self.d.post(f"/v1/runs/{waiting}/cancel")["state"], "cancelled")
        self.d.until_step(busy[0], 2)
        answer = self.d.post(f"/v1/runs/{busy[0]}/cancel")
        self.assertEqual((answer["state"], answer["cancelling"]), ("running", True))
        self.d.post(f"/v1/runs/{busy[0]}/cancel")  # again is fine
        shown = self.d.until(busy[0], "cancelled")
        self.assertEqual(shown["reason"], "cancelled by request")
        self.assertGreaterEqual(len(shown["checkpoints"]), 1)
        self.assertEqual(self.d.call("POST", f"/v1/runs/{busy[0]}/cancel")[0], 409)
        self.assertEqual(self.d.post(f"/v1/runs/{waiting}/retry")["state"], "queued")
        self.d.until(waiting, "finished")
        self.assertEqual(self.d.call("POST", f"/v1/runs/{waiting}/retry")[0], 409)
        step = shown["step"]
        self.d.post(f"/v1/runs/{busy[0]}/retry")
        self.d.until_step(busy[0], step + 1)
        again = self.d.get(f"/v1/runs/{busy[0]}")
        self.assertEqual(again["attempt_list"][1]["resume_step"], shown["checkpoints"][0]["step"])

    def test_cancel_of_the_deaf_kills(self):
        self.d.kill_daemon(signal.SIGTERM)
        self.d.daemon_args += ("--cancel-grace", "1")
        self.d.start()
        run = self.d.queue("n9999.m10.h1")
        self.d.until_step(run, 2)
        begun = time.monotonic()
        self.d.post(f"/v1/runs/{run}/cancel")
        self.d.until(run, "cancelled")
        self.assertGreater(time.monotonic() - begun, 0.9)

    def test_cancel_at_every_moment(self):
        for wait in [0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08]:
            run = self.d.queue("n9999.m5")
            time.sleep(wait)
            self.d.post(f"/v1/runs/{run}/cancel")
            self.d.until(run, "cancelled")
        self.assertEqual(self.d.get("/v1/status")["slots"]["cpu"]["used"], 0)

    def test_time_limit(self):
        run = self.d.queue("n9999.m10", spec={"resources": {"time": 0.5}})
        shown = self.d.until(run, "stopped", "failed", "finished")
        self.assertEqual((shown["state"], shown["reason"]), ("stopped", "time limit of 0.5 s reached"))

    def test_ends(self):
        for name, state, part in [("n9.r5.ediverged", "diverged", "as asked"), ("n9.r5.ebad_data", "failed", "bad_data"),
                                  ("n9.r5.ebad_spec", "failed", "bad_spec"),
                                  ("n9.r7.x3", "failed", "3 times"), ("n9.r7.s11", "failed", "SEGV"),
                                  ("n9.r7.einternal_error", "failed", "as asked")]:
            run = self.d.queue(name)
            shown = self.d.until(run, "finished", "failed", "diverged", "stopped", timeout=60)
            self.assertEqual(shown["state"], state, name)
            self.assertIn(part, shown["reason"], name)

    def test_killed_at_one_place_slows_down(self):
        """Steps done once more are no progress: without patience this would be hundreds of attempts."""
        run = self.d.queue("n12.r7.s9.t1")
        time.sleep(4)
        shown = self.d.get(f"/v1/runs/{run}")
        self.assertTrue(2 <= shown["attempts"] <= 8, shown["attempts"])
        self.assertEqual(shown["step"], 7)
        self.assertEqual(self.d.steps(run), list(range(1, 8)))
        self.d.post(f"/v1/runs/{run}/cancel")
        self.d.until(run, "cancelled")

    def test_bad_checkpoint_falls_back(self):
        run = self.d.queue("n40.m10.c1")
        self.d.until_step(run, 12)
        os.kill(self.d.keeper(run)[1], signal.SIGKILL)
        shown = self.d.until(run, "finished")
        marks = {c["path"]: c["mark"] for c in shown["checkpoints"]}
        self.assertIn("bad", marks.values())
        self.assertGreaterEqual(shown["attempts"], 3)
        self.assertEqual(self.d.steps(run), list(range(1, 41)))

    def test_missing_worker(self):
        self.d.kill_daemon(signal.SIGTERM)
        self.d.daemon_args = ("--worker", "/nonexistent/worker")
        self.d.start()
        run = self.d.queue("n5")
        end = time.monotonic() + PATIENCE
        while self.d.get(f"/v1/runs/{run}")["attempts"] < 3 and time.monotonic() < end:
            time.sleep(0.02)
        shown = self.d.get(f"/v1/runs/{run}")
        self.assertIn("/nonexistent/worker", " ".join(e["text"] for e in shown["events"]))
        self.d.post(f"/v1/runs/{run}/cancel")
        self.d.until(run, "cancelled")

    def test_10000_queued(self):
        self.d.queue("n9999.m50.i1")
        self.d.queue("n9999.m50.i2")
        begun = time.monotonic()
        self.d.post("/v1/runs", {"spec": {"data": {"name": "text"}}, "name": "n5", "seeds": 10000}, 201)
        submit = time.monotonic() - begun
        c = Connection(self.d.sock)
        seen, cursor, times = [], "", []
        while True:
            begun = time.monotonic()
            c.request("GET", f"/v1/runs?limit=200&state=queued{cursor}")
            page = json.loads(c.getresponse().read())
            times.append(time.monotonic() - begun)
            seen += [r["id"] for r in page["runs"]]
            if page["next"] is None:
                break
            cursor = "&cursor=" + page["next"]
        c.close()
        self.assertEqual(len(set(seen)), 10000)
        self.assertEqual(seen, sorted(seen))
        print(f"10,000 runs: submitted in {submit:.2f} s, a page of 200 in {1e3 * sorted(times)[25]:.1f} ms, "
              f"all in {1e3 * sum(times):.0f} ms, RSS {self.d.rss_mb():.1f} MB")
        if not SANITIZED:
            self.assertLess(sorted(times)[len(times) // 2], 0.05)
            self.assertLess(sum(times), 1.0)
            self.assertLess(self.d.rss_mb(), 40)

    def test_launch_gap(self):
        ids = [self.d.queue(f"n3.i{i}", spec={"resources": {"cpus": 2}}) for i in range(8)]
        shown = [self.d.until(i, "finished") for i in ids]
        gaps = []
        for a, b in zip(shown, shown[1:]):
            gaps.append(b["attempt_list"][0]["claimed_ms"] - a["attempt_list"][0]["ended_ms"])
        print(f"gaps between an end and the next claim: {gaps} ms")
        self.assertTrue(all(g >= 0 for g in gaps))
        if not SANITIZED:
            self.assertLess(sorted(gaps)[len(gaps) // 2], 50)


class Life(Case):
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
        def fails(home, part, **kw):
            p = subprocess.run([BAKAD, "--home", home, "--worker", WORKER], capture_output=True, text=True, timeout=PATIENCE, **kw)
            lines = [x for x in p.stderr.splitlines() if x.startswith("bakad: ")]
            self.assertEqual((p.returncode, len(lines)), (1, 1), p.stderr)
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
        fails(self.d.root / "c", "cpu_slots")
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


class Requests(Case):
    def raw(self, data, timeout=PATIENCE):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout)
            s.connect(str(self.d.sock))
            s.sendall(data)
            out = b""
            try:
                while chunk := s.recv(65536):
                    out += chunk
                    if b"\r\n\r\n" in out and (m := re.search(rb"Content-Length: (\d+)", out)):
                        if len(out.split(b"\r\n\r\n", 1)[1]) >= int(m[1]):
                            break
            except ConnectionResetError:
                pass
            return out

    def test_errors_are_json(self):
        for method, path, status in [("GET", "/", 404), ("GET", "/v1/nothing", 404), ("POST", "/v1/status", 405),
                                     ("DELETE", "/v1/runs/x", 405), ("PUT", "/v1/runs", 405),
                                     ("GET", "/v1/runs/b00099", 404), ("GET", "/v1/runs/nobody/steps", 404),
                                     ("GET", "/v1/runs/..%2f..%2fetc/steps", 404), ("GET", "/v1/runs/%00/steps", 404),
                                     ("GET", "/v1/runs/a%20b", 400), ("GET", "/v1/runs/" + "a" * 65, 400),
                                     ("GET", "/v1/runs?limit=0", 400), ("GET", "/v1/runs?limit=201", 400),
                                     ("GET", "/v1/runs?state=odd", 400), ("GET", "/v1/runs?colour=red", 400),
                                     ("GET", "/v1/runs?tag=a&tag=b", 400), ("GET", "/v1/runs?tag", 400),
                                     ("GET", "/v1/status?x=1", 400), ("GET", "/v1/stream", 400),
                                     ("GET", "/v1/stream?ref=nobody", 404), ("POST", "/v1/runs/nobody/cancel", 404)]:
            got, body = self.d.call(method, path)
            self.assertEqual(got, status, (method, path, body))
            self.assertEqual(set(body["error"]), {"code", "message", "path"})
        self.assertTrue(self.raw(b"HEAD /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 405"))

    def test_bad_bodies(self):
        for raw in [b"", b"{", b"[]", b"nonsense", b"\xff\xfe", b'{"spec":{},"spec":{}}', b'{"spec":{"train":{"batch":1e400}}}',
                    b'{"spec":' * 5000, b"[" * 100000, b'{"spec":{"data":{"name":"text"}}} x', b'{"spec":NaN}']:
            status, body = self.d.call("POST", "/v1/runs", raw=raw)
            self.assertEqual(status, 400, (raw[:40], body))
        self.assertEqual(self.d.get("/v1/runs")["runs"], [])

    def test_huge_bodies(self):
        head = b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        for size in (2 << 20, 10 << 40):
            self.assertTrue(self.raw(head % size + b"{" * 1000).startswith(b"HTTP/1.1 413"))
        self.assertTrue(self.raw(b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").startswith(b"HTTP/1.1 411"))
        self.assertTrue(self.raw(b"GET /v1/status HTTP/1.1\r\nX: " + b"a" * 100000 + b"\r\n\r\n").startswith(b"HTTP/1.1 4"))
        for odd in (b"\x00\x01 \x02 \xff\r\n\r\n", b"GET /v1/status HTTP/9.9\r\n\r\n", b"GET\r\n\r\nGET\r\n\r\n"):
            with socket.socket(socket.AF_UNIX) as s:  # answered, closed or left to the time limit
                s.connect(str(self.d.sock))
                s.sendall(odd)
        self.d.get("/v1/status")

    def test_slow_client_is_closed(self):
        """A byte each half second keeps a connection busy for ever, were there no limit on the whole."""
        begun = time.monotonic()
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.d.sock))
            with self.assertRaises(OSError):
                for _ in range(200):
                    s.send(b"G")
                    time.sleep(0.25)
        self.assertLess(time.monotonic() - begun, 40)
        self.d.get("/v1/status")

    def test_many_connections(self):
        idle = []
        try:
            for _ in range(300):
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(PATIENCE)
                try:
                    s.connect(str(self.d.sock))
                except OSError:
                    s.close()
                    break
                idle.append(s)
        finally:
            for s in idle:
                s.close()
        end = time.monotonic() + PATIENCE
        while True:  # not deaf after the limit; the backlog may still be full for a moment
            try:
                self.d.get("/v1/status")
                break
            except OSError:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)
        for _ in range(50):
            self.d.get("/v1/status")

    def test_pipelined_load(self):
        errors = []

        def work():
            try:
                c = Connection(self.d.sock)
                for _ in range(200):
                    c.request("GET", "/v1/status")
                    if c.getresponse().read()[:1] != b"{":
                        errors.append("answer")
                c.close()
            except Exception as e:  # noqa: BLE001
                errors.append(repr(e))
        threads = [threading.Thread(target=work) for _ in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(errors, [])


class Events:
    """A client of the event stream."""

    def __init__(self, daemon, query):
        self.c = Connection(daemon.sock)
        self.c.request("GET", "/v1/stream?" + query)
        self.sock = self.c.sock
        self.r = self.c.getresponse()
        assert self.r.status == 200, self.r.read()

    def next(self):
        kind = None
        while True:
            line = self.r.readline().decode()
            if not line:
                return None, None
            if line.startswith("event: "):
                kind = line[7:].strip()
            elif line.startswith("data: "):
                return kind, json.loads(line[6:])

    def close(self):
        self.r.close()
        self.c.close()
        if self.sock:
            self.sock.close()


class Stream(Case):
    def test_events(self):
        run = self.d.queue("n100.m10")
        e = Events(self.d, f"ref={run}")
        states, steps, begun = [], [], time.monotonic()
        while True:
            kind, data = e.next()
            self.assertEqual(data["id"], run)
            if kind == "run":
                states.append(data["state"])
                if data["state"] == "finished":
                    break
            else:
                steps.append(data["step"])
        took = time.monotonic() - begun
        e.close()
        self.assertEqual([s for i, s in enumerate(states) if s not in states[:i]][-1], "finished")
        self.assertIn("running", states)
        self.assertEqual(steps, sorted(set(steps)))
        self.assertLessEqual(len(steps), 5 * took + 2)
        self.assertGreaterEqual(len(steps), 2)

    def test_first_event_at_once(self):
        run = self.d.queue("n3", tags=["fam"])
        self.d.until(run, "finished")
        for ref in (run, "n3", "fam"):
            begun = time.monotonic()
            e = Events(self.d, f"ref={ref}")
            kind, data = e.next()
            e.close()
            self.assertEqual((kind, data["state"]), ("run", "finished"))
            self.assertLess(time.monotonic() - begun, 5 if SANITIZED else 0.2)
        other = self.d.queue("n3.x")
        self.d.until(other, "finished")
        e = Events(self.d, f"ref={run}&ref={other}&ref={run}")
        self.assertEqual({e.next()[1]["id"], e.next()[1]["id"]}, {run, other})
        e.close()

    def test_limit_and_disconnects(self):
        run = self.d.queue("n9999.m20")
        self.d.until_step(run, 1)
        streams = [Events(self.d, f"ref={run}") for _ in range(200)]
        for e in streams:
            self.assertEqual(e.next()[0], "run")
        self.assertEqual(self.d.call("GET", f"/v1/stream?ref={run}")[0], 503)
        for e in streams[:150]:
            e.close()
        end = time.monotonic() + PATIENCE
        while self.d.call("GET", f"/v1/runs/{run}")[0] == 200 and time.monotonic() < end:
            try:
                again = Events(self.d, f"ref={run}")
                break
            except AssertionError:
                time.sleep(0.02)
        self.assertEqual(again.next()[0], "run")
        begun = time.monotonic()
        self.assertEqual(self.d.kill_daemon(signal.SIGTERM), 0)
        self.assertLess(time.monotonic() - begun, 10 if SANITIZED else 1)
        while again.next()[0] is not None:
            pass
        for e in streams[150:]:
            e.close()
        again.close()

    def test_slow_reader_gets_the_newest(self):
        run = self.d.queue("n300.m5")
        with socket.socket(socket.AF_UNIX) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            s.settimeout(PATIENCE)
            s.connect(str(self.d.sock))
            s.sendall(f"GET /v1/stream?ref={run} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            self.d.until(run, "finished")
            time.sleep(0.2)
            text = b""
            while b'"state":"finished"' not in text:
                text += s.recv(4096)
        self.assertLess(self.d.rss_mb(), 400 if SANITIZED else 40)


if __name__ == "__main__":
    unittest.main()
