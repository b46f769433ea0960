#!/usr/bin/env python3
"""test_query.py - bakactl query: what the views say is what the other verbs say, and nothing can be changed, read or
held up by a query that should not."""
import csv
import io
import json
import math
import sqlite3
import pathlib
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import DaemonCase  # noqa: E402

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select "


class Query(DaemonCase):
    def ask(self, sql, *args):
        answer = self.d.json("query", sql, *args)
        return [dict(zip(answer["columns"], row)) for row in answer["rows"]]

    def refused(self, sql, words, *args, status=1):
        p = self.d.ctl("query", sql, *args, check=False)
        self.assertEqual((p.returncode, p.stdout, len(p.stderr.splitlines())), (status, "", 1), (sql, p.stderr, p.stdout))
        self.assertIn(words, p.stderr)

    def study(self):
        runs = [self.d.queue(f"n{n}.k5", tags=["all", f"of-{n}"]) for n in (20, 30)]
        for run in runs:
            self.d.until(run, "finished")
        return runs

    def test_views_say_what_verbs_say(self):
        runs = self.study()
        rows = self.ask("select * from runs order by id")
        for row, run in zip(rows, runs, strict=True):
            shown = self.d.get(f"/v1/runs/{run}")
            self.assertEqual(json.loads(row["spec"]), shown["spec"])
            for key in ("id", "name", "kind", "state", "step", "epoch", "tokens", "train_loss", "val_loss", "best_val_loss",
                        "params", "created_ms", "started_ms", "ended_ms", "spec_hash", "peak_memory_bytes"):
                self.assertEqual(row[key], shown[key], key)
            self.assertEqual((row["seed"], row["tags"].split(",")), (shown["spec"]["train"]["seed"], shown["tags"]))
            steps = self.ask(f"select * from steps('{run}')")
            self.assertEqual(steps, [{k: s[k] for k in steps[0]} for s in self.d.json("steps", run)])
            self.assertEqual(self.ask(f"select step, epoch, tokens, split, loss from evals where run = '{run}'"),
                             [{k: e[k] for k in ("step", "epoch", "tokens", "split", "loss")} for e in self.d.json("evals", run)])
        # a view each
        views = self.d.json("query", "--views")["views"]
        self.assertEqual([v["name"] for v in views], ["runs", "evals", "tags", "attempts", "events", "checkpoints", "gpu",
                                                      "jobs", "steps('RUN')"])
        for view in views[:-1]:
            answer = self.d.json("query", f"select * from {view['name']}")
            self.assertEqual(answer["columns"], view["columns"])
        self.assertIn("steps('RUN')", self.d.ctl("query", "--views").stdout)

    def test_steps_in_joins_and_bounds(self):
        a, b = self.study()
        counts = self.ask("select r.id, count(*) as n, min(s.step) as low, max(s.step) as high "
                          "from runs r, steps(r.id) s group by r.id order by r.id")
        self.assertEqual([(c["id"], c["n"], c["low"], c["high"]) for c in counts], [(a, 20, 1, 20), (b, 30, 1, 30)])
        for where, expected in (("step > 5 and step <= 8", [6, 7, 8]), ("step = 7", [7]), ("step between 29 and 99", [29, 30]),
                                ("step < 2.5", [1, 2]), ("step > 30", []), ("step = 'x'", []),
                                ("step >= -9223372036854775807 and step < 3", [1, 2])):
            self.assertEqual([r["step"] for r in self.ask(f"select step from steps('{b}') where {where}")], expected, where)
        self.assertEqual([r["step"] for r in self.ask(f"select step from steps('{b}') order by step desc limit 2")], [30, 29])
        self.assertEqual(self.ask("select * from steps(null)"), [])
        self.refused("select * from steps('nobody')", "no run with id or name nobody")
        self.refused("select * from steps", "steps needs a run: FROM steps('b00012')")

    def test_many_steps_and_gaps(self):
        path = self.d.root / "long.csv"
        with path.open("w") as f:
            f.write("step,epoch,tokens,loss\n")
            for s in range(1, 40001):
                f.write(f"{s},{s / 1000},{s * 8},{1 + 1 / s if s != 777 else math.nan}\n")
        run = self.d.json("import", path, "--name", "long")["runs"][0]["id"]
        (row,) = self.ask("select count(*) as n, count(loss) as finite, sum(step) as s, avg(loss) as mean, max(lr) as lr from steps('long')")
        self.assertEqual((row["n"], row["finite"], row["s"], row["lr"]), (40000, 39999, 40000 * 40001 // 2, None))
        mean = math.fsum(1 + 1 / s for s in range(1, 40001) if s != 777) / 39999
        self.assertAlmostEqual(row["mean"], mean, places=12)
        got = self.ask(f"select step, loss from steps('{run}') where step in (1, 16384, 16385, 40000)")
        self.assertEqual(got, [{"step": s, "loss": 1 + 1 / s} for s in (1, 16384, 16385, 40000)])
        p = self.d.ctl("query", "select step from steps('long')", "--csv")
        self.assertEqual(len(p.stdout.splitlines()), 1001)
        self.assertIn("more rows than these 1000", p.stderr)
        self.assertEqual(len(self.ask("select step from steps('long')", "--limit", 40000)), 40000)
        for wrong in ("0", "1000001", "many"):
            self.refused("select 1", "--limit", f"--limit={wrong}")

    def test_nothing_but_select(self):
        self.study()
        before = self.dump()
        for sql, words in (
                ("delete from runs", "cannot modify runs because it is a view"),
                ("update main.runs set name = 'x'", "anything but SELECT is not allowed"),
                ("insert into tags values ('b00001', 'x')", "not allowed"),
                ("drop view runs", "not allowed"), ("create table t(a)", "not allowed"), ("create temp table t(a)", "not allowed"),
                ("create virtual table t using fts5(a)", "not allowed"),
                ("attach 'other.db' as other", "ATTACH is not allowed"), ("detach main", "ATTACH is not allowed"),
                ("pragma query_only = off", "PRAGMA query_only is not allowed"), ("pragma writable_schema = 1", "not allowed"),
                ("select * from pragma_table_info('runs')", "not allowed"), ("vacuum into 'copy.db'", "is no SELECT"),
                ("vacuum", "is no SELECT"), ("begin", "not allowed"), ("savepoint s", "not allowed"), ("reindex", "not allowed"),
                ("analyze", "not allowed"),
                ("select load_extension('x')", "load_extension"), ("select * from main.runs", "the table runs is not allowed"),
                ("select sql from sqlite_schema", "not allowed"), ("select * from main.requests", "not allowed"),
                ("select loss from steps_chunk", "not allowed"), ("select * from sqlite_temp_schema", "not allowed"),
                ("with runs as (select * from main.requests) select * from runs", "the table requests is not allowed"),
                ("select * from (select * from main.requests) as runs", "the table requests is not allowed"),
                ("select (select count(*) from main.requests) from runs", "the table requests is not allowed"),
                ("explain select 1", "is no SELECT"),
                ("select 1; select 2", "one statement at a time"), ("select 1; delete from runs", "one statement at a time"),
                ("", "empty"), (" ; ", "is empty"), ("/* nothing */", "is no SELECT"), ("selec 1", "syntax error"),
                ("select nope from runs", "no such column: nope"), ("select * from nowhere", "no such table: nowhere"),
                ("select ?1", "variable number must be between"), ("select writefile('x', 'y')", "no such function: writefile"),
                ("select zeroblob(100000000)", "too big"), ("with x as (delete from runs returning 1) select * from x", "syntax error"),
        ):
            with self.subTest(sql=sql):
                if sql == "":
                    self.refused(sql, words, status=2)
                else:
                    self.refused(sql, words)
        self.assertEqual(self.dump(), before)
        self.assertEqual([p.name for p in self.d.root.rglob("*") if p.name in ("copy.db", "other.db")], [])
        # a name of one's own for a table behind the views stays one's own
        self.assertEqual(self.ask("with requests(a) as (select 5) select * from requests"), [{"a": 5}])

    def dump(self):
        with sqlite3.connect(f"file:{self.d.path}/baka.db?mode=ro", uri=True) as db:
            return list(db.iterdump())

    def test_limits(self):
        start = time.monotonic()
        self.refused(ENDLESS + "count(*) from n", "took longer than 0.2 s", "--timeout", "0.2")
        self.assertLess(time.monotonic() - start, 8)
        self.refused(ENDLESS + "max(length(x)) from (select randomblob(1000000) || i as x from n order by x)", "was stopped")
        self.assertEqual(len(self.ask(ENDLESS + "i from n", "--limit", 7)), 7)
        self.refused("select " + "(" * 300 + "1" + ")" * 300, "")
        self.refused("select '" + "x" * 70000 + "'", "more than 65536 bytes")
        self.assertEqual(self.d.call("POST", "/v1/query", {"sql": 5})[0], 400)
        self.assertEqual(self.d.call("POST", "/v1/query", {"sql": "select 1", "x": 1})[0], 400)
        self.assertEqual(self.d.call("POST", "/v1/query", {"sql": "select 1", "limit": 0})[0], 400)
        self.assertEqual(self.d.get("/v1/status")["version"] and self.ask("select 1 as one"), [{"one": 1}])

    def test_the_daemon_answers_and_ends_meanwhile(self):
        codes = []

        def long_query():
            codes.append(self.d.ctl("query", ENDLESS + "count(*) from n", check=False).returncode)

        threads = [threading.Thread(target=long_query) for _ in range(3)]
        for t in threads:
            t.start()
        time.sleep(0.3)
        run = self.d.queue("n20")
        self.d.until(run, "finished")
        start = time.monotonic()
        self.d.daemon.terminate()
        self.assertEqual(self.d.daemon.wait(20), 0)
        self.assertLess(time.monotonic() - start, 8)  # and not the ten seconds that the queries have
        for t in threads:
            t.join()
        self.assertEqual(len(codes), 3)
        self.assertNotIn(0, codes)

    def test_values_and_forms(self):
        sql = "select 9007199254740993 as whole, 0.1 + 0.2 as sum, 'a,\"b\"\nc' as text, null as none, x'00ff' as bytes, 1e999 as inf"
        raw = self.d.ctl("query", sql, "--json").stdout
        answer = json.loads(raw)
        self.assertEqual(answer["rows"][0][1:], [0.30000000000000004, 'a,"b"\nc', None, {"hex": "00ff"}, "inf"])
        self.assertEqual(answer["truncated"], False)
        rows = list(csv.reader(io.StringIO(self.d.ctl("query", sql, "--csv").stdout, newline="")))
        self.assertEqual(rows[1][1:], ["0.30000000000000004", 'a,"b"\nc', "", "00ff", "inf"])
        table = self.d.ctl("query", "select 'Ünïcödé\u2713' || char(27) as text, 3 as n").stdout
        self.assertIn("Ünïcödé\u2713", table)
        self.assertNotIn("\033", table)
        for args in (("--csv", "--json", "select 1"), ("--views", "select 1"), ()):
            self.assertEqual(self.d.ctl("query", *args, check=False).returncode, 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
