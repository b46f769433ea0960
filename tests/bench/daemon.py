#!/usr/bin/env python3
"""daemon.py - what the daemon owes: lists, idle CPU, memory, launch gap, ingest, compare. Prints JSON.

  tests/bench/daemon.py [--build build] [--idle 60] [--steps 1000000]

Times are end to end at the client (HTTP over the unix socket, or the bakactl process where it says so); medians of
repeated calls. Runs are written by replay_worker.py, so only the daemon is measured.
"""
import argparse
import http.client
import json
import os
import pathlib
import socket
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def call(self, method, path, body=None):
        self.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
        r = self.getresponse()
        data = r.read()
        if r.status >= 300:
            raise SystemExit(f"{method} {path}: {r.status} {data[:500]}")
        return json.loads(data)


def cpu_ticks(pid):
    f = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(f[11]) + int(f[12])


def rss_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024


def median_ms(n, f):
    times = []
    for _ in range(n):
        t = time.perf_counter()
        f()
        times.append((time.perf_counter() - t) * 1e3)
    return round(statistics.median(times), 2)


def spec(**train):
    return {"name": "bench", "data": {"name": "text"}, "model": {"dim": 32, "layers": 1, "heads": 2},
            "train": {"seq_len": 32, "batch": 8, **train}}


def queue_figures(home, result):
    c = Connection(home.path / "bakad.sock")
    t = time.perf_counter()
    c.call("POST", "/v1/runs", {"request_id": "bench-10k", "spec": spec(), "seeds": 10000})
    result["submit_10000_s"] = round(time.perf_counter() - t, 3)
    result["list_page_200_ms"] = median_ms(30, lambda: c.call("GET", "/v1/runs?limit=200"))

    def all_pages():
        cursor, seen = "", 0
        while cursor is not None:
            page = c.call("GET", "/v1/runs?limit=200" + (f"&cursor={cursor}" if cursor else ""))
            seen += len(page["runs"])
            cursor = page["next"]
        assert seen >= 10000, seen
    result["list_all_10000_ms"] = median_ms(5, all_pages)
    result["list_all_bakactl_ms"] = median_ms(3, lambda: home.ctl("list", "--all", "--json"))


def launch_gap(home, result):
    """From the end of one attempt to the start of the next on a full queue, as bakad's own records say."""
    c = Connection(home.path / "bakad.sock")
    ids = [r["id"] for r in c.call("POST", "/v1/runs", {"request_id": "gap", "spec": spec(), "seeds": 12})["runs"]]
    home.ctl("wait", *ids, timeout=300)
    shown = [c.call("GET", f"/v1/runs/{i}") for i in ids]
    gaps = [b["started_ms"] - a["ended_ms"] for a, b in zip(shown, shown[1:])]
    result["launch_gap_ms"] = {"median": statistics.median(gaps), "max": max(gaps)}


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    a.add_argument("--idle", type=float, default=60)
    a.add_argument("--steps", type=int, default=1_000_000)
    args = a.parse_args()
    os.environ["BAKA_BUILD"] = str(args.build.resolve())
    from harness import Home, english
    result = {}
    replay = ["--worker", str(HERE / "replay_worker.py"), "--cpu-slots", "1"]

    with Home(*replay) as home:
        home.prepare("text", english(20_000))
        launch_gap(home, result)

    os.environ["REPLAY_STEPS"] = str(args.steps)
    with Home(*replay) as home:
        home.prepare("text", english(20_000))
        c = Connection(home.path / "bakad.sock")
        before, t = cpu_ticks(home.daemon.pid), time.perf_counter()
        ids = [r["id"] for r in c.call("POST", "/v1/runs", {"request_id": "long", "spec": spec(), "seeds": 2})["runs"]]
        home.ctl("wait", *ids, timeout=600)
        ticks = cpu_ticks(home.daemon.pid) - before
        result["ingest"] = {"records": 2 * args.steps, "wall_s": round(time.perf_counter() - t, 2),
                            "daemon_cpu_s": ticks / os.sysconf("SC_CLK_TCK"),
                            "records_per_daemon_cpu_s": round(2 * args.steps / (ticks / os.sysconf("SC_CLK_TCK")))}
        result["rss_after_ingest_mb"] = round(rss_mb(home.daemon.pid), 1)
        path = f"/v1/compare?ref={ids[0]}&ref={ids[1]}"
        result["compare_2x1M_ms"] = median_ms(9, lambda: c.call("GET", path))
        result["compare_2x1M_bakactl_ms"] = median_ms(5, lambda: home.ctl("compare", *ids, "--json"))
        result["rss_after_compare_mb"] = round(rss_mb(home.daemon.pid), 1)

    os.environ["REPLAY_STEPS"] = "0"
    os.environ["REPLAY_SECONDS"] = "100000"
    with Home(*replay) as home:
        home.prepare("text", english(20_000))
        queue_figures(home, result)
        result["rss_10000_queued_mb"] = round(rss_mb(home.daemon.pid), 1)
    with Home(*replay) as home:
        home.prepare("text", english(20_000))
        before = cpu_ticks(home.daemon.pid)
        time.sleep(args.idle)
        ticks = cpu_ticks(home.daemon.pid) - before
        result["idle"] = {"seconds": args.idle, "cpu_percent": round(100 * ticks / os.sysconf("SC_CLK_TCK") / args.idle, 3),
                          "rss_mb": round(rss_mb(home.daemon.pid), 1)}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
