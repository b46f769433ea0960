#!/usr/bin/env python3
"""test_report.py - a study written down: what Markdown and HTML say is what compare says, and the commands of `How to
reproduce` give the same specs."""
import html.parser
import json
import pathlib
import re
import shlex
import sys
import unittest
import xml.dom.minidom

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import DaemonCase  # noqa: E402


class Page(html.parser.HTMLParser):
    """Text by element; that tags are closed in order; that nothing is asked for from elsewhere."""
    VOID = {"meta", "br", "link", "img"}

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.outside = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.outside += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.outside += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, *tags):
        return [t for tag, t in self.texts if tag in tags]


class Report(DaemonCase):
    def study(self):
        runs = []
        for kind in ("gelu", "elephant_glu"):
            for seed in (1, 2, 3, 7):
                spec = {"train": {"seq_len": 16, "batch": 2, "seed": seed, "optimizer": {"type": "adamw", "lr": 0.0012345678901234567}},
                        "model": {"dim": 16, "layers": 1, "heads": 2, "ffn": {"type": kind}}}
                runs.append(self.d.queue(f"{kind}-s{seed}.n20", spec=spec, tags=["study"]))
        for run in runs:
            self.d.until(run, "finished")
        return runs

    def test_markdown(self):
        runs = self.study()
        path = self.d.root / "out.md"
        self.d.ctl("report", "study", "-o", path, "--title", "Elephants *and* others", "--question", "Which | is <lower>?")
        text = path.read_text()
        self.assertTrue(text.startswith("# Elephants \\*and\\* others\n"))
        self.assertIn("\nWhich \\| is \\<lower>?\n", text)
        self.assertEqual(re.findall(r"(?m)^## (.*)", text),
                         ["Question", "Design", "What is decided", "Curves", "Who passed whom", "Table", "Caveats",
                          "How to reproduce"])
        answer = self.d.json("compare", "study")
        self.assertIn(answer["decisions"][0]["text"], text)
        xml.dom.minidom.parse(str(self.d.root / "out.svg"))
        self.assertIn("](out.svg)\n", text)
        rows = [l for l in text.splitlines() if l.startswith("| ")]
        self.assertEqual({l.count("|") for l in rows[:2 + len(runs)]}, {rows[0].count("|")})
        self.assertEqual(self.d.ctl("report", "study", "-o", "-").stdout.count("\n## "), 8)
        # again, by what the report says
        self.assertEqual(text.count("bakactl submit spec.json"), 4)  # two groups, seeds 1 to 3, and 7
        spec = re.search(r"\n    \{\n.*?\n    \}\n", text, re.S)[0]
        (self.d.root / "spec.json").write_text(spec)
        hashes = {r["spec_hash"] for r in answer["runs"]}
        again = []
        for line in re.findall(r"(?m)^    bakactl (submit spec\.json.*)$", text):
            words = shlex.split(line)
            words[1] = self.d.root / "spec.json"
            again += [r["id"] for r in self.d.json(*words)["runs"]]
        self.assertEqual(len(again), len(runs))
        self.assertEqual({self.d.get(f"/v1/runs/{r}")["spec_hash"] for r in again}, hashes)

    def test_html(self):
        self.study()
        path = self.d.root / "out.html"
        self.d.ctl("report", "study", "-o", path, "--question", "Is a < b & c?")
        page = Page(path.read_text())
        self.assertEqual(page.open, [])
        self.assertEqual(page.outside, [])
        self.assertNotRegex(path.read_text(), r"<script|@import|url\((?!#)")
        self.assertIn("Is a < b & c?", page.all("p"))
        self.assertEqual(len(page.all("h2")), 8)
        answer = self.d.json("compare", "study")
        self.assertIn(answer["decisions"][0]["text"], page.all("li"))
        self.assertIn("gelu-s1.n20", page.all("td"))
        self.assertEqual(path.read_text().count("<svg"), 1)
        self.assertTrue(any("bakactl submit spec.json" in t for t in page.all("pre")))

    def test_compare_writes_them_too(self):
        run = self.d.queue("n20")
        self.d.until(run, "finished")
        page, text = self.d.root / "c.html", self.d.root / "c.md"
        told = self.d.ctl("compare", run, "--html", page, "--md", text, "--at", "tokens").stdout
        self.assertIn(f"written to {page}", told)
        self.assertIn("val at 160 tokens", text.read_text())
        self.assertEqual(Page(page.read_text()).open, [])
        self.assertEqual(json.loads(self.d.ctl("compare", run, "--json", "--md", text).stdout)["runs"][0]["id"], run)
        for words, args in (("all want standard output", ("--md", "-", "--json")), ("--html is empty", ("--html", ""))):
            p = self.d.ctl("compare", run, *args, check=False)
            self.assertEqual((p.returncode, words in p.stderr), (2, True), p.stderr)

    def test_imports_and_refusals(self):
        path = self.d.root / "curve.csv"
        path.write_text("step,epoch,tokens,loss\n1,0.5,10,3\n2,1,20,2\n")
        run = self.d.json("import", path, "--name", "foreign")["runs"][0]["id"]
        self.assertIn("All of these curves were imported", self.d.ctl("report", run, "-o", "-").stdout)
        for words, args in (("-o FILE is needed", (run,)), ("ends in .md or .html", (run, "-o", "out.pdf")),
                            ("a report is no JSON", (run, "-o", "-", "--json"))):
            p = self.d.ctl("report", *args, check=False)
            self.assertEqual((p.returncode, words in p.stderr), (2, True), p.stderr)
        p = self.d.ctl("report", run, "-o", self.d.root / "none" / "out.md", check=False)
        self.assertEqual((p.returncode, len(p.stderr.splitlines())), (1, 1), p.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
