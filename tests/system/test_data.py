"""bakactl data: prepare, list, dump, verify as a user runs them; no daemon. BAKA_BUILD names the build folder."""

import array
import fractions
import hashlib
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

BUILD = os.path.abspath(os.environ.get("BAKA_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build")))
BAKACTL = os.path.join(BUILD, "cli", "bakactl")
MIB = 1 << 20


class DataTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="baka-data-")
        self.home = os.path.join(self.dir, "home")
        self.addCleanup(shutil.rmtree, self.dir)

    def ctl(self, *args, **more):
        more.setdefault("stdin", subprocess.DEVNULL)
        command = [BAKACTL, "--home", self.home, *args]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **more)

    def ok(self, *args, **more):
        done = self.ctl(*args, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, b"")
        return done.stdout

    def refused(self, code, words, *args, **more):
        """One clear line on standard error, nothing on standard output."""
        done = self.ctl(*args, **more)
        text = done.stderr.decode()
        self.assertEqual(done.returncode, code, text)
        self.assertEqual(text.count("\n"), 1, text)
        self.assertIn(words, text)
        self.assertEqual(done.stdout, b"")
        return text

    def file(self, name, content):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def tokens(self, name):
        return os.path.join(self.home, "data", name, "tokens")

    def dump(self, name, *args):
        ids = array.array("I")
        ids.frombytes(self.ok("data", "dump", name, *args))
        return list(ids)

    def entries(self):
        return sorted(os.listdir(os.path.join(self.home, "data")))


class Prepare(DataTest):
    def test_round_trip_of_several_files(self):
        rng = random.Random(3)
        for round_ in range(12):
            parts = [rng.randbytes(rng.choice([0, 1, 7, 4096, 70000])) for _ in range(rng.randint(1, 4))] + [b"end"]
            paths = [self.file(f"t{i}", part) for i, part in enumerate(parts)]
            name, fraction = f"set{round_}", rng.choice([0, 0.05, 0.1, 0.29, 0.5, 0.999])
            made = json.loads(self.ok("data", "prepare", "--tokenizer", "bytes", *paths, "-o", name,
                                      "--val-fraction", str(fraction), "--json"))
            text = b"".join(parts)
            val = math.floor(fractions.Fraction(str(fraction)) * len(text))
            self.assertEqual(made["tokens"], len(text))
            self.assertEqual((made["train"], made["val"]), (len(text) - val, val))
            self.assertEqual(made["documents"], sum(1 for part in parts if part))
            self.assertEqual(self.dump(name), list(text))
            self.assertEqual(self.dump(name, "--split", "train"), list(text[:len(text) - val]))
            self.assertEqual(self.dump(name, "--split=val"), list(text[len(text) - val:]))
            self.assertIn(made["hash"].encode(), self.ok("data", "verify", name))
        listed = json.loads(self.ok("data", "list", "--json"))["data"]
        self.assertEqual([d["name"] for d in listed], sorted(f"set{i}" for i in range(12)))

    def test_default_share_and_tokenizer(self):
        path = self.file("t", bytes(1999))
        made = json.loads(self.ok("data", "prepare", path, "-o", "d", "--json"))
        self.assertEqual((made["tokenizer"], made["vocab"], made["val"]), ("bytes", 256, 99))
        self.assertIn(b"1999 tokens", self.ok("data", "prepare", path, "-o", "d", "--replace"))

    def test_share_is_exact(self):
        """As doubles 0.29 of 100 is 28.999999999999996, and 0.57 of 100 is 56.99999999999999."""
        path = self.file("t", bytes(100))
        for share, val in (("0.29", 29), ("0.57", 57), (".05", 5), ("5e-2", 5), ("0.999", 99), ("0.00", 0)):
            made = json.loads(self.ok("data", "prepare", path, "-o", "d", "--replace", "--val-fraction", share, "--json"))
            self.assertEqual((share, made["val"]), (share, val))

    def test_validation_by_files(self):
        paths = [self.file(name, name.encode() * 10) for name in ("a", "b", "c")]
        made = json.loads(self.ok("data", "prepare", paths[0], "--val", paths[1], "--val", paths[2], "-o", "d", "--json"))
        self.assertEqual((made["train"], made["val"], made["documents"]), (10, 20, 3))
        self.assertEqual(self.dump("d", "--split", "val"), list(b"b" * 10 + b"c" * 10))
        self.refused(2, "exclude each other", "data", "prepare", paths[0], "--val", paths[1], "--val-fraction", "0", "-o", "e")

    def test_standard_input(self):
        self.ok("data", "prepare", "-", "-o", "d", "--val-fraction", "0", stdin=None, input=b"from a pipe")
        self.assertEqual(bytes(self.dump("d")), b"from a pipe")

    def test_equal_text_equal_hash(self):
        text = random.Random(1).randbytes(5000)
        one = json.loads(self.ok("data", "prepare", self.file("a", text), "-o", "a", "--json"))
        other = json.loads(self.ok("data", "prepare", self.file("b", text), "-o", "b", "--json"))
        self.assertEqual(one["hash"], other["hash"])
        split = json.loads(self.ok("data", "prepare", self.file("b", text), "-o", "c", "--val-fraction", "0.1", "--json"))
        self.assertNotEqual(one["hash"], split["hash"])

    def test_format(self):
        """The hash as another program computes it from the file's own words."""
        self.ok("data", "prepare", self.file("a", b"abc"), self.file("b", b"defgh"), "-o", "d", "--val-fraction", "0.25")
        with open(self.tokens("d"), "rb") as f:
            raw = f.read()
        self.assertEqual(raw[:8], b"BAKATOK1")
        self.assertEqual(raw[4096:4104], b"abcdefgh")
        self.assertEqual(list(array.array("Q", raw[4104:])), [0, 3])
        numbers = array.array("Q", [256, 1, 8, 6, 2, 8, 6]).tobytes()
        digest = hashlib.sha256(raw[4096:4104] + raw[4104:] + numbers + b"bytes".ljust(64, b"\0")).hexdigest()
        self.assertIn(digest.encode(), raw[:4096])


class Refusals(DataTest):
    def test_prepare(self):
        text, empty = self.file("t", b"text"), self.file("empty", b"")
        self.refused(1, "No such file", "data", "prepare", text, os.path.join(self.dir, "absent"), "-o", "d")
        self.refused(1, "Is a directory", "data", "prepare", self.dir, "-o", "d")
        self.refused(1, "no tokens", "data", "prepare", empty, "-o", "d")
        self.refused(1, "no tokens are left", "data", "prepare", empty, "--val", text, "-o", "d")
        self.refused(2, "-o NAME is needed", "data", "prepare", text)
        self.refused(2, "too few arguments", "data", "prepare", "-o", "d")
        for name in ("../d", "", ".d", "-d", "a/b", "x" * 65, "a b", "é"):
            self.refused(2, "a name is", "data", "prepare", text, "-o", name)
        for share in ("1", "1.0", "-0.1", "-0", "5%", "nan", "1e400", "x", ""):
            self.refused(2, "at least 0 and below 1", "data", "prepare", text, "-o", "d", "--val-fraction", share)
        self.refused(1, "absent.json", "data", "prepare", "--tokenizer", "absent.json", text, "-o", "d")
        self.refused(2, "allowed: bytes, FILE.json", "data", "prepare", "--tokenizer", "gpt2", text, "-o", "d")
        self.refused(2, "did you mean --val-fraction?", "data", "prepare", text, "-o", "d", "--val-fracton", "0")
        self.ok("data", "prepare", text, "-o", "d")
        self.refused(1, "--replace", "data", "prepare", text, "-o", "d")
        self.assertEqual(self.entries(), ["d"])

    def test_state_directory(self):
        text = self.file("t", b"text")
        self.home = self.file("plain", b"")
        self.refused(1, "cannot make the directory", "data", "prepare", text, "-o", "d")
        self.home = "/proc/baka-home"
        self.refused(1, "/proc/baka-home", "data", "prepare", text, "-o", "d")

    @unittest.skipIf(os.geteuid() == 0, "root may write anywhere")
    def test_no_permission(self):
        os.mkdir(self.home, 0o500)
        self.refused(1, "Permission denied", "data", "prepare", self.file("t", b"text"), "-o", "d")

    def test_frame(self):
        self.refused(2, "did you mean data?", "dta")
        self.refused(2, "did you mean dump?", "data", "dmp")
        self.refused(2, "a verb is needed", "data")
        self.refused(2, "a verb is needed")
        self.refused(1, "no data set", "data", "dump", "absent")
        self.refused(2, "train or val", "data", "dump", "absent", "--split", "test")
        for args in (("--help",), ("help",), ("data", "--help"), ("help", "data", "prepare"), ("data", "dump", "-h")):
            self.assertIn(b"Exit status", self.ok(*args))
        done = self.ctl("data", "dump", "absent", "--json")
        self.assertEqual(json.loads(done.stdout)["error"]["code"], "not_found")

    def test_closed_pipe_is_quiet(self):
        self.ok("data", "prepare", self.file("t", bytes(MIB)), "-o", "d")
        command = f"'{BAKACTL}' --home '{self.home}' data dump d | head -c 10 | wc -c"
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
        self.assertEqual((done.stdout.strip(), done.stderr), (b"10", b""))

    def test_full_standard_output(self):
        self.ok("data", "prepare", self.file("t", bytes(MIB)), "-o", "d")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([BAKACTL, "--home", self.home, "data", "dump", "d"], stdout=full, stderr=subprocess.PIPE,
                                  check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)


class Damage(DataTest):
    def setUp(self):
        super().setUp()
        self.ok("data", "prepare", self.file("t", random.Random(2).randbytes(20001)), "-o", "d")
        with open(self.tokens("d"), "rb") as f:
            self.whole = f.read()

    def write(self, content):
        with open(self.tokens("d"), "wb") as f:
            f.write(content)

    def test_truncated(self):
        for size in (0, 1, 100, 4095, 4096, 10000, len(self.whole) - 8, len(self.whole) - 1):
            self.write(self.whole[:size])
            self.refused(1, "truncated", "data", "dump", "d")
            self.refused(1, "truncated", "data", "verify", "d")
        done = self.ctl("data", "list", "--json")
        self.assertEqual(done.returncode, 0)
        self.assertIn("truncated", json.loads(done.stdout)["data"][0]["error"])

    def test_foreign_or_longer(self):
        self.write(self.whole + b"\0")
        self.refused(1, "longer", "data", "dump", "d")
        self.write(b"PK" + self.whole[2:])
        self.refused(1, "no token file", "data", "dump", "d")

    def test_flipped_bits(self):
        rng = random.Random(5)
        for _ in range(40):
            at = rng.choice([rng.randrange(8, 64), rng.randrange(4096, len(self.whole))])
            if 4096 + 20001 <= at < 4096 + 20008:
                continue  # padding between ids and document starts
            broken = bytearray(self.whole)
            broken[at] ^= 1 << rng.randrange(8)
            self.write(broken)
            self.refused(1, "damaged", "data", "verify", "d")

    def test_odd_files(self):
        os.unlink(self.tokens("d"))
        self.refused(1, "no data set d", "data", "dump", "d")
        os.mkdir(self.tokens("d"))
        self.refused(1, "regular file", "data", "dump", "d")
        os.rmdir(self.tokens("d"))
        os.mkfifo(self.tokens("d"))
        self.refused(1, "regular file", "data", "dump", "d", timeout=20)


class Streaming(DataTest):
    def feed(self, command, mib):
        """Runs a prepare that reads `mib` MiB from its standard input; returns (exit status, peak bytes of memory)."""
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        piece = random.Random(4).randbytes(MIB)
        for _ in range(mib):
            child.stdin.write(piece)
        child.stdin.close()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        return child.returncode, usage.ru_maxrss * 1024

    def test_memory(self):
        code, peak = self.feed([BAKACTL, "--home", self.home, "data", "prepare", "-", "-o", "big"], 200)
        self.assertEqual(code, 0)
        limit = 60 if "asan" not in BUILD else 400
        self.assertLess(peak, limit * MIB)
        self.assertEqual(os.path.getsize(self.tokens("big")), 4096 + 200 * MIB + 8)

    def start(self, name, *more):
        return subprocess.Popen([BAKACTL, "--home", self.home, "data", "prepare", "-", "-o", name, *more],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait_for(self, what):
        end = time.monotonic() + 20
        while not what():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.005)

    def begin(self, name, *more):
        """A prepare that has taken some text and waits for more."""
        child = self.start(name, *more)
        child.stdin.write(bytes(MIB))
        child.stdin.flush()
        hidden = os.path.join(self.home, "data", f".{name}.new", "tokens")
        self.wait_for(lambda: os.path.exists(hidden) and os.path.getsize(hidden) > 0)
        return child

    def test_killed(self):
        child = self.begin("d")
        child.kill()
        child.communicate()
        self.assertIn(".d.new", self.entries())
        self.assertEqual(json.loads(self.ok("data", "list", "--json")), {"data": []})
        self.refused(1, "no data set d", "data", "dump", "d")
        self.ok("data", "prepare", self.file("t", b"text"), "-o", "other")
        self.assertEqual(self.entries(), ["other"])

    def test_interrupted(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            child = self.begin("d")
            child.send_signal(number)
            self.assertEqual(child.wait(20), -number)
            child.communicate()
            self.assertEqual(self.entries(), [])

    def test_killed_while_replacing(self):
        self.ok("data", "prepare", self.file("t", b"the old text"), "-o", "d", "--val-fraction", "0")
        child = self.begin("d", "--replace")
        child.kill()
        child.communicate()
        self.assertEqual(bytes(self.dump("d")), b"the old text")

    def test_two_at_once(self):
        child = self.begin("d")
        self.refused(1, "being prepared by another process", "data", "prepare", self.file("t", b"t"), "-o", "d")
        self.ok("data", "prepare", self.file("t", b"t"), "-o", "e")
        out, err = child.communicate()
        self.assertEqual((child.returncode, err), (0, b""))
        self.assertIn(b"tokens", out)
        self.assertEqual(self.entries(), ["d", "e"])

    def test_many_at_once(self):
        """Of many that want one name exactly one gets it."""
        path, codes = self.file("t", bytes(MIB)), []
        threads = [threading.Thread(target=lambda: codes.append(self.ctl("data", "prepare", path, "-o", "d").returncode))
                   for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sorted(codes), [0] + [1] * 7)
        self.assertEqual(self.entries(), ["d"])
        self.ok("data", "verify", "d")

    def test_full_disk(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB, 3 * MIB))

        text = self.refused(1, "File too large", "data", "prepare", self.file("t", bytes(5 * MIB)), "-o", "d",
                            preexec_fn=limit)
        self.assertIn("tokens", text)
        self.assertEqual(self.entries(), [])


if __name__ == "__main__":
    unittest.main()
