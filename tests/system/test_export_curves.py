#!/usr/bin/env python3
"""test_export_curves.py - curves on their way out lose nothing: CSV, JSON lines and TensorBoard's event files, the last
read back by a reader written from TensorFlow's descriptions of the formats, not from the writer."""
import json
import math
import pathlib
import struct
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import DaemonCase  # noqa: E402

TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def unmask(value):
    value = value - 0xA282EAD8 & 0xFFFFFFFF
    return (value >> 17 | value << 15) & 0xFFFFFFFF


def records(data):
    """TFRecord's framing (tensorflow/core/lib/io/record_writer.h)."""
    at = 0
    while at < len(data):
        size, size_crc = struct.unpack_from("<QI", data, at)
        body = data[at + 12:at + 12 + size]
        (crc,) = struct.unpack_from("<I", data, at + 12 + size)
        assert unmask(size_crc) == crc32c(data[at:at + 8]), "the length's sum"
        assert len(body) == size and unmask(crc) == crc32c(body), "the record's sum"
        yield body
        at += 16 + size


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, value) of a protobuf message: integers, 8-byte strings of fixed64, bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 1:
            value, at = data[at:at + 8], at + 8
        elif key & 7 == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            raise AssertionError(f"wire type {key & 7}")
        yield key >> 3, value
    assert at == len(data)


def scalar(value):
    """Summary.Value: tag 1, tensor 8 {dtype 1, shape 2, content 4}, metadata 9 {plugin_data 1 {name 1}, class 4}."""
    top = dict(fields(value))
    tensor, metadata = dict(fields(top[8])), dict(fields(top[9]))
    assert (tensor[1], tensor[2]) == (2, b""), "a double without dimensions"
    assert (dict(fields(metadata[1]))[1], metadata[4]) == (b"scalars", 1)
    return top[1].decode(), struct.unpack("<d", tensor[4])[0]


def read_events(path):
    """[(wall time, step, {tag: value})]; the version's event is checked and left out."""
    events = []
    for n, body in enumerate(records(path.read_bytes())):
        event = dict(fields(body))
        (wall,) = struct.unpack("<d", event[1])
        if n == 0:
            assert event[3] == b"brain.Event:2", event
        else:
            events.append((wall, event[2], dict(scalar(v) for k, v in fields(event[5]) if k == 1)))
    return events


def bits(x):
    return struct.pack("<d", x) if x == x else b"nan"


def parse(text):
    """Python reads -0 as the integer 0."""
    return json.loads(text, parse_int=lambda s: float(s) if s == "-0" else int(s))


def number(x):
    return float(x)


class Exports(DaemonCase):
    # what is lost by printing fewer digits, or in 32 bits
    LOSSES = [0.1, 1 / 3, math.pi, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, math.nextafter(2, 3), -0.0,
              1e-9 + 1, 123456789.123456789]

    def bring(self, name="odd"):
        path = self.d.root / "curve.csv"
        rows = [(s, repr(s / 3), s * 7, repr(loss), repr(loss) if s % 2 else "") for s, loss in enumerate(self.LOSSES, 1)]
        rows += [(11, 4.0, 77, "nan", ""), (12, 4.5, 84, "inf", "nan"), (13, 5.0, 91, "-inf", "")]
        path.write_text("step,epoch,tokens,loss,val_loss\n" + "".join(",".join(map(str, r)) + "\n" for r in rows))
        return self.d.json("import", path, "--name", name)["runs"][0]["id"], rows

    def test_words_and_digits(self):
        run, rows = self.bring()
        lines = [parse(l) for l in self.d.ctl("steps", run, "--jsonl").stdout.splitlines()]
        self.assertEqual(lines, self.d.json("steps", run))
        csv = [l.split(",") for l in self.d.ctl("steps", run, "--csv").stdout.splitlines()[1:]]
        for line, cells, row in zip(lines, csv, rows, strict=True):
            self.assertEqual([bits(number(x)) for x in (line["epoch"], line["loss"])],
                             [bits(number(x)) for x in (row[1], row[3])])
            self.assertEqual(bits(number(cells[3])), bits(number(row[3])))
            self.assertEqual((line["step"], line["tokens"]), (row[0], row[2]))
        evals = [parse(l) for l in self.d.ctl("evals", run, "--jsonl").stdout.splitlines()]
        self.assertEqual([bits(number(e["loss"])) for e in evals], [bits(number(r[4])) for r in rows if r[4]])
        for verb in ("steps", "evals"):
            p = self.d.ctl(verb, run, "--jsonl", "--csv", check=False)
            self.assertEqual((p.returncode, "exclude each other" in p.stderr), (2, True))

    def test_tensorboard(self):
        run, rows = self.bring()
        trained = self.d.queue("n50.j7")
        self.d.until(trained, "finished")
        board = self.d.root / "board"
        told = self.d.json("export", "--tensorboard", run, trained, "-o", board)
        self.assertEqual([(t["run"], t["steps"]) for t in told], [(run, 13), (trained, 50)])
        events = read_events(pathlib.Path(told[0]["path"]))
        self.assertEqual(pathlib.Path(told[0]["path"]).parent, board / "odd")
        got = [(step, values["train/loss"]) for _, step, values in events if "train/loss" in values]
        self.assertEqual([(s, bits(v)) for s, v in got], [(r[0], bits(number(r[3]))) for r in rows])
        got = [(step, bits(values["val/loss"])) for _, step, values in events if "val/loss" in values]
        self.assertEqual(got, [(r[0], bits(number(r[4]))) for r in rows if r[4]])
        self.assertNotIn("speed/ms", events[0][2])  # an import has none
        # a run: all that a step has, at a time of its own
        events = read_events(pathlib.Path(told[1]["path"]))
        steps = [e for e in events if "train/loss" in e[2]]
        for (_, step, values), known in zip(steps, self.d.json("steps", trained), strict=True):
            self.assertEqual(step, known["step"])
            for tag in ("loss", "lr", "grad_norm", "epoch"):
                self.assertEqual(bits(values[f"train/{tag}"]), bits(number(known[tag])))
            self.assertEqual(values["speed/ms"], known["ms"])
        start = self.d.json("show", trained)["started_ms"] / 1000
        self.assertAlmostEqual(steps[-1][0], start + 0.050, places=3)
        # once is enough: TensorBoard would draw both
        again = self.d.ctl("export", "--tensorboard", run, "-o", board, check=False)
        self.assertEqual((again.returncode, "holds event files already" in again.stderr), (1, True))
        self.assertEqual(len(list(board.rglob("*"))), 4)

    def test_names_that_two_runs_share(self):
        ids = [self.bring("twin")[0] for _ in range(2)]
        told = self.d.json("export", "--tensorboard", *ids, "-o", self.d.root / "board")
        self.assertEqual([pathlib.Path(t["path"]).parent.name for t in told], [f"twin-{i}" for i in ids])

    def test_usage(self):
        run, _ = self.bring()
        for words, args in (("one of --hf and --tensorboard is needed", (run, "-o", "x")),
                            ("one of --hf and --tensorboard is needed", ("--hf", "--tensorboard", run, "-o", "x")),
                            ("--hf takes one run", ("--hf", run, run, "-o", "x")),
                            ("-o DIR is needed", ("--tensorboard", run))):
            p = self.d.ctl("export", *args, check=False)
            self.assertEqual((p.returncode, words in p.stderr), (2, True), p.stderr)
        p = self.d.ctl("export", "--tensorboard", run, "-o", "/proc/board", check=False)
        self.assertEqual((p.returncode, len(p.stderr.splitlines())), (1, 1))

    def test_the_sum_is_the_known_one(self):
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)  # the catalogue's check value of CRC-32C


if __name__ == "__main__":
    unittest.main(verbosity=2)
