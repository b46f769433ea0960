"""What bakactl, bakad and baka-worker refuse, in which words and with which exit status; what a filter that matches nothing
prints, what a word means that is a run's name and a tag, and what fits a terminal of 80 columns.
BAKA_BUILD names the build folder."""
import fcntl
import http.client
import json
import os
import pathlib
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BAKACTL, BAKAD, WORKER, Home, english  # noqa: E402

MODEL = {"dim": 16, "layers": 1, "heads": 2}
CURVE = "step,epoch,tokens,loss,val_loss\n1,0.5,10,3,3\n2,1,20,2,2\n"


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def on_terminal(*args, columns=80, **environment):
    """The lines that a program prints on a terminal of this width."""
    try:
        child, fd = pty.fork()
    except OSError as e:
        raise unittest.SkipTest(f"no terminal to be had: {e}") from e
    if child == 0:
        os.environ.update(TERM="xterm", **environment)
        os.environ.pop("COLUMNS", None)
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.execv(args[0], [str(a) for a in args])
    out = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        out += piece
    os.close(fd)
    os.waitpid(child, 0)
    return out.decode().replace("\r\n", "\n").splitlines()


class Refusals(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = Home("--cpu-slots", "1")
        cls.home.prepare("text", english(4000))
        cls.path = cls.home.root / "spec.json"
        cls.write({"data": {"name": "text"}, "model": MODEL})

    @classmethod
    def tearDownClass(cls):
        cls.home.close()

    @classmethod
    def write(cls, spec, path=None):
        (path or cls.path).write_text(spec if isinstance(spec, str) else json.dumps(spec))

    def bring(self, name, *args):
        path = self.home.root / "curve.csv"
        path.write_text(CURVE)
        return self.home.json("import", path, "--name", name, *args)["runs"][0]["id"]

    def refused(self, code, words, *args):
        done = self.home.ctl(*args, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        for word in (words,) if isinstance(words, str) else words:
            self.assertIn(word, done.stderr)
        self.assertEqual((done.stdout, done.stderr.count("\n")), ("", 1), done.stderr)
        return done.stderr

    def submit_refused(self, words, *args):
        text = self.refused(2, words, "submit", self.path, *args)
        self.assertTrue(text.startswith(f"bakactl submit: {args[0]}"), text)
        self.assertEqual(self.home.json("list", "--tag", "none")["runs"], [])
        return text

    def test_names_and_tags(self):
        for flag in ("--name", "--tag"):
            for bad in ("bad name", "", "../x", ".x", "x" * 65, "\u00e9", "two\nlines"):
                self.submit_refused(("beginning with a letter or digit, at most 64", "bakactl help submit"), flag, bad)
            self.submit_refused("form of a run's id", flag, "b00012")
            for bad in ("bad name", ""):
                name = ("--name", "x") if flag == "--tag" else ()
                self.refused(2, (flag, "at most 64"), "import", self.path, *name, flag, bad)
        self.submit_refused("at most 16", *(("--tag", "t") * 17))

    def test_limits(self):
        for bad in ("0", "-1", "10001", "100000", "x", "1.5", ""):
            self.submit_refused("an integer from 1 to 10000 is needed", "--seeds", bad)
        self.refused(2, "the 10000 runs", "submit", self.path, "--seeds", "5000", "--sweep", "train.batch=1,2,3")
        self.submit_refused("at most 16", *(("--sweep", "train.batch=1") * 17))
        self.submit_refused("at most 256", *(("--set", "train.batch=1") * 257))
        self.submit_refused("swept already", "--seeds", "2", "--sweep", "train.seed=1,2")

    def test_values(self):
        for flag in ("--set", "--sweep"):
            self.submit_refused("did you mean train.batch?", flag, "train.bach=1")
            self.submit_refused("an integer from 1 to 1048576", flag, "train.batch=0")
            self.submit_refused("is a group of fields", flag, "model.ffn=gelu")
            self.submit_refused('name is "a=b"', flag, "name=a=b")
            self.submit_refused("", flag, "train.batch")
        self.submit_refused("is empty", "--sweep", "train.batch=1,,2")

    def test_numbers_as_typed(self):
        for field, text in (("train.epochs", "1e400"), ("train.epochs", "1.7e308"), ("train.clip", "1e-400"),
                            ("train.epochs", "1.0e+7"), ("train.seed", "01"), ("train.batch", "2e9"),
                            ("train.optimizer.betas", "[0.9,1e400]"), ("train.optimizer.betas", "0.90,1.0")):
            for flag in ("--set", "--sweep") if "," not in text else ("--set",):
                self.assertIn(f"{field} is {text}", self.submit_refused("; it must be", flag, f"{field}={text}"))
        self.submit_refused("a number from 0 to 1000000", "--set", "train.epochs=1.7e308")
        self.write('{"data":{"name":"text"},"train":{"clip":1e-400}}', self.home.root / "tiny.json")
        self.refused(1, "1e-400 is beyond the range of a double", "submit", self.home.root / "tiny.json")

    def test_swept_names(self):
        self.refused(1, "name is swept already", "submit", self.path, "--name", "z", "--sweep", "name=a,b")
        done = self.home.json("submit", self.path, "--sweep", "name=swept-a,swept-b")
        self.assertEqual([r["name"] for r in done["runs"]], ["swept-a", "swept-b"])
        for run in done["runs"]:
            self.home.ctl("cancel", run["id"], check=False)

    def test_usage_errors_as_json(self):
        for args in (("frobnicate", "--json"), ("--json", "frobnicate"), ("show", "--json"), ("list", "--json", "--bogus"),
                     ("list", "--bogus", "--json"), ("submit", self.path, "--set", "train.batch=0", "--json"),
                     ("wait", "x", "--timeout", "soon", "--json"), ("list", "--json", "--home="), ("--json", "data"),
                     ("steps", "x", "--csv", "--json"), ("help", "nosuch", "--json")):
            done = subprocess.run([BAKACTL, "--home", self.home.path, *args] if "--home=" not in args else [BAKACTL, *args],
                                  capture_output=True, text=True, timeout=30)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1), (args, done.stderr))
            error = json.loads(done.stdout)["error"]
            self.assertEqual((error["code"], error["path"]), ("invalid", ""))
            self.assertIn(error["message"], done.stderr)

    def test_repeated_values(self):
        for field, values, words in (("train.batch", "4,8,4", "has the value 4 twice"),
                                     ("train.batch", "4,4.0", "as 4 and 4.0"),
                                     ("train.optimizer.lr", "1e-3,2e-3,0.001", "as 1e-3 and 0.001"),
                                     ("train.optimizer.betas", "[0.9,0.95],[0.90,0.95]", "twice"),
                                     ("train.steps", "null,5,0", "twice"),
                                     ("model.ffn.type", "gelu,swiglu,gelu", "has the value gelu twice")):
            text = self.submit_refused(words, "--sweep", f"{field}={values}")
            self.assertIn(field, text)
            with self.subTest(api=values):
                connection = Unix(self.home.path / "bakad.sock")
                texts = re.findall(r"\[[^]]*\]|[^,]+", values)
                connection.request("POST", "/v1/runs", json.dumps({
                    "spec": json.loads(self.path.read_text()), "sweep": [{"path": field, "values": texts}]}))
                answer = connection.getresponse()
                error = json.loads(answer.read())["error"]
                connection.close()
                self.assertEqual((answer.status, error["code"], error["path"]), (400, "invalid", "sweep[0].values"))
                self.assertIn(field, error["message"])
                self.assertIn(words, error["message"])

    def test_ranges(self):
        for field, bad, good in (("model.ffn.elephant.a", ("1e-320", "1e-4", "0", "1e4"), ("1e-3", "1000")),
                                 ("model.ffn.elephant.d", ("0.5", "65"), ("1", "64")),
                                 ("train.optimizer.lr", ("1e-320", "0", "1e-13"), ("1e-12", "1000")),
                                 ("train.optimizer.eps", ("1e-320", "0", "1e-17"), ("1e-16", "1"))):
            for value in bad:
                self.assertIn("it must be a number from", self.submit_refused(field, "--set", f"{field}={value}"))
            for value in good:
                # the daemon would run it; that the field takes it shows in what is refused next
                self.refused(2, "--seeds", "submit", self.path, "--set", f"{field}={value}", "--seeds", "0")
        self.refused(1, "at least 1e-6", "submit", self.path, "--set", "train.clip=1e-300")

    def test_references(self):
        for verb in ("show", "steps", "evals", "logs", "cancel", "retry", "pause", "resume", "wait", "compare", "list"):
            for bad in ("", "a b", "../x"):
                self.refused(2, (f"bakactl {verb}: ", "at most 64"), verb, bad)
        self.refused(2, "name of a data set", "data", "dump", "a b")
        self.refused(2, "an argument is empty", "submit", "")
        self.refused(2, "an argument is empty", "import", "", "--name", "x")
        self.bring("of-a-tag", "--tag", "only-a-tag")
        for verb in ("show", "steps", "evals", "logs", "cancel", "retry", "pause", "resume"):
            self.refused(1, "only-a-tag is a tag", verb, "only-a-tag")
        self.refused(2, "--svg is empty", "compare", "of-a-tag", "--svg", "")

    def test_filters(self):
        header = self.home.ctl("list", "--tag", "nobody").stdout
        self.assertRegex(header, r"^ID +NAME +STATE .*\n$")
        self.bring("listed", "--tag", "seen")
        for args in (("--tag", "nobody"), ("--state", "failed"), ("listed", "--state", "failed"),
                     ("seen", "--tag", "nobody")):
            self.assertEqual(self.home.ctl("list", *args).stdout, header)
            self.assertEqual(self.home.json("list", *args), {"runs": []})
        self.refused(1, "no run and no tag is called nosuch", "list", "nosuch")
        self.refused(2, ("--state", "queued, blocked"), "list", "--state", "bogus")
        self.refused(2, "--tag", "list", "--tag", "a b")
        for state in ("queued", "blocked", "starting", "running", "paused", "finished", "stopped", "failed", "diverged",
                      "cancelled"):
            self.home.ctl("list", "--state", state)

    def test_name_and_tag(self):
        other = self.bring("rival", "--tag", "both")
        for args in (("list", "both"), ("compare", "both"), ("wait", "both")):
            self.assertEqual(self.home.ctl(*args).stderr, "")
        named = self.bring("both")
        for args in (("list", "both"), ("compare", "both"), ("wait", "both"), ("compare", "rival", "both", "--json")):
            done = self.home.ctl(*args)
            self.assertEqual(done.stderr, f"bakactl: note: both is the run {named} here; the tag both has other runs: "
                                          "bakactl list --tag both shows them\n")
        self.assertEqual([r["id"] for r in self.home.json("compare", "both")["runs"]], [named])
        self.assertEqual(self.home.ctl("compare", named, other).stderr, "")
        # where both mean the same there is nothing to say
        self.bring("alone", "--tag", "alone")
        self.assertEqual(self.home.ctl("compare", "alone").stderr, "")
        for verb in ("list", "compare", "wait"):
            words = " ".join(self.home.ctl(verb, "--help").stdout.split())
            self.assertIn("as an id, then as a run's name (the newest run of that name), then as a tag", words)

    def test_state_directory(self):
        for command in ([BAKACTL, "--home", "", "list"], [BAKACTL, "list", "--home="], [BAKAD, "--home", ""],
                        [WORKER, "--home", "", "--plan", self.path]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=30)
            self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
            self.assertIn("--home is empty: a directory is needed", done.stderr)
        environment = {**os.environ, "BAKA_HOME": "", "XDG_STATE_HOME": str(self.home.root / "state")}
        done = subprocess.run([BAKACTL, "status"], capture_output=True, text=True, env=environment)
        self.assertEqual(done.returncode, 3)
        self.assertIn(f"{self.home.root}/state/baka", done.stderr)
        for program in (BAKACTL, BAKAD, WORKER):
            words = " ".join(subprocess.run([program, "--help"], capture_output=True, text=True).stdout.split())
            self.assertIn("a variable that is empty counts as not set", words.lower())

    def test_flags_of_the_daemon(self):
        for flag, value in (("--cpu-slots", "0"), ("--log-level", "loud"), ("--worker", ""), ("--config", "")):
            done = subprocess.run([BAKAD, "--home", self.home.root / "other", flag, value], capture_output=True, text=True,
                                  timeout=30)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertTrue(done.stderr.startswith(f"bakad: {flag}: "), done.stderr)

    def test_plan_says_what_submit_says(self):
        spec = self.home.root / "judged.json"
        for text in ({"data": {"name": "text"}, "model": {**MODEL, "vocab": 255}},
                     {"data": {"name": "text"}, "model": {**MODEL, "dim": 15}},
                     {"data": {"name": "text"}, "model": {**MODEL, "dimm": 16}}, '{"data":', "[]", ""):
            self.write(text, spec)
            plan = subprocess.run([WORKER, "--home", self.home.path, "--plan", spec], capture_output=True, text=True)
            self.assertEqual((plan.returncode, plan.stdout), (1, ""))
            submit = self.refused(1, "", "submit", spec)
            self.assertEqual(plan.stderr.removeprefix("baka-worker"), submit.removeprefix("bakactl"))
            if not isinstance(text, dict):
                self.assertIn(str(spec), plan.stderr)
        self.write({"data": {"name": "text"}, "model": {**MODEL, "vocab": 255}}, spec)
        self.refused(1, "model.vocab: 255 is less than the data set's vocabulary of 256", "submit", spec)
        for vocab in (256, 300):
            self.write({"data": {"name": "text"}, "model": {**MODEL, "vocab": vocab}}, spec)
            plan = subprocess.run([WORKER, "--home", self.home.path, "--plan", spec], capture_output=True, text=True)
            self.assertEqual(json.loads(plan.stdout)["vocab"], vocab)


class Terminal(unittest.TestCase):
    def test_help_fits(self):
        verbs = re.findall(r"^  ([a-z]+)  ", subprocess.run([BAKACTL, "--help"], capture_output=True, text=True).stdout,
                           re.M)
        self.assertIn("submit", verbs)
        commands = [[v] for v in verbs] + [["data", v] for v in ("prepare", "list", "dump", "verify")] + [[]]
        for command in commands:
            out = subprocess.run([BAKACTL, *command, "--help"], capture_output=True, text=True, check=True).stdout
            for line in out.splitlines():
                self.assertLessEqual(len(line), 88 if line.startswith("  bakactl ") else 81, line)

    def test_tables_fit(self):
        with Home() as home:
            path = home.root / "curve.csv"
            path.write_text(CURVE.replace("10,3,3", "10,12.3456,3"))
            ids = [home.json("import", path, "--name", f"elephant-elephant_glu-s{n}")["runs"][0]["id"] for n in range(3)]
            for args in (("list",), ("compare", *ids), ("data", "list"), ("status",), ("show", ids[0])):
                lines = on_terminal(BAKACTL, "--home", home.path, *args, NO_COLOR="1")
                self.assertTrue(lines)
                self.assertNotIn("\033", "".join(lines))
                tables = [l for l in lines if re.match(r"ID |b0|run |NAME |elephant", l) and " passes " not in l and " pass each" not in l]
                self.assertTrue(all(len(l) <= 80 for l in tables), lines)
                self.assertTrue(all(l == l.rstrip() for l in tables), lines)
            wide = on_terminal(BAKACTL, "--home", home.path, "list", columns=200, NO_COLOR="1")
            narrow = on_terminal(BAKACTL, "--home", home.path, "list", columns=60, NO_COLOR="1")
            self.assertIn("TOK/S", wide[0])
            self.assertNotIn("TOK/S", narrow[0])
            self.assertEqual(home.ctl("list").stdout.splitlines(), wide)
            self.assertIn("\033[1mID", on_terminal(BAKACTL, "--home", home.path, "list")[0])


if __name__ == "__main__":
    unittest.main(verbosity=2)
