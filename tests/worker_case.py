"""Run directories and attempts of baka-worker, driven as bakad does; for tests/system/test_worker*.py."""
import json
import pathlib
import random
import shutil
import struct
import subprocess
import tempfile
import unittest

from harness import BAKACTL, WORKER

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

    def start(self, resume="none", threads=1, more=(), **popen):
        self.attempt += 1
        folder = self.dir / "attempts" / str(self.attempt)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "worker.log", "ab") as log:
            return subprocess.Popen([*self.command(self.attempt, resume, threads), *more], stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log, start_new_session=True, **popen)

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


class WorkerCase(unittest.TestCase):
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

    def same_as_reference(self, r):
        self.assertEqual(r.curve(), self.reference.curve())
        self.assertEqual(r.curve("eval"), self.reference.curve("eval"))
        self.assertEqual(r.final_model(), self.reference.final_model())
