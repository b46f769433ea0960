"""bakactl against a running bakad, as scripts and people use it: import, compare, list, show, steps, evals, exit codes.
BAKA_BUILD names the build folder. Training is in other tests; curves come from `bakactl import` here."""
import json
import math
import pathlib
import random
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import xml.dom.minidom

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BAKACTL, SANITIZED, Home, english  # noqa: E402


def bits(x):
    return struct.pack("<d", x)


def number(text):
    return float(text)


def curve_csv(rows):
    """rows: (step, epoch, tokens, loss, val or None)"""
    out = ["step,epoch,tokens,loss,val_loss"]
    for step, epoch, tokens, loss, val in rows:
        out.append(f"{step},{epoch!r},{tokens},{loss!r},{'' if val is None else repr(val)}")
    return "\n".join(out) + "\n"


def falling(floor, steps=300, every=15, per_epoch=100, seed=1):
    rng = random.Random(seed)
    rows = []
    for step in range(1, steps + 1):
        epoch = step / per_epoch
        base = floor + 3 * math.exp(-2 * epoch)
        rows.append((step, epoch, step * 1024, base + rng.random() / 10, base if step % every == 0 else None))
    return rows


def naive_arrow(winner, loser):
    """DESIGN's words on lists of (step, tokens, loss)."""
    best = min((p for p in loser if math.isfinite(p[2])), key=lambda p: p[2], default=None)
    if best is None:
        return None
    first = len(winner)
    while first and winner[first - 1][2] < best[2]:
        first -= 1
    if first == len(winner):
        return None
    at = winner[first]
    return at[0], best[1] / at[1]


class CliTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = Home()

    @classmethod
    def tearDownClass(cls):
        cls.home.close()

    def bring(self, name, rows, *args):
        path = self.home.root / f"{name}.csv"
        path.write_text(curve_csv(rows))
        return self.home.json("import", path, "--name", name, *args)["runs"][0]["id"]

    def refused(self, code, words, *args):
        done = self.home.ctl(*args, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(words, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        return done

    def test_round_trip_is_exact(self):
        rng = random.Random(5)
        rows = []
        for step in range(1, 2000):
            loss = struct.unpack("<d", struct.pack("<Q", rng.getrandbits(62)))[0]
            special = {10: math.nan, 20: math.inf, 30: -math.inf, 40: 5e-324, 50: 0.1, 60: 1 / 3}
            loss = special.get(step, loss)
            rows.append((step, step / 777, step * 511, loss, loss if step % 7 == 0 else None))
        run = self.bring("exact", rows)
        lines = self.home.ctl("steps", run, "--csv").stdout.splitlines()
        self.assertTrue(lines[0].startswith("step,epoch,tokens,loss,lr,grad_norm,"), lines[0])
        self.assertEqual(len(lines), len(rows) + 1)
        objects = self.home.json("steps", run)
        self.assertEqual(len(objects), len(rows))
        for line, o, row in zip(lines[1:], objects, rows):
            cells = line.split(",")
            self.assertEqual((int(cells[0]), int(cells[2])), (row[0], row[2]))
            self.assertEqual((o["step"], o["tokens"]), (row[0], row[2]))
            for value in (number(cells[3]), number(o["loss"])):
                self.assertTrue(bits(value) == bits(row[3]) or (math.isnan(value) and math.isnan(row[3])), line)
            self.assertEqual(bits(number(cells[1])), bits(row[1]))
        self.assertIn(",nan,", lines[10])
        self.assertEqual(objects[9]["loss"], "nan")
        self.assertIsNone(objects[0]["lr"])  # an import has none
        evals = self.home.ctl("evals", run).stdout.splitlines()
        self.assertTrue(evals[0].startswith("step,epoch,tokens,split,loss"), evals[0])
        wanted = [r for r in rows if r[4] is not None]
        self.assertEqual(len(evals) - 1, len(wanted))
        for line, row in zip(evals[1:], wanted):
            cells = line.split(",")
            self.assertEqual((int(cells[0]), cells[3]), (row[0], "val"))
            self.assertEqual(bits(number(cells[4])), bits(row[4]))
        # what steps prints can be imported again
        path = self.home.root / "again.csv"
        path.write_text(self.home.ctl("steps", run).stdout)
        again = self.home.json("import", path, "--name", "again")["runs"][0]["id"]
        self.assertEqual([l.split(",")[:4] for l in self.home.ctl("steps", again).stdout.splitlines()],
                         [l.split(",")[:4] for l in lines])

    def test_pages(self):
        rows = [(s, s / 5000, s * 8, 1 + 1 / s, None) for s in range(1, 40001)]
        run = self.bring("long", rows)
        out = self.home.ctl("steps", run).stdout.splitlines()
        self.assertEqual([int(l.split(",")[0]) for l in out[1:]], list(range(1, 40001)))
        self.assertEqual([o["step"] for o in self.home.json("steps", run)], list(range(1, 40001)))

    def test_compare(self):
        better, worse = falling(1.5), falling(1.8, seed=2)
        a, b = self.bring("elephant-c", better, "--tag", "duel"), self.bring("swiglu-c", worse, "--tag", "duel")
        answer = self.home.json("compare", "duel")
        self.assertEqual([r["id"] for r in answer["runs"]], [a, b])
        self.assertEqual(len(answer["arrows"]), 1)
        arrow = answer["arrows"][0]
        points = [[(r[0], r[2], r[4]) for r in rows if r[4] is not None] for rows in (better, worse)]
        step, ratio = naive_arrow(*points)
        self.assertEqual((arrow["relation"], arrow["metric"], arrow["winner"], arrow["loser"], arrow["step"]),
                         ("beats_best", "val_loss", a, b, step))
        self.assertEqual(bits(arrow["tokens_ratio"]), bits(ratio))
        self.assertEqual(bits(arrow["epoch"]), bits(step / 100))
        text = self.home.ctl("compare", "elephant-c", "swiglu-c").stdout
        self.assertIn(f"elephant-c at epoch {step / 100:.2f} passes swiglu-c's best of 3 epochs: "
                      f"{ratio:.2f}\u00d7 fewer tokens", text)
        self.assertTrue(any(0x2800 < ord(c) < 0x2900 for c in text))
        self.assertNotIn("\033", text)
        self.assertTrue(all(len(line) <= 120 for line in text.splitlines()))
        svg = self.home.root / "c.svg"
        self.home.ctl("compare", a, b, "--svg", svg)
        document = xml.dom.minidom.parse(str(svg))
        def words_of(node):
            return node.data if node.nodeType == node.TEXT_NODE else "".join(map(words_of, node.childNodes))

        words = "\n".join(map(words_of, document.getElementsByTagName("text")))
        self.assertIn("elephant-c passes swiglu-c: ", words)
        legend = text[text.index("\u2514"):]
        for run in answer["runs"]:  # the numbers of the table stand beside the name
            last, best = (f"{run[key]:.4f}" for key in ("val_loss", "best_val_loss"))
            numbers = last if last == best else f"{last}, best {best}"
            self.assertIn(f"{run['name']}{numbers}\n", words + "\n")
            self.assertRegex(legend, rf"[A-Z] {run['name']} {numbers}")
        self.assertIn(f"{ratio:.2f}\u00d7 fewer tokens", words)
        lines = self.home.ctl("compare", a, b, "--csv").stdout.splitlines()
        self.assertEqual(lines[0], "run,name,step,epoch,tokens,metric,value")
        got = [(int(c[2]), int(c[4]), number(c[6])) for c in (l.split(",") for l in lines[1:])
               if c[0] == a and c[5] == "val_loss"]
        self.assertEqual(got, points[0])
        # the same in the other order, and a run named twice
        self.assertEqual(self.home.json("compare", b, a)["arrows"][0]["winner"], a)
        self.assertEqual(len(self.home.json("compare", a, a, "elephant-c")["runs"]), 1)

    def test_training_loss_decides_without_evaluations(self):
        rows = [[(s, s / 100, s * 10, floor + 2 * math.exp(-s / 50), None) for s in range(1, 201)]
                for floor in (1, 1.2)]
        a, b = self.bring("t-low", rows[0]), self.bring("t-high", rows[1])
        arrow = self.home.json("compare", a, b)["arrows"][0]
        means = []
        for r in rows:
            means.append([(k + 5, (k + 5) * 10, sum(p[3] for p in r[k:k + 5]) / 5) for k in range(0, 200, 5)])
        step, ratio = naive_arrow(*means)
        self.assertEqual((arrow["metric"], arrow["winner"], arrow["step"]), ("train_loss", a, step))
        self.assertAlmostEqual(arrow["tokens_ratio"], ratio, places=12)

    def test_ratio_without_tokens(self):
        a = self.bring("z-low", [(1, 1.0, 0, 1.0, 1.0), (2, 2.0, 0, 0.5, 0.5)])
        b = self.bring("z-high", [(1, 1.0, 0, 3.0, 3.0), (2, 2.0, 0, 2.0, 2.0)])
        c = self.bring("z-counted", [(1, 1.0, 10, 3.0, 3.0), (2, 2.0, 20, 2.0, 2.0)])
        for loser in (b, c):
            arrow = self.home.json("compare", a, loser)["arrows"][0]
            self.assertEqual((arrow["winner"], arrow["tokens_ratio"]), (a, None))
            self.assertIn("tokens not known", arrow["text"])

    def test_never(self):
        low = [(1, 1.0, 10, 3.0, 3.0), (2, 2.0, 20, 1.0, 1.0), (3, 3.0, 30, 2.6, 2.6)]
        high = [(1, 1.0, 10, 3.0, 3.0), (2, 2.0, 20, 2.5, 2.5), (3, 3.0, 30, 2.7, 2.7)]
        a, b = self.bring("n-low", low), self.bring("n-high", high)
        answer = self.home.json("compare", a, b)
        self.assertEqual(answer["arrows"], [])
        self.assertIn("neither passes", self.home.ctl("compare", a, b).stdout)
        broken = [(1, 1.0, 10, math.nan, math.nan)]
        c = self.bring("n-nan", broken)
        self.assertEqual(self.home.json("compare", a, c)["arrows"], [])
        self.assertIn("no answer", self.home.ctl("compare", a, c).stdout)
        self.home.ctl("compare", c)

    def test_list_and_show(self):
        run = self.bring("shown", falling(2.0), "--tag", "seen")
        listed = self.home.json("list", "--tag", "seen")["runs"]
        self.assertEqual([r["id"] for r in listed], [run])
        self.assertIn("shown", self.home.ctl("list", "--all").stdout)
        shown = self.home.json("show", "shown")
        for key in ("id", "name", "state", "reason", "attempts", "step", "epoch", "params"):
            self.assertIn(key, shown)
        self.assertEqual((shown["id"], shown["name"], shown["state"], shown["step"]), (run, "shown", "finished", 300))
        self.assertIsInstance(shown["attempts"], int)
        self.assertIn("shown", self.home.ctl("show", run).stdout)
        self.assertEqual(self.home.ctl("wait", run).returncode, 0)
        self.assertEqual(self.home.json("wait", run, "--timeout", 0)["timed_out"], False)

    def test_errors(self):
        for verb in ("show", "steps", "evals", "logs", "cancel", "retry", "wait", "compare"):
            self.refused(1, "nosuch", verb, "nosuch")
        self.refused(1, "is called nosuch, neither", "wait", "nosuch", "neither")
        for verb in ("cancel", "retry"):
            done = self.home.ctl(verb, "nosuch", "neither", "--json", check=False)
            answer = json.loads(done.stdout)
            self.assertEqual((done.returncode, done.stderr.count("\n"), answer["runs"]), (1, 2, []), done.stderr)
            self.assertEqual([(e["ref"], e["code"]) for e in answer["errors"]],
                             [("nosuch", "not_found"), ("neither", "not_found")])
            self.assertEqual(answer["error"]["message"], answer["errors"][0]["message"])
            for line, e in zip(done.stderr.splitlines(), answer["errors"]):
                self.assertEqual(line, f"bakactl: {e['message']}")
        self.refused(2, "too few arguments", "compare")
        self.refused(2, "", "frobnicate")
        self.refused(2, "--name", "import", "x.csv")
        self.refused(2, "--csv, --json and --jsonl", "steps", "x", "--csv", "--json")
        self.refused(2, "--timeout", "wait", "x", "--timeout", "soon")
        self.refused(2, "--set", "submit", "x.json", "--set", "novalue")
        bad = self.home.root / "bad.csv"
        bad.write_text("step,epoch,tokens,loss\n1,0.1,10,2\n2,0.2,x,2\n")
        self.refused(1, f"{bad}:3: column 'tokens'", "import", bad, "--name", "bad")
        done = self.home.ctl("import", "-", "--name", "bad", check=False, stdin=bad.read_text())
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("standard input:3: column 'tokens'", done.stderr)
        with open(self.home.root / "large.csv", "wb") as large:
            large.truncate(1 << 30)
        self.refused(1, "at most 268435456 are read", "import", large.name, "--name", "bad")
        self.refused(1, "No such file", "import", self.home.root / "absent.csv", "--name", "bad")
        good = self.home.root / "good.csv"
        good.write_text("step,epoch,tokens,loss\n1,0.1,10,2\n")
        self.refused(2, "not a name", "import", good, "--name", "../bad")

    def test_submit_errors(self):
        spec = self.home.root / "s.json"
        for text, words in (("", "s.json"), ('{"a":1', "line 1"), ('{"data":{"name":"x"},\n"data":{}}', "line 2"),
                            ("[1]", "object"), ('{"model":{"dim":1e400}}', "line 1"), ("[" * 5000, "s.json"),
                            ('{"model":{"dimm":128},"data":{"name":"x"}}', "model.dimm"),
                            ('{"model":{"dim":-1},"data":{"name":"x"}}', "model.dim")):
            spec.write_text(text)
            self.refused(1, words, "submit", spec)
        spec.write_bytes(b'{"name":"\xff\xfe"}')
        self.refused(1, "s.json", "submit", spec)
        self.refused(1, "No such file", "submit", self.home.root / "absent.json")

    def test_help(self):
        out = self.home.ctl("--help").stdout
        for verb in ("submit", "wait", "list", "status", "show", "logs", "compare", "steps", "evals", "cancel", "retry",
                     "import", "data"):
            self.assertIn(f"\n  {verb} ", out)
            if verb != "data":
                self.assertIn("Example", self.home.ctl(verb, "--help").stdout)

    def test_million_steps(self):
        rows = 20000 if SANITIZED else 1000000
        ids = []
        for k in range(2):
            path = self.home.root / f"m{k}.csv"
            with open(path, "w") as f:
                f.write("step,epoch,tokens,loss\n")
                for s in range(1, rows + 1):
                    f.write(f"{s},{s * 3 / rows},{s * 8},{2 + k / 10 + 100 / (s + 50)}\n")
            ids.append(self.home.json("import", path, "--name", f"million-{k}")["runs"][0]["id"])
        times = []
        for _ in range(3):
            start = time.monotonic()
            answer = self.home.json("compare", *ids)
            times.append(time.monotonic() - start)
        self.assertEqual(answer["arrows"][0]["winner"], ids[0])
        print(f"compare of 2 x {rows} steps: {min(times) * 1000:.0f} ms end to end", file=sys.stderr)
        # the goal of 0.2 s is measured by tests/bench; this only catches a different order of growth
        self.assertLess(min(times), 2)
        # streamed: the table of a million rows is far larger than what bakactl may hold
        if not SANITIZED:
            command = f"ulimit -v 400000; {BAKACTL} --home {self.home.path} steps {ids[0]} | tail -1"
            out = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True).stdout
            self.assertEqual(out.split(",")[0], str(rows))


class RunsTest(unittest.TestCase):
    """Verbs that follow and change runs, on runs that train."""

    @classmethod
    def setUpClass(cls):
        cls.home = Home("--cpu-slots", "2")
        cls.home.prepare("text", english(60000))

    @classmethod
    def tearDownClass(cls):
        cls.home.close()

    @staticmethod
    def spec(epochs=1, **train):
        return {"data": {"name": "text"}, "model": {"dim": 32, "layers": 1, "heads": 2},
                "train": {"epochs": epochs, "seq_len": 32, "batch": 4, "eval_every": 50, **train}}

    def submit(self, spec, *args):
        path = self.home.root / "spec.json"
        path.write_text(json.dumps(spec))
        return self.home.ctl("submit", path, *args, check=False, timeout=300)

    def test_submit_and_wait(self):
        done = self.submit(self.spec(), "--name", "waited", "--seeds", "2", "--tag", "pair", "--wait", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        runs = json.loads(done.stdout)["runs"]
        self.assertEqual([r["state"] for r in runs], ["finished", "finished"])
        self.assertEqual(self.home.ctl("wait", "pair").stdout.count("finished"), 2)
        self.assertEqual([r["id"] for r in self.home.json("compare", "pair")["runs"]], [r["id"] for r in runs])
        self.assertNotIn("one run each", self.home.ctl("compare", "pair").stdout)
        steps = self.home.json("steps", runs[0]["id"])
        self.assertEqual([s["step"] for s in steps], list(range(1, len(steps) + 1)))
        self.assertTrue(all(e["split"] == "val" for e in self.home.json("evals", runs[0]["id"])))
        shown = self.home.ctl("show", runs[0]["id"]).stdout
        for words in ("finished", "model.dim = 32", "attempts", "events", "queued \u2192 starting"):
            self.assertIn(words, shown)
        self.assertEqual(self.home.ctl("logs", runs[0]["id"], "-f").returncode, 0)

    def test_groups_of_seeds(self):
        """The README's study: one line of submit, names that tell, a line a group under the table."""
        done = self.submit({**self.spec(epochs=0.3), "name": "study"}, "--sweep", "model.ffn.type=gelu,swiglu", "--seeds", "3",
                           "--tag", "study", "--wait", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([r["name"] for r in json.loads(done.stdout)["runs"]],
                         [f"study-{kind}-s{seed}" for kind in ("gelu", "swiglu") for seed in (1, 2, 3)])
        answer = self.home.json("compare", "study")
        self.assertEqual([r["seed"] for r in answer["runs"]], [1, 2, 3, 1, 2, 3])
        self.assertEqual([(g["name"], g["seeds"], len(g["runs"])) for g in answer["groups"]],
                         [("study-gelu", 3, 3), ("study-swiglu", 3, 3)])
        for k, group in enumerate(answer["groups"]):
            runs = answer["runs"][3 * k:3 * k + 3]
            self.assertEqual(group["runs"], [r["id"] for r in runs])
            for key in ("best_val_loss", "val_loss", "tok_s"):
                values = [r[key] for r in runs]
                self.assertEqual(group[key]["n"], 3)
                self.assertAlmostEqual(group[key]["mean"], statistics.mean(values), delta=1e-12 * values[0])
                self.assertAlmostEqual(group[key]["sd"], statistics.stdev(values), delta=1e-9 * values[0])
        self.assertEqual(len(answer["arrows"]) + len(answer["undecided"]), 15)
        text = self.home.ctl("compare", "study").stdout
        best = answer["groups"][1]["best_val_loss"]
        self.assertRegex(text, rf"(?m)^study-swiglu +3 +{best['mean']:.4f} ± {best['sd']:.4f} ")
        # of the 15 pairs those between the groups at equal seeds
        self.assertIn("and 12 more pairs; above are those of equal seeds (--json has all)", text)
        told = [line for line in text.splitlines() if " best of " in line or "neither passes" in line]
        self.assertEqual(len(told), 3, told)
        for line in told:
            self.assertEqual(len(set(re.findall(r"study-[a-z]+-s(\d)", line))), 1, line)
        self.check_decision(answer)
        self.assertEqual([(d["path"], d["values"]) for d in answer["differs"]],
                         [("model.ffn.type", ["gelu"] * 3 + ["swiglu"] * 3), ("train.seed", ["1", "2", "3"] * 2)])
        self.assertIn("differs in model.ffn.type: gelu (study-gelu), swiglu (study-swiglu)\n", text)
        self.assertIn("differs in train.seed: 1, 2, 3\n", text)
        self.assertIn(answer["decisions"][0]["text"], text)
        # at another point that was named
        first = answer["runs"][0]["curves"]["val"]["tokens"][0]
        named = self.home.json("compare", "study", "--decide-at", first)["decisions"][0]
        self.assertEqual((named["tokens"], named["n"]), (first, 3))
        for wrong in ("0", "-1", "half"):
            self.assertIn("--decide-at", self.home.ctl("compare", "study", f"--decide-at={wrong}", check=False).stderr)
        far = self.home.json("compare", "study", "--decide-at", 10 ** 12)["decisions"][0]
        self.assertEqual((far["verdict"], far["n"]), ("no_answer", 0))
        board = self.home.json("leaderboard", "study")
        means = [row["group"]["best_val_loss"]["mean"] for row in board["rows"]]
        self.assertEqual((board["metric"], means, [row["rank"] for row in board["rows"]]),
                         ("best_val_loss", sorted(means), [1, 2]))
        self.assertEqual(board["rows"][1]["against_first"], answer["decisions"][0])
        text = self.home.ctl("leaderboard", "study").stdout
        self.assertRegex(text, rf"(?m)^2 +{board['rows'][1]['group']['name']} +3 +{means[1]:.4f} ± ")
        self.assertIn("a run's final loss varies by ", text)
        speeds = self.home.json("leaderboard", "study", "--by", "speed")["rows"]
        self.assertGreaterEqual(speeds[0]["group"]["tok_s"]["mean"], speeds[1]["group"]["tok_s"]["mean"])
        wrong = self.home.ctl("leaderboard", "study", "--by", "luck", check=False)
        self.assertEqual((wrong.returncode, "--by luck: one of best, end, train or speed is needed" in wrong.stderr), (2, True))
        # one seed each: the table says all, and of few pairs none is left out
        text = self.home.ctl("compare", "study-gelu-s1", "study-swiglu-s2").stdout
        self.assertNotIn("±", text)
        self.assertNotIn("more pairs", text)

    def check_decision(self, answer):
        """Worked out again from the runs: differences of equal seeds at the end, the lower group first."""
        (decision,) = answer["decisions"]
        ends = [r["curves"]["val"]["loss"][-1] for r in answer["runs"]]
        differences = [a - b for a, b in zip(ends[:3], ends[3:])]
        if statistics.mean(differences) > 0:
            differences = [-d for d in differences]
        self.assertEqual((decision["n"], decision["seeds"], decision["equal_order"]), (3, 3, True))
        self.assertEqual(decision["tokens"], answer["runs"][0]["tokens"])
        self.assertAlmostEqual(decision["difference"], statistics.mean(differences), delta=1e-12)
        self.assertAlmostEqual(decision["seed_noise"], statistics.stdev(differences), delta=1e-12)
        half = 4.302652729749464 * statistics.stdev(differences) / math.sqrt(3)  # t(0.975, 2), printed tables
        self.assertAlmostEqual(decision["high"] - decision["difference"], half, delta=1e-9)
        self.assertEqual(decision["verdict"], "lower" if decision["high"] < 0 else "not_distinguishable")
        noise = [g["val_loss"]["sd"] for g in answer["groups"]]
        self.assertAlmostEqual(answer["noise"]["sd"], math.sqrt(statistics.mean(s * s for s in noise)), delta=1e-12)
        ranks = sorted((g["best_val_loss"]["mean"], g["rank"]) for g in answer["groups"])
        self.assertEqual([r for _, r in ranks], [1, 2])

    def test_wait_tells_without_a_terminal(self):
        run = json.loads(self.submit(self.spec(epochs=3000), "--name", "told", "--json").stdout)["runs"][0]["id"]
        told, quiet = (subprocess.Popen([BAKACTL, "--home", self.home.path, "wait", run, "--timeout", "13", *more],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                       for more in ((), ("--json",)))
        lines = told.communicate(timeout=60)[1].splitlines()
        self.assertEqual(told.returncode, 1)
        self.assertRegex(lines[0], r"^0 of 1 ended, 1 running: told \d+% \(epoch [\d.]+, loss [\d.]+, \S.* left\)$")
        self.assertEqual(len(lines), 2, lines)  # that, and that the time is over
        self.assertEqual(len(quiet.communicate(timeout=60)[1].splitlines()), 1)
        self.home.ctl("cancel", run)
        self.home.ctl("wait", run, check=False)

    def test_wait_outlives_the_daemon(self):
        run = json.loads(self.submit(self.spec(epochs=12), "--name", "long", "--json").stdout)["runs"][0]["id"]
        wait = subprocess.Popen([BAKACTL, "--home", self.home.path, "wait", run], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)
        self.home.kill_daemon()
        time.sleep(0.5)
        self.assertIsNone(wait.poll())
        self.home.start()
        out, err = wait.communicate(timeout=300)
        self.assertEqual((wait.returncode, out.count("finished")), (0, 1), out + err)
        self.assertEqual(err.count("went away"), 1, err)

    def test_cancel_time_out_retry(self):
        run = json.loads(self.submit(self.spec(epochs=3000), "--name", "endless", "--json").stdout)["runs"][0]["id"]
        done = self.home.ctl("wait", run, "--timeout", "1", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("1 of 1 runs have not ended", done.stderr)
        self.assertEqual(self.home.json("cancel", run)["runs"][0]["id"], run)
        done = self.home.ctl("wait", run, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cancelled", done.stdout)
        before = self.home.json("show", run)["step"]
        again = self.home.ctl("cancel", run, "nosuch", check=False)
        self.assertEqual((again.returncode, again.stderr.count("\n")), (1, 2), again.stderr)
        answer = self.home.json("retry", "nosuch", run, check=False)  # one failure keeps neither from being told
        self.assertEqual([e["ref"] for e in answer["errors"]], ["nosuch"])
        self.assertEqual([(r["id"], r["state"]) for r in answer["runs"]], [(run, "queued")])
        end = time.monotonic() + 60
        while (self.home.json("show", run)["step"] or 0) <= before and time.monotonic() < end:
            time.sleep(0.1)
        shown = self.home.json("show", run)
        self.assertGreater(shown["step"], before)
        self.assertEqual(shown["attempts"], 2)
        self.home.ctl("cancel", run)
        self.assertEqual(self.home.ctl("wait", run, check=False).returncode, 1)


class NoDaemonTest(unittest.TestCase):
    def test_every_verb_says_so(self):
        with tempfile.TemporaryDirectory() as home:
            spec = pathlib.Path(home) / "s.json"
            spec.write_text('{"data":{"name":"x"}}')
            csv = pathlib.Path(home) / "c.csv"
            csv.write_text("step,epoch,tokens,loss\n1,1,1,1\n")
            of_run = [[verb, "x"] for verb in ("show", "steps", "evals", "logs", "cancel", "retry", "pause", "resume", "compare", "wait")]
            for args in (["status"], ["list"], ["pause", "--all"], ["priority", "x", "1"], *of_run, ["submit", spec], ["import", csv, "--name", "x"]):
                done = subprocess.run([BAKACTL, "--home", home, *args], capture_output=True, text=True)
                self.assertEqual(done.returncode, 3, args)
                self.assertIn(f"start one with `bakad --home {home}`", done.stderr)
                self.assertEqual(done.stdout, "")


class Broken(threading.Thread):
    """A daemon that closes the first connection without an answer, then answers."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.bodies = []

    def read_body(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, body = data.split(b"\r\n\r\n", 1)
        length = int(next(l for l in head.lower().split(b"\r\n") if l.startswith(b"content-length:")).split(b":")[1])
        while len(body) < length:
            body += connection.recv(65536)
        return json.loads(body)

    def run(self):
        for answer in (None, b'{"runs":[{"id":"b00001","name":"x","state":"queued"}]}'):
            connection, _ = self.socket.accept()
            self.bodies.append(self.read_body(connection))
            if answer:
                connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
            connection.close()
        self.socket.close()


class RetryTest(unittest.TestCase):
    def test_submit_again_under_the_same_id(self):
        with tempfile.TemporaryDirectory() as home:
            server = Broken(pathlib.Path(home) / "bakad.sock")
            server.start()
            spec = pathlib.Path(home) / "s.json"
            spec.write_text('{"data":{"name":"x"}}')
            sweep = "train.optimizer.betas=[0.9,0.95],[0.8,0.9]"
            done = subprocess.run([BAKACTL, "--home", home, "submit", spec, "--sweep", sweep, "--set", "train.seed=3",
                                   "--tag", "t", "--seeds", "2", "--json"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout)["runs"][0]["id"], "b00001")
            first, second = server.bodies
            self.assertEqual(first, second)
            self.assertGreaterEqual(len(first["request_id"]), 16)
            self.assertEqual(first["sweep"], [{"path": "train.optimizer.betas", "values": ["[0.9,0.95]", "[0.8,0.9]"]}])
            self.assertEqual(first["set"], [{"path": "train.seed", "text": "3"}])
            self.assertEqual((first["tags"], first["seeds"]), (["t"], 2))


if __name__ == "__main__":
    unittest.main(verbosity=2)
