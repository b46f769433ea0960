#!/usr/bin/env python3
"""compare.py - what comparing costs and keeps: 10 runs of 1,000,000 steps from a cold file and again, 500 runs at once,
smoothing, a query, exports; and whether pictures and exports keep every spike. Prints JSON. Times by the clock and of
bakad's processor: on a machine that does other work only the second says something.

  compare.py [--runs 10] [--steps 1000000] [--many 500]
"""
import argparse
import json
import math
import os
import pathlib
import re
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))
from harness import Home  # noqa: E402
from daemon_case import Connection  # noqa: E402
from test_export_curves import read_events  # noqa: E402

SPIKES = {}  # by step: lowest and highest of all, one step each


def loss(run, step):
    return SPIKES.get(step, 1.5 + 0.01 * run + 3 * math.exp(-step / 100_000) + 0.05 * math.sin(step * 1.3))


def cpu_ms(pid):
    f = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(f[11]) + int(f[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def forget(home):
    """Out of the page cache, as after a reboot."""
    os.sync()
    for path in home.path.glob("baka.db*"):
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


class Bench:
    def __init__(self, home):
        self.home, self.result = home, {}

    def get(self, url):
        c = Connection(self.home.path / "bakad.sock", timeout=300)
        c.request("GET", url)
        r = c.getresponse()
        body = r.read()
        c.close()
        assert r.status == 200, body[:300]
        return body

    def time(self, name, call, n=5):
        walls, cpus = [], []
        for _ in range(n):
            before, start = cpu_ms(self.home.daemon.pid), time.monotonic()
            call()
            walls.append((time.monotonic() - start) * 1000)
            cpus.append(cpu_ms(self.home.daemon.pid) - before)
        self.result[name] = {"wall_ms": round(min(walls), 1), "bakad_cpu_ms": round(min(cpus), 1)}
        print(name, self.result[name], file=sys.stderr, flush=True)

    def restart(self):
        self.home.kill_daemon()
        forget(self.home)
        self.home.start()


def bring(home, name, rows, *more):
    path = home.root / "curve.csv"
    with path.open("w") as f:
        f.write("step,epoch,tokens,loss,val_loss\n")
        f.writelines(rows)
    return home.json("import", path, "--name", name, *more, timeout=600)["runs"][0]["id"]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--runs", type=int, default=10)
    a.add_argument("--steps", type=int, default=1_000_000)
    a.add_argument("--many", type=int, default=500)
    args = a.parse_args()
    SPIKES.update({args.steps // 8 + 1: 9.5, args.steps // 2: 0.25, args.steps * 98 // 100 + 1: 11.25})
    with Home() as home:
        b = Bench(home)
        ids = [bring(home, f"long-{k}", (f"{s},{s / 100_000!r},{s * 8},{loss(k, s)!r},\n" for s in range(1, args.steps + 1)))
               for k in range(args.runs)]
        url = "/v1/compare?" + "&".join(f"ref={i}" for i in ids)
        b.restart()
        b.time(f"compare_{args.runs}x{args.steps}_cold", lambda: b.get(url), 1)
        b.time(f"compare_{args.runs}x{args.steps}", lambda: b.get(url))
        b.time(f"compare_{args.runs}x{args.steps}_points_2000", lambda: b.get(url + "&points=2000"))
        b.time(f"compare_{args.runs}x{args.steps}_smooth", lambda: b.get(url + "&points=2000&smooth=ema:0.98"))
        b.time(f"compare_{args.runs}x{args.steps}_time", lambda: b.get(url + "&time=1"), 3)
        b.time(f"bakactl_compare_{args.runs}x{args.steps}", lambda: home.ctl("compare", *ids))
        b.time("query_avg_of_1_run", lambda: home.ctl("query", f"select avg(loss) from steps('{ids[0]}')"), 3)

        # what was highest and lowest is there at any number of points, in the picture and on its way out
        extremes = {}
        spikes = SPIKES.values()
        for points in (50, 200, 2000):
            raw = json.loads(b.get(f"/v1/compare?ref={ids[0]}&points={points}"))["runs"][0]["curves"]["raw"]
            extremes[points] = (min(raw["min"]), max(raw["max"])) == (min(spikes), max(spikes))
        b.result["extremes_kept_at_points"] = extremes
        steps = min(args.steps, 20_000)  # the reader is plain Python
        short = bring(home, "short", (f"{s},{s / 1000!r},{s * 8},{loss(0, s)!r},\n" for s in range(1, steps + 1)))
        told = home.json("export", "--tensorboard", short, "-o", home.root / "board")
        same = sum(struct.pack("<d", e[2]["train/loss"]) == struct.pack("<d", loss(0, e[1]))
                   for e in read_events(pathlib.Path(told[0]["path"])))
        b.result["tensorboard_losses_equal_bit_for_bit"] = f"{same} of {steps}"
        start = time.monotonic()
        home.ctl("export", "--tensorboard", ids[0], "-o", home.root / "large", timeout=600)
        b.result["export_tensorboard_1_run_s"] = round(time.monotonic() - start, 2)
        csv = home.ctl("steps", ids[0], timeout=600).stdout.splitlines()[1:]
        same = sum(float(line.split(",")[3]) == loss(0, s) for s, line in enumerate(csv, 1))
        b.result["csv_losses_equal"] = f"{same} of {args.steps}"
        svg = home.ctl("compare", ids[0], "--smooth", "ema:0.98", "--svg", "-").stdout
        b.result["svg_points"] = len(re.findall(r"[ML]", "".join(re.findall(r' d="([^"]*)"', svg))))

        for k in range(args.many):
            bring(home, f"many-{k:03}", (f"{s},{s / 20!r},{s * 8},{loss(k, s)!r},{loss(k, s)!r}\n" for s in range(1, 41)),
                  "--tag", "many")
        b.time(f"compare_{args.many}_runs", lambda: b.get("/v1/compare?ref=many"), 3)
        b.result[f"compare_{args.many}_runs"]["answer_mb"] = round(len(b.get("/v1/compare?ref=many")) / 1e6, 1)
        b.time(f"bakactl_compare_{args.many}_runs", lambda: home.ctl("compare", "many"), 3)
        print(json.dumps(b.result, indent=1))


if __name__ == "__main__":
    main()
