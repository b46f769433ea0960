#!/usr/bin/env python3
"""test_kills.py - SIGKILL of daemon, keeper and trainer at random moments of a short run.

The run must finish by itself with every step recorded once and its curve equal, bit for bit, to that of an undisturbed
run of the same spec. BAKA_KILLS (default 24) kills are made, over as many runs as they take; BAKA_SEED repeats a
sequence, which is printed.
"""
import os
import pathlib
import random
import signal
import sqlite3
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Home, SANITIZED, english

KILLS = int(os.environ.get("BAKA_KILLS", 24))
SEED = int(os.environ.get("BAKA_SEED", random.SystemRandom().randrange(2**32)))
STEPS = 300 if SANITIZED else 1200

SPEC = {
    "name": "victim",
    "data": {"name": "text"},
    "model": {"dim": 32, "layers": 2, "heads": 2, "ffn": {"type": "elephant_glu"}},
    "train": {"steps": STEPS, "seq_len": 32, "batch": 4, "seed": 3, "eval_every": 100, "checkpoint_every": 20,
              "optimizer": {"lr": 0.003}},
}


def exact(csv):
    """The columns that must be equal bit for bit; times differ."""
    lines = csv.splitlines()
    names = lines[0].split(",")
    keep = [i for i, n in enumerate(names) if n not in ("ms", "tok_s")]
    return [",".join(line.split(",")[i] for i in keep) for line in lines]


class Kills(unittest.TestCase):
    def test_random_kills(self):
        print(f"{KILLS} kills, BAKA_SEED={SEED}", flush=True)
        rng = random.Random(SEED)
        with Home() as home:
            home.prepare("text", english(40_000))
            calm = home.submit(SPEC)[0]
            home.ctl("wait", calm, timeout=600)
            want_steps = exact(home.ctl("steps", calm, "--csv").stdout)
            want_evals = exact(home.ctl("evals", calm, "--csv").stdout)
            self.assertEqual([int(r.split(",")[0]) for r in want_steps[1:]], list(range(1, STEPS + 1)))

            done = {"daemon": 0, "keeper": 0, "trainer": 0}
            runs = replayed = 0
            while sum(done.values()) < KILLS:
                run = home.submit(SPEC)[0]
                runs += 1
                self.torment(home, run, rng, done)
                shown = home.json("show", run)
                self.assertEqual(shown["state"], "finished", shown)
                self.assertEqual(exact(home.ctl("steps", run, "--csv").stdout), want_steps)
                self.assertEqual(exact(home.ctl("evals", run, "--csv").stdout), want_evals)
                self.assertEqual(shown["nondeterminism"], 0)
                self.assertEqual(shown["certificate"]["unequal"], 0)
                self.assertEqual(shown["certificate"]["replayed_other"], 0)
                replayed += shown["certificate"]["replayed"]
            home.kill_daemon(signal.SIGTERM)
            db = sqlite3.connect(home.path / "baka.db")
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
            self.assertEqual(db.execute("PRAGMA foreign_key_check").fetchall(), [])
            db.close()
            print(f"{sum(done.values())} kills in {runs} runs: {done}; every step once, curves bit-identical, "
                  f"{replayed} replayed steps equal")
            self.assertTrue(replayed or not done["trainer"])

    def torment(self, home, run, rng, done):
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            time.sleep(rng.uniform(0.02, 0.6))
            state = home.json("show", run)["state"]
            if state not in ("queued", "starting", "running"):
                return
            if sum(done.values()) >= KILLS:
                home.ctl("wait", run, check=False, timeout=600)
                return
            victim = rng.choice(("daemon", "keeper", "trainer"))
            if victim == "daemon":
                home.kill_daemon()
                done[victim] += 1
                time.sleep(rng.uniform(0, 0.2))
                home.start()
                continue
            for _, _, keeper in home.keepers():
                target = keeper if victim == "keeper" else next(iter(home.children(keeper)), None)
                if target is None:
                    continue
                try:
                    os.kill(target, signal.SIGKILL)
                    done[victim] += 1
                except ProcessLookupError:
                    pass
        self.fail(f"run {run} did not end in 600 s (BAKA_SEED={SEED})")


if __name__ == "__main__":
    unittest.main()
