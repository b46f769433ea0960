#!/usr/bin/env python3
"""baka-worker on its own: training, identity of results, kills and resumes, signals, damage, full disks.

Drives $BAKA_BUILD/worker/baka-worker (default ./build) as bakad does, with data sets made by bakactl.
"""
import fcntl
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = pathlib.Path(os.environ.get("BAKA_BUILD", "build")).resolve()
WORKER = BUILD / "worker/baka-worker"
BAKACTL = BUILD / "cli/bakactl"

# ASan and TSan builds are many times slower: fewer steps and kills, longer patience.
SANITIZED = b"__asan_" in WORKER.read_bytes() or b"__tsan_" in WORKER.read_bytes()
PATIENCE = 300 if SANITIZED else 60
KILLS = 4 if SANITIZED else 10

SPEC = {
    "name": "tiny",
    "data": {"name": "words"},
    "model": {"dim": 32, "layers": 2, "heads": 2, "ffn": {"type": "swiglu"}},
    "train": {"epochs": 1.5, "seq_len": 32, "batch": 4, "seed": 3, "warmup": 5, "eval_every": 20,
              "checkpoint_every": 15, "optimizer": {"type": "adamw", "lr": 5e-3}},
}


def merged(base, change):
    out = dict(base)
    for k, v in change.items():
        out[k] = merged(base.get(k, {}), v) if isinstance(v, dict) else v
    return out


def words(n, seed=1):
    """Text that a small model can learn: a few words that follow each other by rule, with some noise."""
    r = random.Random(seed)
    vocabulary = ["the", "elephant", "walks", "over", "small", "hills", "and", "sleeps", "under", "trees"]
    at, out, size = 0, [], 0
    while size < n:
        at = (at * 3 + 1) % len(vocabulary) if r.random() < 0.8 else r.randrange(len(vocabulary))
        out.append(vocabulary[at])
        size += len(vocabulary[at]) + 1
    return " ".join(out)[:n]


def read_journal(path):
    """Whole lines only, as bakad reads them."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def of_kind(records, kind):
    return [r for r in records if r["kind"] == kind]


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(what, condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.001)
    raise AssertionError(f"no {what} after {seconds} s")


def read_safetensors(path):
    """By the published format: {name: (dtype, shape, bytes)}, and the raw header."""
    data = path.read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + n].decode("utf-8"))
    body = data[8 + n:]
    out, spans = {}, []
    for name, t in header.items():
        if name == "__metadata__":
            assert all(isinstance(k, str) and isinstance(v, str) for k, v in t.items())
            continue
        begin, end = t["data_offsets"]
        out[name] = (t["dtype"], t["shape"], body[begin:end])
        spans.append((begin, end))
    at = 0
    for begin, end in sorted(spans):
        assert begin == at, "holes or overlaps"
        at = end
    assert at == len(body), "bytes beyond the tensors"
    assert (8 + n) % 8 == 0, "data not aligned"
    return out, header


class Run:
    """One run directory and its attempts."""

    def __init__(self, home, name, spec):
        self.home, self.dir = home, home / "runs" / name
        self.dir.mkdir(parents=True)
        (self.dir / "spec.json").write_text(spec if isinstance(spec, str) else json.dumps(spec))
        self.attempt = 0

    def command(self, attempt, resume, threads):
        return [str(WORKER), "--home", str(self.home), "--run-dir", str(self.dir), "--attempt", str(attempt),
                "--resume", resume, "--threads", str(threads)]

    def start(self, resume="none", threads=1, **popen):
        self.attempt += 1
        folder = self.dir / "attempts" / str(self.attempt)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "worker.log", "ab") as log:
            return subprocess.Popen(self.command(self.attempt, resume, threads), stdin=subprocess.DEVNULL, stdout=log,
                                    stderr=log, start_new_session=True, **popen)

    def go(self, resume="none", threads=1, **popen):
        """Runs one attempt to its end and returns its exit status."""
        return self.start(resume, threads, **popen).wait(timeout=PATIENCE)

    def journal(self, attempt=None):
        return read_journal(self.path("journal", attempt))

    def path(self, name, attempt=None):
        return self.dir / "attempts" / str(attempt or self.attempt) / name

    def log(self, attempt=None):
        return self.path("worker.log", attempt).read_text(errors="replace")

    def exit(self, attempt=None):
        return json.loads(self.path("exit.json", attempt).read_text())

    def end(self, attempt=None):
        last = self.journal(attempt)[-1]
        assert last["kind"] == "end", last
        return last

    def checkpoints(self):
        """Names, oldest first."""
        found = [p.name for p in (self.dir / "checkpoints").glob("*-a*") if not p.name.startswith(".")]
        return sorted(found, key=lambda n: (int(n.split("-a")[0]), int(n.split("-a")[1])))

    def newest(self):
        names = self.checkpoints() if (self.dir / "checkpoints").exists() else []
        return f"checkpoints/{names[-1]}" if names else "none"

    def curve(self, kind="step"):
        """Newest attempt first where they overlap: attempt a covers resume_step + 1 onwards."""
        rows, keep = [], None
        for a in range(1, self.attempt + 1):
            records = self.journal(a)
            first = of_kind(records, "start")
            if not first:
                continue
            keep = first[0]["resume_step"]
            rows = [r for r in rows if r["step"] <= keep]
            rows += [r for r in of_kind(records, kind) if r["step"] > keep]
        names = ("step", "epoch", "tokens", "loss", "lr", "grad_norm") if kind == "step" else (
            "step", "epoch", "tokens", "loss", "bits_per_byte", "predictions")
        return [tuple(r[n] for n in names) for r in rows]

    def final_model(self):
        return (self.dir / self.newest() / "model.safetensors").read_bytes()


class WorkerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = pathlib.Path(tempfile.mkdtemp(prefix="baka-worker-test."))
        cls.prepare("words", words(20000))
        cls.reference = Run(cls.home, "reference", SPEC)
        status = cls.reference.go()
        assert status == 0, cls.reference.log()

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.home)

    @classmethod
    def prepare(cls, name, text, *more):
        source = cls.home / f"{name}.txt"
        source.write_text(text)
        subprocess.run([str(BAKACTL), "--home", str(cls.home), "data", "prepare", "--tokenizer", "bytes", str(source),
                        "-o", name, *more], check=True, capture_output=True)

    def run_of(self, change=None, spec=None):
        return Run(self.home, self.id().split(".")[-1] + str(random.random())[2:8],
                   spec if spec is not None else merged(SPEC, change or {}))

    # ---- training

    def test_learns_and_tells(self):
        r = self.reference
        records = r.journal()
        start, steps, evals, end = records[0], of_kind(records, "step"), of_kind(records, "eval"), records[-1]
        self.assertEqual(start["kind"], "start")
        self.assertEqual(end["kind"], "end")
        self.assertEqual((end["reason"], end["step"]), ("finished", start["total_steps"]))
        # 19,000 train tokens, 18,999 predictions in windows of 32: 594 windows, 149 steps of 4, 223.5 steps asked for.
        self.assertEqual(start["tokens_per_epoch"], 18999)
        self.assertEqual(start["steps_per_epoch"], 149)
        self.assertEqual(start["total_steps"], 224)
        self.assertEqual((start["attempt"], start["resume_step"], start["backend"]), (1, 0, "cpu"))
        self.assertEqual([s["step"] for s in steps], list(range(1, 225)))
        self.assertEqual(steps[148]["tokens"], 18999)
        self.assertEqual(steps[148]["epoch"], 1.0)
        self.assertLess(abs(steps[0]["loss"] - 5.545), 0.6)  # ln 256 at the start
        first, last = (sum(s["loss"] for s in part) / 20 for part in (steps[:20], steps[-20:]))
        self.assertLess(last, 0.5 * first)
        self.assertEqual([e["step"] for e in evals], sorted(set(range(20, 225, 20)) | {149, 224}))
        for e in evals:
            self.assertEqual(e["split"], "val")
            self.assertIn(e["predictions"], (999, 1000))
            self.assertAlmostEqual(e["bits_per_byte"], e["loss"] / 0.6931471805599453, places=12)
        self.assertLess(evals[-1]["loss"], 0.6 * evals[0]["loss"] + 1)
        # An evaluation comes before the checkpoint of the same step, each after its step.
        order = [(x["step"], x["kind"]) for x in records if x["kind"] in ("step", "eval", "checkpoint")]
        self.assertEqual(order, sorted(order, key=lambda x: (x[0], ("step", "eval", "checkpoint").index(x[1]))))
        for c in of_kind(records, "checkpoint"):
            folder = r.dir / c["path"]
            self.assertEqual(c["bytes"], sum(f.stat().st_size for f in folder.iterdir()))
        self.assertEqual(r.checkpoints()[-1], "224-a1")
        self.assertEqual([p for p in (r.dir / "checkpoints").iterdir() if p.name.startswith(".")], [])

    def test_exit_json(self):
        e = self.reference.exit()
        self.assertEqual(set(e), {"status", "signal", "core", "maxrss", "cpu_s", "boot_id", "pid", "trainer_pid"})
        self.assertEqual((e["status"], e["signal"], e["core"]), (0, 0, False))
        self.assertGreater(e["maxrss"], 1 << 20)
        self.assertGreater(e["cpu_s"], 0)
        self.assertEqual(e["boot_id"], pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        self.assertEqual(e["trainer_pid"], self.reference.journal()[0]["pid"])
        pid, start, boot = self.reference.path("lock").read_text().split()
        self.assertEqual((int(pid), boot), (e["pid"], e["boot_id"]))
        self.assertGreater(int(start), 0)

    def test_same_again_and_with_two_threads(self):
        for threads in (1, 2):
            r = self.run_of()
            self.assertEqual(r.go(threads=threads), 0, r.log())
            self.assertEqual(r.curve(), self.reference.curve())
            self.assertEqual(r.curve("eval"), self.reference.curve("eval"))
            self.assertEqual(r.final_model(), self.reference.final_model())
            self.assertEqual(r.journal()[0]["numerics_id"], self.reference.journal()[0]["numerics_id"])

    def test_checkpointing_changes_nothing(self):
        r = self.run_of({"train": {"checkpoint_every": 1}})
        self.assertEqual(r.go(), 0, r.log())
        self.assertEqual(r.curve(), self.reference.curve())
        self.assertEqual(len(r.checkpoints()), 224)
        r = self.run_of({"train": {"checkpoint_every": 0}})
        self.assertEqual(r.go(), 0, r.log())
        self.assertEqual(r.curve(), self.reference.curve())
        self.assertEqual(r.checkpoints()[-1], "224-a1")

    def test_another_seed_is_another_run(self):
        r = self.run_of({"train": {"seed": 4, "steps": 3}})
        self.assertEqual(r.go(), 0, r.log())
        self.assertNotEqual(r.curve()[0][3], self.reference.curve()[0][3])
        self.assertNotEqual(r.journal()[0]["numerics_id"], self.reference.journal()[0]["numerics_id"])

    def test_micro_batches_sum_to_the_batch(self):
        r = self.run_of({"train": {"micro_batch": 1, "steps": 30}})
        whole = self.run_of({"train": {"micro_batch": 4, "steps": 30}})
        self.assertEqual((r.go(), whole.go()), (0, 0), r.log())
        for a, b in zip(r.curve(), whole.curve()):
            self.assertAlmostEqual(a[3], b[3], delta=2e-4)
            self.assertEqual(a[2], b[2])
        self.assertEqual(r.journal()[0]["micro_batch"], 1)
        self.assertNotEqual(r.journal()[0]["numerics_id"], whole.journal()[0]["numerics_id"])

    def test_steps_replace_epochs_and_no_validation(self):
        self.prepare("all_train", words(3000), "--val-fraction", "0")
        r = self.run_of({"data": {"name": "all_train"}, "train": {"steps": 7}})
        self.assertEqual(r.go(), 0, r.log())
        self.assertEqual(r.end()["step"], 7)
        self.assertEqual(of_kind(r.journal(), "eval"), [])

    def test_stream_order_learns(self):
        r = self.run_of({"data": {"order": "stream"}, "train": {"epochs": 1}})
        self.assertEqual(r.go(), 0, r.log())
        curve = r.curve()
        self.assertLess(curve[-1][3], 0.6 * curve[0][3])
        self.assertEqual(curve[-1][2], 18999)

    def test_safetensors_by_the_published_format(self):
        tensors, header = read_safetensors(self.reference.dir / self.reference.newest() / "model.safetensors")
        self.assertEqual(header["__metadata__"], {"format": "pt"})
        parameters = {n: t for n, t in tensors.items() if not n.endswith((".m", ".v"))}
        self.assertEqual(len(tensors), 3 * len(parameters))
        count = 0
        for name, (dtype, shape, data) in parameters.items():
            n = 1
            for d in shape:
                n *= d
            self.assertEqual(dtype, "F32")
            self.assertEqual(len(data), 4 * n)
            for suffix in (".m", ".v"):
                self.assertEqual(tensors[name + suffix][:2], (dtype, shape))
            values = struct.unpack(f"<{n}f", data)
            self.assertTrue(all(abs(v) < 100 for v in values), name)
            count += n
        self.assertEqual(count, self.reference.journal()[0]["params"])
        self.assertEqual(parameters["embed.weight"][1], [256, 32])
        self.assertEqual(parameters["final_norm.weight"][1], [32])

    def test_time_to_the_first_step(self):
        r = self.run_of({"train": {"steps": 1}})
        begin = time.monotonic()
        p = r.start()
        wait_until("first step", lambda: of_kind(r.journal(), "step"))
        took = time.monotonic() - begin
        self.assertEqual(p.wait(timeout=PATIENCE), 0)
        print(f"launch to first step: {took * 1e3:.0f} ms", file=sys.stderr)
        self.assertLess(took, PATIENCE / 6)

    # ---- kills and resumes

    def same_as_reference(self, r):
        self.assertEqual(r.curve(), self.reference.curve())
        self.assertEqual(r.curve("eval"), self.reference.curve("eval"))
        self.assertEqual(r.final_model(), self.reference.final_model())

    def kill_and_resume(self, victim):
        """Kills at random steps until KILLS kills have hit a running attempt, then lets the run finish."""
        rng = random.Random(victim)
        r = self.run_of()
        hits = 0
        while True:
            resume = r.newest()
            p = r.start(resume, threads=1 + r.attempt % 2)
            if hits < KILLS:
                ahead = rng.randrange(0, 30)
                wait_until("steps", lambda: p.poll() is not None or len(of_kind(r.journal(), "step")) >= ahead)
                start = of_kind(r.journal(), "start")
                pid = p.pid if victim == "keeper" else start[0]["pid"] if start else None
                if pid is not None and p.poll() is None:
                    try:
                        os.kill(pid, signal.SIGKILL)
                        hits += 1
                    except ProcessLookupError:
                        pass
            status = p.wait(timeout=PATIENCE)
            if start_pid := [s["pid"] for s in of_kind(r.journal(), "start")]:
                wait_until("end of the trainer", lambda: not alive(start_pid[0]))
            if status == 0:
                break
            if victim == "keeper":
                self.assertEqual(status, -signal.SIGKILL)
                self.assertFalse(r.path("exit.json").exists())
            else:
                self.assertEqual(status, 128 + signal.SIGKILL)
                self.assertEqual((r.exit()["status"], r.exit()["signal"]), (-1, signal.SIGKILL))
            self.assertLess(r.attempt, 20 * KILLS)
        self.assertGreater(hits, KILLS // 2)
        self.same_as_reference(r)

    def test_killed_trainer(self):
        self.kill_and_resume("trainer")

    def test_killed_keeper_takes_the_trainer_along(self):
        self.kill_and_resume("keeper")

    def test_resume_from_every_checkpoint(self):
        r = self.run_of()
        self.assertEqual(r.go(), 0, r.log())
        for name in r.checkpoints():
            other = self.run_of()
            shutil.copytree(r.dir / "checkpoints" / name, other.dir / "checkpoints" / name)
            other.attempt = 1
            self.assertEqual(other.go(f"checkpoints/{name}"), 0, other.log())
            step = int(name.split("-")[0])
            self.assertEqual(of_kind(other.journal(), "start")[0]["resume_step"], step)
            self.assertEqual(other.curve(), self.reference.curve()[step:])
            self.assertEqual(other.curve("eval"), [e for e in self.reference.curve("eval") if e[0] > step])
            self.assertEqual(other.final_model(), self.reference.final_model())

    def test_sigterm_checkpoints_and_resumes(self):
        for whole_group in (False, True):
            r = self.run_of({"train": {"checkpoint_every": 1000}})
            p = r.start()
            wait_until("ten steps", lambda: len(of_kind(r.journal(), "step")) >= 10)
            if whole_group:
                os.killpg(p.pid, signal.SIGTERM)  # reaches the trainer twice: it is still one request
            else:
                p.terminate()
            self.assertEqual(p.wait(timeout=PATIENCE), 0, r.log())
            end = r.end()
            self.assertEqual(end["reason"], "stopped")
            self.assertEqual(r.newest(), f"checkpoints/{end['step']}-a1")
            self.assertEqual(of_kind(r.journal(), "step")[-1]["step"], end["step"])
            self.assertEqual((r.exit()["status"], r.exit()["signal"]), (0, 0))
            self.assertEqual(r.go(r.newest()), 0, r.log())
            self.same_as_reference(r)

    def test_sigterm_at_once_loses_nothing(self):
        """As early as it can come: before the trainer has its handlers, or before its first step."""
        for delay in (0, 0.002, 0.005, 0.01, 0.02):
            r = self.run_of()
            p = r.start()
            wait_until("lock", lambda: r.path("lock").exists() and r.path("lock").read_text())
            time.sleep(delay)
            p.terminate()
            status = p.wait(timeout=PATIENCE)
            if status == -signal.SIGTERM:
                self.assertFalse(r.path("exit.json").exists())  # before the keeper blocks signals: never launched
                continue
            self.assertEqual(status, 0, r.log())
            self.assertEqual(r.end()["reason"], "stopped")
            self.assertEqual(r.go(r.newest()), 0, r.log())
            self.same_as_reference(r)

    def test_second_sigterm_leaves_at_once(self):
        r = self.run_of({"train": {"epochs": 1000, "seq_len": 512, "batch": 32}, "model": {"dim": 256}})
        p = r.start()
        start = wait_until("start", lambda: of_kind(r.journal(), "start"))[0]
        time.sleep(0.1)
        os.kill(start["pid"], signal.SIGTERM)
        os.kill(start["pid"], signal.SIGTERM)  # may merge with the first while that is pending
        time.sleep(0.01)
        if p.poll() is None:
            try:
                os.kill(start["pid"], signal.SIGTERM)
            except ProcessLookupError:
                pass
        self.assertEqual(p.wait(timeout=PATIENCE), 128 + signal.SIGTERM)
        self.assertEqual(r.exit()["signal"], signal.SIGTERM)

    def test_sigusr1_checkpoints_and_goes_on(self):
        r = self.run_of({"train": {"checkpoint_every": 1000}})
        p = r.start()
        wait_until("ten steps", lambda: len(of_kind(r.journal(), "step")) >= 10)
        p.send_signal(signal.SIGUSR1)
        self.assertEqual(p.wait(timeout=PATIENCE), 0)
        made = [c["step"] for c in of_kind(r.journal(), "checkpoint")]
        self.assertEqual(len(made), 2, made)
        self.assertEqual(made[-1], 224)
        self.same_as_reference(r)

    def test_sigquit_shows_the_stack(self):
        r = self.run_of({"train": {"epochs": 20}})
        p = r.start()
        wait_until("ten steps", lambda: len(of_kind(r.journal(), "step")) >= 10)
        p.send_signal(signal.SIGQUIT)
        wait_until("stack", lambda: "SIGQUIT, stack of the main thread" in r.log() and "baka-worker(" in r.log())
        n = len(of_kind(r.journal(), "step"))
        wait_until("more steps", lambda: len(of_kind(r.journal(), "step")) > n)
        p.terminate()
        self.assertEqual(p.wait(timeout=PATIENCE), 0)

    def test_resuming_a_finished_run_only_ends(self):
        r = self.run_of()
        self.assertEqual(r.go(), 0, r.log())
        self.assertEqual(r.go("checkpoints/224-a1"), 0, r.log())
        self.assertEqual([x["kind"] for x in r.journal()], ["start", "end"])
        self.assertEqual(r.end()["reason"], "finished")

    # ---- locks and processes

    def test_a_held_lock_is_refused(self):
        r = self.run_of()
        r.path("x", 1).parent.mkdir(parents=True)
        with open(r.path("lock", 1), "w") as lock:
            fcntl.fcntl(lock, getattr(fcntl, "F_OFD_SETLK", 37), struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
            self.assertEqual(r.go(), 1)
            self.assertIn("is locked: attempt 1 is running already", r.log())
            self.assertFalse(r.path("journal").exists())
            # With the descriptor handed over it is the same lock, and goes.
            p = subprocess.run(r.command(1, "none", 1) + ["--lock-fd", str(lock.fileno())], pass_fds=[lock.fileno()],
                               capture_output=True, text=True)
            self.assertEqual(p.returncode, 0, p.stderr)
        self.assertEqual(r.end(1)["reason"], "finished")

    def test_a_foreign_lock_descriptor_is_refused(self):
        r = self.run_of()
        with tempfile.TemporaryFile() as other:
            p = subprocess.run(r.command(1, "none", 1) + ["--lock-fd", str(other.fileno())], pass_fds=[other.fileno()],
                               capture_output=True, text=True)
        self.assertEqual(p.returncode, 1)
        self.assertRegex(p.stderr, r"^baka-worker: --lock-fd \d+ is not .*/lock\n$")

    def test_the_lock_goes_with_the_keeper(self):
        r = self.run_of({"train": {"epochs": 100}})
        p = r.start()
        start = wait_until("start", lambda: of_kind(r.journal(), "start"))[0]
        locks = pathlib.Path("/proc/locks").read_text()
        self.assertIn(str(os.stat(r.path("lock")).st_ino), locks)
        fds = [os.readlink(f) for f in pathlib.Path(f"/proc/{start['pid']}/fd").iterdir()]
        self.assertNotIn(str(r.path("lock")), fds)  # the trainer gave its copy up
        self.assertEqual(pathlib.Path(f"/proc/{p.pid}/comm").read_text().strip(), "baka-keeper")
        self.assertEqual(pathlib.Path(f"/proc/{start['pid']}/comm").read_text().strip(), "baka-trainer")
        self.assertEqual(len(list(pathlib.Path(f"/proc/{p.pid}/task").iterdir())), 1)
        rollup = pathlib.Path(f"/proc/{p.pid}/smaps_rollup").read_text()
        private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
        print(f"keeper's private memory: {private} kB", file=sys.stderr)
        if not SANITIZED:
            self.assertLess(private, 2048)
        os.kill(p.pid, signal.SIGKILL)
        p.wait()
        wait_until("end of the trainer", lambda: not alive(start["pid"]), 5)

    def test_an_attempt_is_never_run_twice(self):
        r = self.run_of({"train": {"steps": 2}})
        self.assertEqual(r.go(), 0)
        before = r.path("journal").read_bytes()
        r.attempt = 0
        self.assertEqual(r.go(), 1)
        self.assertIn("an attempt is never run twice", r.log())
        self.assertEqual(r.path("journal").read_bytes(), before)

    # ---- bad input

    def fails(self, r, reason, text, resume="none", **popen):
        self.assertEqual(r.go(resume, **popen), 1, r.log())
        end = r.end()
        self.assertEqual(end["reason"], reason)
        self.assertIn(text, end["text"])
        self.assertEqual(r.exit()["status"], 1)
        self.assertEqual(of_kind(r.journal(), "step"), [])

    def test_bad_spec(self):
        self.fails(self.run_of({"model": {"dim": 33}}), "bad_spec", "model.")
        self.fails(self.run_of({"model": {"dimm": 32}}), "bad_spec", "dim")
        self.fails(self.run_of({"model": {"vocab": 100}}), "bad_spec", "model.vocab")
        self.fails(self.run_of(spec="{"), "bad_spec", "line 1, column 2")
        r = self.run_of()
        (r.dir / "spec.json").unlink()
        self.fails(r, "bad_spec", "spec.json")

    def test_bad_data(self):
        self.fails(self.run_of({"data": {"name": "absent"}}), "bad_data", "absent")
        self.prepare("hurt", words(5000))
        tokens = self.home / "data/hurt/tokens"
        os.chmod(tokens, 0o644)
        whole = tokens.read_bytes()
        tokens.write_bytes(whole[:-100])
        self.fails(self.run_of({"data": {"name": "hurt"}}), "bad_data", "hurt")
        tokens.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        self.fails(self.run_of({"data": {"name": "hurt"}}), "bad_data", "hurt")

    def test_other_data_than_the_checkpoints(self):
        r = self.run_of({"data": {"name": "changes"}, "train": {"steps": 2}})
        self.prepare("changes", words(5000))
        self.assertEqual(r.go(), 0, r.log())
        shutil.rmtree(self.home / "data/changes")
        self.prepare("changes", words(5000, seed=2))
        self.fails(r, "bad_data", "changes", "checkpoints/2-a1")

    def test_device_that_is_absent(self):
        r = self.run_of({"train": {"device": "cuda"}})
        self.assertEqual(r.go(), 1)
        self.assertIn(r.end()["reason"], ("backend_error", "bad_spec"))

    def test_damaged_checkpoint(self):
        r = self.run_of({"train": {"steps": 4, "checkpoint_every": 2}})
        self.assertEqual(r.go(), 0, r.log())
        good = r.dir / "checkpoints/2-a1"
        for name in ("model.safetensors", "state.json", "manifest.json"):
            whole = (good / name).read_bytes()
            for damage in (whole[:-1], whole[: len(whole) // 2], whole[:9] + bytes([whole[9] ^ 4]) + whole[10:], None):
                if damage is None:
                    (good / name).unlink()
                else:
                    (good / name).write_bytes(damage)
                self.fails(r, "bad_checkpoint", "checkpoints/2-a1", "checkpoints/2-a1")
                self.assertEqual(of_kind(r.journal(), "start"), [])
            (good / name).write_bytes(whole)
        self.fails(r, "bad_checkpoint", "checkpoints/9-a1", "checkpoints/9-a1")
        self.fails(r, "bad_checkpoint", "../2-a1", "../2-a1")
        self.assertEqual(r.go("checkpoints/2-a1"), 0, r.log())
        # Of another spec: shapes that fit are no excuse.
        spec = json.loads((r.dir / "spec.json").read_text())
        (r.dir / "spec.json").write_text(json.dumps(merged(spec, {"train": {"seed": 9}})))
        self.fails(r, "bad_checkpoint", "another spec", "checkpoints/2-a1")

    def test_file_size_limit(self):
        """A disk that fills: the journal keeps whole records, the attempt ends as disk_full, a later one goes on."""
        hit = 0
        for limit in (4400, 9000, 20000, 40000):
            r = self.run_of({"train": {"checkpoint_every": 1000}})
            status = r.go(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
            self.assertEqual(status, 1, r.log())
            data = r.path("journal").read_bytes()
            self.assertLessEqual(len(data), limit)
            self.assertTrue(data.endswith(b"\n"))
            self.assertEqual(r.end()["reason"], "disk_full")
            hit += len(of_kind(r.journal(), "step")) > 0
            self.assertEqual(list((r.dir / "checkpoints").glob("*")) if (r.dir / "checkpoints").exists() else [], [])
            self.assertEqual(r.go(r.newest()), 0, r.log())
            self.same_as_reference(r)
        self.assertGreater(hit, 0)

    def test_full_disk(self):
        """A real one: first the journal finds no room, then the checkpoint; the exit status is told all the same."""
        reasons = []
        for size, every in ((32, 1000), (40, 1000), (48, 1000), (96, 40), (256, 40), (600, 40)):
            r = self.run_of()
            if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(r.dir)],
                              capture_output=True).returncode != 0:
                self.skipTest("mounting a tmpfs is not permitted here")
            try:
                (r.dir / "spec.json").write_text(json.dumps(merged(SPEC, {"train": {"checkpoint_every": every}})))
                self.assertEqual(r.go(), 1, r.log())
                self.assertTrue(r.path("journal").read_bytes().endswith(b"\n"))
                self.assertEqual(r.end()["reason"], "disk_full")
                self.assertEqual(r.exit()["status"], 1)
                self.assertEqual([p for p in r.dir.glob("checkpoints/.tmp*")], [])
                reasons.append(r.end()["text"])
                subprocess.run(["mount", "-o", "remount,size=16m", str(r.dir)], check=True)
                self.assertEqual(r.go(r.newest()), 0, r.log())
                self.same_as_reference(r)
            finally:
                subprocess.run(["umount", str(r.dir)], check=True)
        self.assertTrue(any("journal" in t for t in reasons), reasons)
        self.assertTrue(any("checkpoints" in t for t in reasons), reasons)

    def test_diverging_stops_or_skips(self):
        # Decay alone multiplies the weights by about -10^6 a step.
        wild = {"train": {"optimizer": {"lr": 1000}, "weight_decay": 1000, "clip": 0, "warmup": 0,
                          "schedule": "constant", "steps": 40}}
        r = self.run_of(wild)
        self.assertEqual(r.go(), 1, r.log())
        self.assertEqual(r.end()["reason"], "diverged")
        last = of_kind(r.journal(), "step")[-1]
        self.assertTrue(isinstance(last["loss"], str) or isinstance(last["grad_norm"], str), last)
        self.assertEqual(r.end()["step"], last["step"])
        r = self.run_of(merged(wild, {"train": {"on_nonfinite": "skip"}}))
        self.assertEqual(r.go(), 0, r.log())
        self.assertEqual(len(of_kind(r.journal(), "step")), 40)
        self.assertTrue(any("skipped" in n["text"] for n in of_kind(r.journal(), "note")))

    # ---- command line

    def tool(self, *arguments):
        return subprocess.run([str(WORKER), *map(str, arguments)], capture_output=True, text=True)

    def test_plan(self):
        spec = self.home / "plan.json"
        spec.write_text(json.dumps(SPEC))
        p = self.tool("--home", self.home, "--plan", spec)
        self.assertEqual(p.returncode, 0, p.stderr)
        plan = json.loads(p.stdout)
        start = self.reference.journal()[0]
        self.assertEqual(plan["params"], start["params"])
        self.assertEqual(plan["bytes"]["total"], start["memory_bytes"])
        self.assertGreater(plan["flops_per_token"], 0)
        spec.write_text(json.dumps(merged(SPEC, {"data": {"name": "absent"}, "model": {"vocab": 1000}})))
        self.assertEqual(json.loads(self.tool("--plan", spec).stdout)["params"], plan["params"] + 2 * 32 * 744)
        bad = [merged(SPEC, {"data": {"name": "absent"}}), merged(SPEC, {"model": {"dim": "x"}}),
               merged(SPEC, {"modle": 1})]
        for s, path in zip(bad, ("model.vocab", "model.dim", "modle")):
            spec.write_text(json.dumps(s))
            p = self.tool("--home", self.home, "--plan", spec)
            self.assertEqual((p.returncode, p.stdout), (1, ""))
            self.assertRegex(p.stderr, rf"^baka-worker: .*{path}.*\n$")
        p = self.tool("--plan", self.home / "absent.json")
        self.assertEqual(p.returncode, 1)
        self.assertRegex(p.stderr, r"^baka-worker: .*absent\.json.*\n$")

    def test_describe_help_version(self):
        schema = json.loads(self.tool("--describe", "schema").stdout)
        self.assertIn("properties", schema)
        self.assertIn("train.seq_len", self.tool("--describe", "markdown").stdout)
        self.assertRegex(self.tool("--version").stdout, r"^baka-worker \d+\.\d+\.\d+\n$")
        p = self.tool("--help")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertIn("--run-dir", p.stdout)
        with open("/dev/full", "w") as full:
            self.assertEqual(subprocess.run([str(WORKER), "--help"], stdout=full, stderr=subprocess.PIPE).returncode, 1)

    def test_usage(self):
        for arguments in ((), ("--run-dir", "x"), ("--run-dir", "x", "--attempt", "1"), ("--nope",), ("--attempt",),
                          ("--run-dir", "x", "--attempt", "0", "--resume", "none"),
                          ("--run-dir", "x", "--attempt", "1x", "--resume", "none"),
                          ("--run-dir", "x", "--attempt", "1", "--resume", ""),
                          ("--run-dir", "x", "--attempt", "1", "--resume", "none", "--threads", "0"),
                          ("--run-dir", "x", "--attempt", "1", "--resume", "none", "extra"),
                          ("--describe", "poetry"), ("--plan", "x", "--version")):
            p = self.tool(*arguments)
            self.assertEqual((p.returncode, p.stdout), (2, ""), arguments)
            lines = p.stderr.splitlines()
            self.assertEqual(len(lines), 2, p.stderr)
            self.assertTrue(lines[0].startswith("baka-worker: "), p.stderr)
            self.assertIn("--help", lines[1])


if __name__ == "__main__":
    unittest.main()
