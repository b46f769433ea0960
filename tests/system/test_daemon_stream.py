#!/usr/bin/env python3
"""bakad's event stream: what is told, when, and to whom."""
import json
import pathlib
import signal
import socket
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import Connection, DaemonCase, PATIENCE  # noqa: E402
from harness import SANITIZED  # noqa: E402


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


class Stream(DaemonCase):
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
