#!/usr/bin/env python3
"""replay_worker.py - a worker that trains nothing: it writes a journal of REPLAY_STEPS steps as fast as it can.

It keeps the run directory's contract (lock, journal, exit.json), so bakad cannot tell; used to measure the daemon.
A run's loss curve depends on its seed. REPLAY_SECONDS > 0 sleeps that long before the end instead of writing steps.
"""
import json
import math
import os
import pathlib
import sys
import time


def main():
    if "--version" in sys.argv:
        print("replay_worker 1")
        return
    opt = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    run = pathlib.Path(opt["--run-dir"])
    attempt = run / "attempts" / opt["--attempt"]
    spec = json.loads((run / "spec.json").read_text())
    seed = spec["train"]["seed"]
    steps = int(os.environ.get("REPLAY_STEPS", 0))
    start = pathlib.Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (attempt / "lock").write_text(f"{os.getpid()} {start} {boot}\n")
    zero = "0" * 64
    with open(attempt / "journal", "x") as j:
        j.write(json.dumps({"kind": "start", "attempt": int(opt["--attempt"]), "resume_step": 0, "spec_hash": zero,
                            "data_hash": zero, "numerics_id": zero, "build": zero, "backend": "cpu", "device": "replay",
                            "threads": 1, "micro_batch": 8, "params": 1000, "tokens_per_epoch": 1024 * max(steps, 1),
                            "steps_per_epoch": max(steps, 1), "total_steps": max(steps, 1), "memory_bytes": 0,
                            "pid": os.getpid(), "time": int(time.time() * 1000)}) + "\n")
        j.flush()
        for first in range(1, steps + 1, 2000):
            lines = []
            for i in range(first, min(first + 2000, steps + 1)):
                loss = 3 + 5 / math.sqrt(1 + i / 100) + 0.1 * math.sin(i * 0.7 + seed)
                lines.append(f'{{"kind":"step","step":{i},"epoch":{i / steps!r},"tokens":{i * 1024},"loss":{loss!r},'
                             f'"lr":0.001,"grad_norm":{1 + 0.1 * math.cos(i)!r},"ms":1.5,"tok_s":682666.6666666666}}\n')
            j.write("".join(lines))
            j.flush()
        if steps == 0:
            time.sleep(float(os.environ.get("REPLAY_SECONDS", 0)))
        j.write(json.dumps({"kind": "end", "reason": "finished", "step": steps, "text": ""}) + "\n")
    done = attempt / "exit.json.tmp"
    done.write_text(json.dumps({"status": 0, "signal": 0, "core": False, "maxrss": 0, "cpu_s": 0.0, "boot_id": boot,
                                "pid": os.getpid(), "trainer_pid": os.getpid()}))
    done.rename(attempt / "exit.json")


if __name__ == "__main__":
    main()
