#!/usr/bin/env python3
"""fake_worker.py - a worker that trains nothing but keeps the run directory's contract, so that bakad cannot tell.

It is told what to do by the run's name, words joined by '.', each a letter and a number:
  n100   steps in the whole run (default 20)         m5    milliseconds a step (default 1)
  k10    a checkpoint each so many steps (default 5)  r7    journal's end reason at step 7 if 'e' says which
  x3     exits with this status after its steps, without an `end`
  s11    kills itself with this signal at step r (default: the last)
  h1     ignores SIGTERM                              t1    leaves a torn line behind before it goes
  q7     says nothing more after step 7, at each attempt that comes there; with y1 in the first attempt only; y2: nothing
         at all; y3: hangs instead of its end; y4: hangs in the checkpoint of that step
  p7     writes halves of lines for ever after step 7    v7   says step 7 again and again, for ever
  w7     tells of step 7 twice, and of a step 3 that was long ago, and goes on
  u1     does not hear the first SIGTERM
  l300   prints so many KiB to its log at each step
  o7     leaves a process behind at step 7 that writes to the journal of this attempt once the next one has begun
  g7     has a GPU that is seen at the start and at the end, and reports Xid 7 (0: none); MFU is 0.4
  f8     calls each checkpoint at step 8 or later bad
  c1     calls its checkpoint bad when it is resumed from one made by attempt 1
  d7     the journal's record of step 7 is damaged
  j3     each 3rd step has a gradient that is not finite
  b2     its GPU has no room for a micro-batch above this, of 8 that it would take
End reasons: ediverged ebad_data edisk_full ebad_spec einternal_error eoom_gpu.
The keeper is a parent process, as with baka-worker: it holds the lock and writes exit.json.
"""
import faulthandler
import json
import math
import os
import pathlib
import re
import resource
import signal
import sys
import time

ZERO = "0" * 64


def start_time(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]


def boot_id():
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Trainer:
    def __init__(self, run, attempt, resume, plan, limit):
        self.run, self.attempt, self.plan = run, attempt, plan
        self.micro_batch = min(8, limit)
        self.steps, self.every = plan.get("n", 20), plan.get("k", 5)
        self.first = 0 if resume == "none" else int(resume.split("/")[1].split("-")[0])
        self.resume = resume
        self.asked = self.checkpoints = False
        self.deaf = "u" in plan
        self.journal = os.open(run / f"attempts/{attempt}/journal", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)

    def put(self, **record):
        os.write(self.journal, json.dumps(record, separators=(",", ":")).encode() + b"\n")

    def checkpoint(self, step):
        path = f"checkpoints/{step}-a{self.attempt}"
        folder = self.run / path
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        self.put(kind="checkpoint", step=step, path=path, bytes=2, ms=0.1)

    def gpu(self, step, energy_j, xid):
        if "g" in self.plan:
            self.put(kind="gpu", step=step, time=int(time.time() * 1000), memory_used=20 << 30, memory_total=80 << 30,
                     temperature_c=64, sm_clock_mhz=1755, power_w=312.3, energy_j=energy_j,
                     throttle=["sw_power_cap", "hw_thermal"] if xid else [], ecc_uncorrected=0, xid=xid)

    def hang(self):
        while True:
            time.sleep(60)

    def misbehave(self, step):
        if step == self.plan.get("q") and self.plan.get("y", 1) == 1:
            self.hang()
        record = dict(kind="step", step=step, epoch=0.1, tokens=8 * step, loss=99.0, lr=0.001, grad_norm=1.0, ms=1.0, tok_s=8000.0)
        while step == self.plan.get("p"):
            os.write(self.journal, b'{"kind":"step",')
            time.sleep(0.02)
        while step == self.plan.get("v"):
            self.put(**record)
            time.sleep(0.02)
        if step == self.plan.get("w"):
            self.put(**record)
            self.put(**{**record, "step": 3})
        if step == self.plan.get("o") and os.fork() == 0:
            os.setsid()
            while not (self.run / f"attempts/{self.attempt + 1}/journal").exists():
                time.sleep(0.01)
            while True:
                step += 1
                self.put(**{**record, "step": step})
                time.sleep(0.01)

    def end(self, reason, step, text=""):
        if self.plan.get("y") == 3:
            self.hang()
        self.put(kind="end", reason=reason, step=step, text=text)
        return 0 if reason in ("finished", "stopped") else 1

    def on_term(self, *_):
        if self.deaf:
            self.deaf = False
            return
        if self.asked:  # a second one: at once
            os._exit(1)
        self.asked = True

    def on_usr1(self, *_):
        self.checkpoints = True

    def main(self):
        plan = self.plan
        signal.signal(signal.SIGTERM, signal.SIG_IGN if plan.get("h") else self.on_term)
        signal.signal(signal.SIGUSR1, self.on_usr1)
        faulthandler.register(signal.SIGQUIT)
        if plan.get("y") == 2:
            self.hang()
        self.put(kind="start", attempt=self.attempt, resume_step=self.first, spec_hash=ZERO, data_hash=ZERO,
                 numerics_id=ZERO, build=ZERO, backend="cpu", device="fake", threads=1,
                 micro_batch=self.micro_batch, params=1000, tokens_per_epoch=self.steps * 8, steps_per_epoch=self.steps,
                 total_steps=self.steps, memory_bytes=4096, pid=os.getpid(), time=int(time.time() * 1000),
                 flops_per_token=6000.0, peak_flops=6000 * 20000.0 if "g" in plan else None)
        self.gpu(self.first, 0.0, 0)
        print(f"attempt {self.attempt} from {self.first}", flush=True)
        if self.first >= plan.get("f", self.first + 1):
            return self.end("bad_checkpoint", self.first, self.resume)
        if plan.get("c") and self.resume.endswith("-a1"):
            return self.end("bad_checkpoint", self.first, self.resume)
        if self.micro_batch > plan.get("b", 8):
            return self.end("oom_gpu", self.first, "no room")
        at = plan.get("r", self.steps)
        for step in range(self.first + 1, self.steps + 1):
            time.sleep(plan.get("m", 1) / 1000)
            if step == plan.get("d"):
                os.write(self.journal, b'{"kind":"st\x01p","step":7}\n')
                continue
            self.put(kind="step", step=step, epoch=step / self.steps, tokens=8 * step, loss=1 + math.exp(-step / 10),
                     lr=0.001, grad_norm="nan" if step % plan.get("j", step + 1) == 0 else 1.0,
                     ms=float(plan.get("m", 1)), tok_s=8000.0,
                     **({"mfu": 0.4} if "g" in plan else {}))
            if "l" in plan:
                print("x" * (1024 * plan["l"]), flush=True)
            if step == plan.get("q") and plan.get("y") == 4:
                self.hang()
            if step % self.every == 0 or self.checkpoints:
                self.checkpoints = False
                self.checkpoint(step)
            if not (plan.get("y") == 1 and self.attempt > 1):
                self.misbehave(step)
            if step == at:
                self.gpu(step, 1.8e6, plan.get("g"))
                if "t" in plan:
                    os.write(self.journal, b'{"kind":"step","step":')
                if "s" in plan:
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    os.kill(os.getpid(), plan["s"])
                if "x" in plan:
                    return plan["x"]
                if "e" in plan:
                    return self.end(plan["e"], step, "as asked")
            if self.asked:
                if not (self.run / f"checkpoints/{step}-a{self.attempt}").exists():
                    self.checkpoint(step)
                return self.end("stopped", step)
        self.put(kind="eval", step=self.steps, epoch=1.0, tokens=8 * self.steps, split="val", loss=1.5,
                 perplexity=math.exp(1.5), bits_per_byte=2.1, predictions=100, ms=1.0)
        return self.end("finished", self.steps)


def read_plan(name):
    plan = {}
    for word in name.split("."):
        m = re.fullmatch(r"([a-df-z])(\d+)", word)
        if m:
            plan[m[1]] = int(m[2])
        elif re.fullmatch(r"e[a-z_]{4,}", word):
            plan["e"] = word[1:]
    return plan


def main():
    opt = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    run = pathlib.Path(opt["--run-dir"])
    attempt = int(opt["--attempt"])
    folder = run / f"attempts/{attempt}"
    lock = int(opt["--lock-fd"])
    spec = json.loads((run / "spec.json").read_text())
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()} {start_time(os.getpid())} {boot_id()}\n".encode(), 0)
    trainer = os.fork()
    if trainer == 0:
        os.close(lock)
        import ctypes
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        code = 70
        try:
            limit = int(opt.get("--micro-batch-limit", 8))
            code = Trainer(run, attempt, opt["--resume"], read_plan(spec["name"]), limit).main()
        finally:
            os._exit(code)
    for sig in (signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1):
        signal.signal(sig, lambda sig, _: os.kill(trainer, sig))
    _, status = os.waitpid(trainer, 0)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    temporary = folder / "exit.json.tmp"
    temporary.write_text(json.dumps({
        "status": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, "core": False,
        "maxrss": usage.ru_maxrss * 1024, "cpu_s": usage.ru_utime, "boot_id": boot_id(), "pid": os.getpid(),
        "trainer_pid": trainer}))
    temporary.rename(folder / "exit.json")


if __name__ == "__main__":
    main()
