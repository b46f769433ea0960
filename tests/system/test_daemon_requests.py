#!/usr/bin/env python3
"""Requests to bakad that are malformed, slow, huge or many."""
import json
import pathlib
import re
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import Connection, DaemonCase, PATIENCE  # noqa: E402


class Requests(DaemonCase):
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
                                     ("GET", "/v1/runs/..%2f..%2fetc/steps", 404), ("GET", "/v1/runs/%00/steps", 400),
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

    def test_escapes(self):
        """An address that is cut short or half read could name another run than was meant."""
        done = self.d.call("POST", "/v1/import", {"name": "abc", "rows": [[1, 1, 1, 1]]})
        self.assertEqual(done[0], 201, done)
        c = Connection(self.d.sock)
        for path in ("/v1/runs/abc%00def", "/v1/runs/abc%00", "/v1/status%00", "/v1/runs/abc%0", "/v1/runs/abc%",
                     "/v1/runs/abc%zz", "/v1/runs/abc%-1", "/v1/runs?ref=abc%00", "/v1/runs?ref=abc%", "/v1/runs?ref%00=abc",
                     "/v1/runs?ref=abc%4", "/v1/runs/%%61bc", "/v1/runs/%u0061bc"):
            c.request("GET", path)
            answer = c.getresponse()
            error = json.loads(answer.read())["error"]
            self.assertEqual((path, answer.status, error["code"]), (path, 400, "invalid"))
            self.assertIn("hexadecimal", error["message"])
            c.request("GET", "/v1/runs/%61b%63")  # the next request of the same connection is not blamed
            answer = c.getresponse()
            self.assertEqual((answer.status, json.loads(answer.read())["name"]), (200, "abc"))
        c.request("GET", "/v1/runs?ref=%61bc")
        self.assertEqual([r["name"] for r in json.loads(c.getresponse().read())["runs"]], ["abc"])
        c.close()

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


if __name__ == "__main__":
    unittest.main()
