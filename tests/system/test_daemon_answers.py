#!/usr/bin/env python3
"""test_daemon_answers.py - what bakad answers about what it recorded: a submission that is repeated, imported curves."""
import http.client
import json
import pathlib
import shutil
import socket
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import Home, english

WORKER = HERE / "fake_worker.py"
SPEC = {"data": {"name": "text"}, "model": {"dim": 16, "layers": 1, "heads": 2}, "train": {"seq_len": 16, "batch": 2}}


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Case(unittest.TestCase):
    def setUp(self):
        self.home = Home("--worker", WORKER, start=False)
        self.addCleanup(self.home.close)
        self.home.prepare("text", english(5000))
        self.home.start()

    def post(self, path, body):
        c = Connection(self.home.path / "bakad.sock")
        try:
            c.request("POST", path, json.dumps(body))
            r = c.getresponse()
            return r.status, json.loads(r.read())
        finally:
            c.close()


class Repeated(Case):
    def test_answered_when_the_data_set_has_gone(self):
        body = {"request_id": "again", "spec": SPEC, "name": "n5", "seeds": 2}
        status, first = self.post("/v1/runs", body)
        self.assertEqual(status, 201)
        ids = [r["id"] for r in first["runs"]]
        self.home.ctl("wait", *ids)
        shutil.rmtree(self.home.path / "data/text")
        status, second = self.post("/v1/runs", body)
        self.assertEqual(status, 201, second)
        self.assertEqual([r["id"] for r in second["runs"]], ids)
        self.assertEqual([r["state"] for r in second["runs"]], ["finished", "finished"])
        status, other = self.post("/v1/runs", {**body, "seeds": 3})
        self.assertEqual((status, other["error"]["code"]), (409, "conflict"))
        status, new = self.post("/v1/runs", {**body, "request_id": "new"})
        self.assertEqual((status, new["error"]["path"]), (400, "data.name"))
        self.assertEqual(len(self.home.json("list")["runs"]), 2)


class Imported(Case):
    def test_is_finished_and_marked(self):
        csv = self.home.root / "c.csv"
        csv.write_text("step,epoch,tokens,loss\n1,0.5,10,3\n2,1,20,2\n")
        run = self.home.json("import", csv, "--name", "curve")["runs"][0]
        self.assertEqual(run["state"], "finished")
        own = self.home.submit(SPEC, "--name", "n5")[0]
        self.assertEqual(self.home.ctl("wait", run["id"], own).returncode, 0)
        self.assertEqual(self.home.ctl("wait", "curve", "--timeout", "0").returncode, 0)
        shown = self.home.json("show", "curve")
        self.assertEqual((shown["state"], shown["kind"]), ("finished", "import"))
        self.assertEqual([shown[k] for k in ("perplexity", "bits_per_byte", "word_perplexity")], [None] * 3)
        for args in ("list",), ("list", "--state", "finished"), ("list", "curve"):
            line = next(x for x in self.home.ctl(*args).stdout.splitlines() if "curve" in x).split()
            self.assertEqual((line[2], line[-1]), ("finished", "imported"), args)
        line = next(x for x in self.home.ctl("list").stdout.splitlines() if own in x)
        self.assertNotIn("imported", line)
        p = self.home.ctl("list", "--state", "imported", check=False)
        self.assertEqual(p.returncode, 2)
        self.assertIn("finished", p.stderr)


if __name__ == "__main__":
    unittest.main()
