"""bakactl data prepare --tokenizer FILE.json, as a user runs it: ids against an oracle of its own, documents, what is kept
beside the tokens, refusals, memory. With ../shared/data beside the repository (or $BAKA_SHARED/data) also GPT-NeoX's and
GPT-2's tokenizers on real text."""
import array
import hashlib
import json
import math
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import unittest

from test_data import BAKACTL, BUILD, MIB, DataTest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/unit/text/fixtures"
MAKER = ROOT / "tests/unit/text/make_tokenizer_fixtures.py"
SHARED = pathlib.Path(os.environ.get("BAKA_SHARED") or ROOT.parent / "shared") / "data"
sys.path.insert(0, str(ROOT / "tests"))
from tokenizer_oracle import Oracle, byte_characters  # noqa: E402
from worker_case import SPEC, Run, merged, of_kind, words  # noqa: E402

SMALL = sorted(p for p in FIXTURES.glob("small_*.json") if not p.name.endswith(".ids.json"))
SEPARATOR = "\x1f-\x1f"
needs_shared = unittest.skipUnless((SHARED / "tokenizers").is_dir(), "no ../shared/data")


def odd_text(rng, size):
    """Characters of all of Unicode with words, spaces and marks between them."""
    pieces = []
    while len(pieces) < size:
        kind = rng.randrange(8)
        if kind == 0:
            pieces.append(chr(rng.choice([rng.randrange(0x300), rng.randrange(0x3000), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])))
        elif kind == 1:
            pieces.append(rng.choice([" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", " \n ", "\0"]))
        elif kind == 2:
            pieces.append(rng.choice(["e\u0301", "\u0301", "\u0323\u0307", "\u1112\u1161\u11ab", "\u212b", "\u0958", "\U0001f468\u200d\U0001f469"]))
        elif kind == 3:
            pieces.append(rng.choice(["<|endoftext|>", "'s", "'LL", "12345", "...", "!?", "<|", "<|padding|>"]))
        else:
            pieces.append(rng.choice(["the ", " and", "hello", " World", "Das ist ", "été", " мир", "世界", "x"]))
    return "".join(pieces)


class TokenizerTest(DataTest):
    def starts(self, name):
        with open(self.tokens(name), "rb") as f:
            head = f.read(4096)
            id_bytes = int.from_bytes(head[12:16], "little")
            count, _, documents, vocab = array.array("Q", head[16:48])
            f.seek((4096 + count * id_bytes + 7) // 8 * 8)
            starts = list(array.array("Q", f.read(8 * documents)))
        return starts, count, vocab

    def documents(self, name):
        ids, (starts, count, _) = self.dump(name), self.starts(name)
        return [ids[a:b] for a, b in zip(starts, starts[1:] + [count])]

    def meta(self, name):
        with open(os.path.join(self.home, "data", name, "meta.json"), encoding="utf-8") as f:
            return json.load(f)

    def check_against_oracle(self, tokenizer, texts, threads):
        oracle = Oracle(tokenizer)
        path = self.file("t", SEPARATOR.join(texts).encode())
        self.ok("data", "prepare", "--tokenizer", str(tokenizer), path, "-o", "d", "--document-separator", SEPARATOR, "--val-fraction",
                "0.3", "--threads", str(threads), "--replace")
        end = oracle.added[0]["<|endoftext|>"]
        wanted = [oracle.encode(text) + [end] for text in texts if text]
        for got, ids in zip(self.documents("d"), wanted):
            self.assertEqual(got, ids)
        self.assertEqual(len(self.documents("d")), len(wanted))
        self.ok("data", "verify", "d")
        self.check_measures("d", oracle)

    def check_measures(self, name, oracle):
        """Bytes and words of both parts, counted over the decoded tokens."""
        back = {c: b for b, c in byte_characters().items()}
        added = {i: text.encode() for i, text in oracle.contents.items()}
        spelled = {i: bytes(back[c] for c in token) for token, i in oracle.vocab.items() if i not in added}
        meta, position, parts = self.meta(name), 0, [[0, 0], [0, 0]]
        for ids in self.documents(name):
            before = b" "
            for at, i in enumerate(ids):
                text = b"" if at == len(ids) - 1 else added.get(i, spelled.get(i))
                part = parts[position >= meta["train"]]
                part[0] += len(text)
                part[1] += len((before + text).split()) - (0 if before.isspace() else 1)
                before = text[-1:] or before
                position += 1
        self.assertEqual([meta["text_bytes"] - meta["val_text_bytes"], meta["train_words"]], parts[0])
        self.assertEqual([meta["val_text_bytes"], meta["val_words"]], parts[1])


class Ids(TokenizerTest):
    def test_small_tokenizers(self):
        self.assertEqual(len(SMALL), 6)
        for tokenizer in SMALL:
            rng = random.Random(tokenizer.name)
            texts = [odd_text(rng, rng.choice([0, 1, 3, 40, 400])) for _ in range(60)]
            self.check_against_oracle(tokenizer, texts + [odd_text(rng, 60000)], 3)

    @needs_shared
    def test_neox(self):
        tokenizer = SHARED / "tokenizers/20B_tokenizer.json"
        rng = random.Random(1)
        self.check_against_oracle(tokenizer, [odd_text(rng, rng.choice([0, 1, 40, 400])) for _ in range(60)] + [odd_text(rng, 60000)], 2)
        self.check_against_oracle(tokenizer, [(SHARED / "wikitext-103/wiki.test.raw").read_text(encoding="utf-8")], 2)

    @needs_shared
    def test_neox_known_count(self):
        made = json.loads(self.ok("data", "prepare", "--tokenizer", str(SHARED / "tokenizers/20B_tokenizer.json"),
                                  str(SHARED / "wikitext-103/wiki.valid.raw"), "-o", "d", "--json"))
        self.assertEqual((made["tokens"], made["vocab"], made["val"]), (251183, 50277, 12559))
        # WikiText's own count is 217,646 tokens, 3,760 of them for the ends of lines.
        self.assertEqual(made["train_words"] + made["val_words"], 217646 - 3760)

    @needs_shared
    def test_gpt2(self):
        tokenizer = os.path.join(self.dir, "gpt2.json")
        folder = SHARED / "tokenizers"
        subprocess.run([sys.executable, str(MAKER), "assemble", str(folder / "gpt2-encoder.json"), str(folder / "gpt2-vocab.bpe"), tokenizer],
                       check=True)
        rng = random.Random(2)
        self.check_against_oracle(tokenizer, [odd_text(rng, rng.choice([0, 1, 40, 400])) for _ in range(60)] + [odd_text(rng, 60000)], 2)
        self.check_against_oracle(tokenizer, [(SHARED / "wikitext-103/wiki.valid.raw").read_text(encoding="utf-8")], 2)
        self.check_vectors(tokenizer, FIXTURES / "gpt2.ids.json")

    def check_vectors(self, tokenizer, fixture):
        with open(fixture, encoding="utf-8") as f:
            vectors = json.load(f)
        cases = [c for c in vectors["cases"] if c["text"]]
        path = self.file("t", SEPARATOR.join(c["text"] for c in cases).encode())
        self.ok("data", "prepare", "--tokenizer", tokenizer, path, "-o", "v", "--document-separator", SEPARATOR)
        self.assertEqual([ids[:-1] for ids in self.documents("v")], [c["ids"] for c in cases])
        for entry in vectors["files"]:
            made = json.loads(self.ok("data", "prepare", "--tokenizer", tokenizer, str(SHARED / entry["path"]), "-o", "f", "--replace", "--json"))
            self.assertEqual(made["tokens"], entry["count"])
            self.assertEqual(hashlib.sha256(array.array("I", self.dump("f")).tobytes()).hexdigest(), entry["sha256"])

    def test_threads_change_nothing(self):
        text = self.file("t", odd_text(random.Random(9), 300000).encode())
        hashes = set()
        for threads in ("1", "2", "5"):
            made = json.loads(self.ok("data", "prepare", "--tokenizer", str(SMALL[0]), text, "-o", "d", "--threads", threads, "--replace", "--json"))
            hashes.add(made["hash"])
        self.assertEqual(len(hashes), 1)


class DataSet(TokenizerTest):
    def setUp(self):
        super().setUp()
        self.tokenizer = str(FIXTURES / "small_gpt2.json")
        self.end = Oracle(self.tokenizer).added[0]["<|endoftext|>"]

    def test_kept_beside_the_tokens(self):
        self.ok("data", "prepare", "--tokenizer", self.tokenizer, self.file("t", b"some words of text"), "-o", "d")
        whole = (FIXTURES / "small_gpt2.json").read_bytes()
        with open(os.path.join(self.home, "data", "d", "tokenizer.json"), "rb") as f:
            self.assertEqual(f.read(), whole)
        meta, digest = self.meta("d"), hashlib.sha256(whole).hexdigest()
        self.assertEqual((meta["tokenizer_file"], meta["tokenizer_sha256"]), ("small_gpt2.json", digest))
        self.assertEqual(meta["tokenizer"], "bpe:" + digest[:16])
        self.assertEqual(meta["train_words"] + meta["val_words"], 4)
        self.assertEqual(self.starts("d")[2], self.end + 1)

    def test_documents(self):
        """Separators and the ends of files end documents; without --document-separator nothing is inserted."""
        one, two = self.file("a", b"a b##c##"), self.file("b", b"##d")
        self.ok("data", "prepare", "--tokenizer", self.tokenizer, one, two, "--val", self.file("c", b"e##f"), "-o", "d",
                "--document-separator", "##")
        documents = self.documents("d")
        self.assertEqual([d[-1] for d in documents], [self.end] * 5)
        self.assertEqual([d[0] for d in documents], [Oracle(self.tokenizer).vocab[c] for c in "acdef"])
        self.assertEqual((self.meta("d")["val"], self.meta("d")["val_text_bytes"]), (4, 2))
        self.ok("data", "prepare", "--tokenizer", self.tokenizer, one, two, "-o", "e")
        self.assertNotIn(self.end, self.dump("e"))
        self.assertEqual(len(self.documents("e")), 2)
        self.ok("data", "prepare", one, two, "-o", "f", "--document-separator", "##", "--val-fraction", "0")
        self.assertEqual([bytes(d) for d in self.documents("f")], [b"a b", b"c", b"d"])

    def test_standard_input(self):
        self.ok("data", "prepare", "--tokenizer", self.tokenizer, "-", "-o", "d", stdin=None, input="déjà vu".encode())
        self.assertEqual(self.dump("d"), Oracle(self.tokenizer).encode("déjà vu"))

    def test_bits_per_byte_of_a_run(self):
        """nats a token / ln 2 * tokens a byte: the bytes are those of the held-out text, wherever the share begins."""
        self.ok("data", "prepare", "--tokenizer", self.tokenizer, self.file("t", words(6000).encode()), "-o", "d", "--val-fraction", "0.1")
        run = Run(pathlib.Path(self.home), "r", merged(SPEC, {"data": {"name": "d"}, "train": {"epochs": 0.2}}))
        self.assertEqual(run.go(), 0, run.log())
        meta, evals = self.meta("d"), of_kind(run.journal(), "eval")
        held_out = Oracle(self.tokenizer).encode(words(6000))[meta["train"]:]
        spelled = {i: token for token, i in Oracle(self.tokenizer).vocab.items()}
        size = sum(len(spelled[i]) for i in held_out)  # a character of the alphabet is a byte
        self.assertLess(len(held_out), size)
        self.assertTrue(evals)
        for e in evals:
            self.assertAlmostEqual(e["bits_per_byte"], e["loss"] / math.log(2) * len(held_out) / size, places=9)

    def test_same_tokenizer_by_another_name(self):
        text, copy = self.file("t", b"same text"), self.file("copy.json", (FIXTURES / "small_gpt2.json").read_bytes())
        made = [json.loads(self.ok("data", "prepare", "--tokenizer", t, text, "-o", n, "--json")) for n, t in (("a", self.tokenizer), ("b", copy))]
        self.assertEqual(made[0]["hash"], made[1]["hash"])


class Refusals(TokenizerTest):
    def test_text_that_is_no_utf8(self):
        tokenizer = str(SMALL[0])
        for text, offset in ((b"caf\xe9 au lait", 3), (b"x" * 70000 + b"\xff", 70000), (b"whole \xe4\xbd", 6), (b"a##\xc3##", 3)):
            path = self.file("t", text)
            said = self.refused(1, f"byte {offset} ", "data", "prepare", "--tokenizer", tokenizer, path, "-o", "d", "--document-separator", "##")
            self.assertIn(path, said)
        self.assertEqual(self.entries(), [])

    def test_tokenizers(self):
        text, whole = self.file("t", b"text"), SMALL[0].read_bytes()
        for name, content, words in (("empty.json", b"", "empty.json"), ("cut.json", whole[:5000], "cut.json: line"),
                                     ("text.json", b"no JSON", "text.json: line 1"), ("array.json", b"[]", "no JSON object"),
                                     ("spec.json", b'{"data":{"name":"x"}}', 'no "model"'),
                                     ("type.json", whole.replace(b'"type":"BPE"', b'"type":"WordPiece"'), "model.type: WordPiece")):
            path = self.file(name, content)
            self.refused(1, words, "data", "prepare", "--tokenizer", path, text, "-o", "d")
        self.refused(1, "No such file", "data", "prepare", "--tokenizer", os.path.join(self.dir, "absent.json"), text, "-o", "d")
        os.mkdir(os.path.join(self.dir, "folder.json"))
        self.refused(1, "is a directory", "data", "prepare", "--tokenizer", os.path.join(self.dir, "folder.json"), text, "-o", "d")

    def test_separators_and_threads(self):
        text, tokenizer = self.file("t", b"text"), str(SMALL[0])
        self.refused(2, "not empty", "data", "prepare", "--tokenizer", tokenizer, text, "-o", "d", "--document-separator", "")
        self.refused(1, "no valid UTF-8", "data", "prepare", "--tokenizer", tokenizer, text, "-o", "d", "--document-separator", b"\xff")
        nameless = self.file("n.json", SMALL[0].read_bytes().replace(b"<|endoftext|>", b"<|nameless|>"))
        self.refused(1, "no added token <|endoftext|>", "data", "prepare", "--tokenizer", nameless, text, "-o", "d", "--document-separator", "#")
        self.ok("data", "prepare", "--tokenizer", nameless, text, "-o", "d")
        for threads in ("0", "65", "x"):
            self.refused(2, "--threads", "data", "prepare", text, "-o", "e", "--threads", threads)


class Streaming(TokenizerTest):
    def start(self):
        return subprocess.Popen([BAKACTL, "--home", self.home, "data", "prepare", "--tokenizer", str(SMALL[0]), "-", "-o", "d", "--threads", "3"],
                                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def test_memory(self):
        child = self.start()
        piece = odd_text(random.Random(4), MIB // 4).encode()
        for _ in range(60 * MIB // len(piece)):
            child.stdin.write(piece)
        child.stdin.close()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual((child.returncode, child.stderr.read()), (0, b""))
        child.stderr.close()
        self.assertLess(usage.ru_maxrss * 1024, (100 if "asan" not in BUILD else 1000) * MIB)

    def test_interrupted(self):
        piece = odd_text(random.Random(5), MIB // 2).encode()
        for number in (signal.SIGINT, signal.SIGTERM):
            child = self.start()
            child.stdin.write(piece)
            child.stdin.flush()
            end = time.monotonic() + 20
            while ".d.new" not in (self.entries() if os.path.isdir(os.path.join(self.home, "data")) else []):
                self.assertLess(time.monotonic(), end)
                time.sleep(0.005)
            child.send_signal(number)
            self.assertEqual(child.wait(20), -number)
            child.communicate()
            self.assertEqual(self.entries(), [])


if __name__ == "__main__":
    unittest.main()
