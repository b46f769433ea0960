"""bakad through raw HTTP on its socket, with a worker that trains nothing (system/fake_worker.py); for
tests/system/test_daemon*.py."""
import http.client
import json
import pathlib
import re
import socket
import struct
import subprocess
import time
import unittest

from harness import BAKAD, Home, SANITIZED

WORKER = pathlib.Path(__file__).resolve().parent / "system/fake_worker.py"
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


class DaemonCase(unittest.TestCase):
    args = ("--cpu-slots", "2")

    def setUp(self):
        self.d = Daemon(*self.args)
        self.addCleanup(self.d.close)
