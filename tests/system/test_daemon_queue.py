#!/usr/bin/env python3
"""Submissions, slots, cancel and retry, and how ends are judged, by bakad with a fake worker."""
import json
import os
import pathlib
import signal
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import Connection, DaemonCase  # noqa: E402
from harness import SANITIZED, wait_until  # noqa: E402


class Queue(DaemonCase):
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
        folder = self.d.path / "runs" / run / "checkpoints"  # emptied after the marks are set, from the database
        wait_until("pruned", lambda: {p.name for p in folder.iterdir()} == {"15-a1", "20-a1"})
        self.assertEqual(shown["attempt_list"][0]["outcome"], "finished")
        story = [e["to"] for e in shown["events"] if e["kind"] == "state"]
        self.assertEqual(story, ["starting", "running", "finished"])
        self.assertEqual(self.d.steps(run), list(range(1, 21)))
        page = self.d.get(f"/v1/runs/{run}/steps?after=5&limit=3")
        self.assertEqual(([r[0] for r in page["rows"]], page["next"]), ([6, 7, 8], 8))
        self.assertEqual(page["columns"], ["step", "epoch", "tokens", "loss", "lr", "grad_norm", "ms", "tok_s", "mfu"])
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
            ({"spec": {"train": {"device": "cuda"}}}, "resources.gpus", "0"),
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

    def outcomes(self, run):
        return [a["outcome"] for a in self.d.get(f"/v1/runs/{run}")["attempt_list"]]

    def waits_for_gpu(self, name, reason, attempts, **more):
        run = self.d.queue(name, **more)
        wait_until("a wait", lambda: (lambda r: r["attempts"] == attempts and r["reason"] == reason)(
            self.d.get(f"/v1/runs/{run}")))
        time.sleep(1)  # the first patience is 2 s
        shown = self.d.get(f"/v1/runs/{run}")
        self.assertEqual((shown["state"], shown["attempts"]), ("queued", attempts))
        self.d.post(f"/v1/runs/{run}/cancel")
        return run

    def test_no_room_on_the_gpu(self):
        """A first start is halved until it fits, and stays so; what has steps, or a micro-batch of its own, waits."""
        run = self.d.queue("n30.m20.b2")
        self.d.until_step(run, 7)
        os.kill(self.d.keeper(run)[1], signal.SIGKILL)
        self.d.until(run, "finished")
        self.assertEqual(self.outcomes(run), ["oom_gpu", "oom_gpu", "killed: SIGKILL", "finished"])
        sizes = [json.loads((self.d.path / f"runs/{run}/attempts/{n}/journal").read_text().splitlines()[0])["micro_batch"]
                 for n in range(1, 5)]
        self.assertEqual(sizes, [8, 4, 2, 2])
        texts = [e["text"] for e in self.d.get(f"/v1/runs/{run}")["events"] if e["kind"] == "state"]
        self.assertIn("oom_gpu with micro_batch 8, the next start takes at most 4: no room", texts)
        self.waits_for_gpu("n9.r3.eoom_gpu", "oom_gpu: as asked", 1)
        self.waits_for_gpu("n9.b2", "oom_gpu: no room", 1, spec={"train": {"micro_batch": 8}})
        run = self.waits_for_gpu("n9.b0", "oom_gpu: no room", 4)  # 8, 4, 2, 1
        self.assertEqual(self.outcomes(run), 4 * ["oom_gpu"])

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


if __name__ == "__main__":
    unittest.main()
