"""configs/*.json run as they stand, and what the README tells to type does what it says."""
import json
import pathlib
import shlex
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BAKACTL, SANITIZED, WORKER, Home, english  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.json"))
LARGE = 2_000_000  # parameters; what has more is planned here, and trained on a GPU


class ConfigsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = Home("--cpu-slots", "2")
        for name in {json.loads(path.read_text())["data"]["name"] for path in CONFIGS}:
            cls.home.prepare(name, english(9000 if SANITIZED else 24000))

    @classmethod
    def tearDownClass(cls):
        cls.home.close()

    def plan(self, path):
        spec = json.loads(path.read_text())
        self.assertEqual((spec["name"], spec["train"]["eval_every"]), (path.stem, 0.05))
        done = subprocess.run([WORKER, "--home", self.home.path, "--plan", path], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, f"{path.name}: {done.stderr}")
        return json.loads(done.stdout)

    def test_small_ones_train_on_a_cpu(self):
        sizes = {}
        for path in CONFIGS:
            with self.subTest(path.name):
                params = self.plan(path)["params"]
                if params > LARGE:
                    continue
                sizes[path.stem] = params
                run = self.home.json("submit", path, "--set", "train.epochs=1", "--name", f"one-{path.stem}", "--wait")["runs"][0]
                self.assertEqual(run["state"], "finished")
                # 20 evaluations an epoch, or one a step where there are fewer
                evals = self.home.json("evals", run["id"])
                self.assertEqual(len(evals), min(20, run["total_steps"]))
                self.assertEqual((evals[-1]["epoch"], evals[-1]["step"]), (1, run["total_steps"]))
        self.assertLessEqual({"study", "demo", "gelu", "swiglu", "elephant"}, sizes.keys())
        # widths are rounded to 8, those of mini_moe unit by unit
        self.assertLess(max(sizes.values()) / min(sizes.values()), 1.03, sizes)

    def test_bakanets_are_equally_large(self):
        """12 d^2 parameters a feed-forward layer, to half of the 8 of width that matching rounds to, or a norm's."""
        plans = {p.stem: self.plan(p) for p in CONFIGS if p.stem.startswith("bakanet_")}
        swiglu = plans["bakanet_swiglu"]
        self.assertEqual((swiglu["params"], swiglu["d_ff"]), (190_481_664, 3072))
        for name, plan in plans.items():
            with self.subTest(config=name):
                self.assertLess(abs(plan["params"] - swiglu["params"]), 12 * 4 * 3 * 770)

    def test_the_study_of_the_readme(self):
        lines = [line.split("#")[0].strip() for line in (ROOT / "README.md").read_text().splitlines()]
        submit, = [line for line in lines if line.startswith("bakactl submit ")]
        wait, = [line for line in lines if line.startswith("bakactl wait ")]
        compare, = [line for line in lines if line.startswith("bakactl compare ")]

        here = self.home.root / "clone"  # the picture is not for the repository
        here.mkdir()
        (here / "configs").symlink_to(ROOT / "configs")

        def ctl(line, *more):
            done = subprocess.run([BAKACTL, "--home", self.home.path, *shlex.split(line)[1:], *more], cwd=here,
                                  capture_output=True, text=True, timeout=600)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout

        names = [run["name"] for run in json.loads(ctl(submit, "--json"))["runs"]]
        self.assertEqual(names, [f"study-{kind}-s{seed}" for kind in ("gelu", "swiglu", "elephant_glu") for seed in (1, 2, 3)])
        ctl(wait)
        text = ctl(compare)
        self.assertIn("<svg", (here / "study.svg").read_text())
        self.assertEqual([line.split()[1] for line in text.splitlines() if "±" in line and line.startswith("study-")], ["3"] * 3)
        self.assertNotIn("note:", text)
        answer = json.loads(ctl(compare, "--json"))
        for run in answer["runs"]:
            self.assertGreaterEqual(len(run["curves"]["val"]["step"]), 24 if SANITIZED else 60)


if __name__ == "__main__":
    unittest.main()
