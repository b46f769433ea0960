#!/usr/bin/env python3
"""What a worker with a GPU tells of it (MFU, energy, health), from its journal to bakad's answers and bakactl's lines;
the worker is fake_worker.py."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from daemon_case import DaemonCase  # noqa: E402


class GpuHealth(DaemonCase):
    def test_a_run_with_xids(self):
        """Three attempts, each ended by a crash at step 12 and an Xid, each with 1.8 MJ."""
        run = self.d.queue("n20.k5.r12.x3.g79", tags=["study"])
        shown = self.d.until(run, "failed")
        self.assertEqual(shown["attempts"], 3)
        self.assertEqual(shown["energy_j"], 3 * 1.8e6)
        self.assertAlmostEqual(shown["mfu"], 0.4)
        self.assertEqual(shown["flops_per_token"], 6000)
        self.assertEqual([a["peak_flops"] for a in shown["attempt_list"]], [1.2e8] * 3)
        self.assertEqual([(s["attempt"], s["step"], s["xid"]) for s in shown["gpu"]], [(n, 12, 79) for n in (1, 2, 3)])
        newest = {k: v for k, v in shown["gpu"][-1].items() if k != "time_ms"}
        self.assertEqual(newest, {
            "attempt": 3, "step": 12, "memory_used": 20 << 30, "memory_total": 80 << 30, "temperature_c": 64,
            "sm_clock_mhz": 1755, "power_w": 312.3, "energy_j": 1.8e6, "throttle": ["sw_power_cap", "hw_thermal"],
            "ecc_uncorrected": 0, "xid": 79})
        samples = self.d.get(f"/v1/runs/{run}/gpu")["samples"]
        self.assertEqual([(s["attempt"], s["step"]) for s in samples],
                         [(1, 0), (1, 12), (2, 10), (2, 12), (3, 10), (3, 12)])
        self.assertEqual(samples[0]["throttle"], [])
        steps = self.d.get(f"/v1/runs/{run}/steps")
        self.assertEqual(steps["columns"][-1], "mfu")
        self.assertEqual([row[-1] for row in steps["rows"]], [0.4] * 12)

        text = self.d.ctl("show", run).stdout
        for line in ("gpu       312 W, 64 °C, 1755 MHz, 20.0 GiB of 80.0 GiB in use, slowed by sw_power_cap, hw_thermal",
                     "energy    1.5 kWh", "MFU       40% of the GPU's peak", "6.00k FLOPs a token",
                     "warning   attempt 1: the GPU reported Xid 79", "warning   attempt 3: the GPU reported Xid 79"):
            self.assertIn(line, text)
        lines = self.d.ctl("steps", run, "--csv").stdout.splitlines()
        self.assertEqual(lines[0], "step,epoch,tokens,loss,lr,grad_norm,ms,tok_s,mfu")
        self.assertEqual(float(lines[12].split(",")[8]), 0.4)
        self.assertRegex(self.d.ctl("list").stdout, r"(?s)^ID .* MFU .*\b40%")

        other = self.d.queue("n20.m1", tags=["study"])
        self.d.until(other, "finished")
        table = self.d.ctl("compare", "study").stdout
        self.assertRegex(table.splitlines()[0], r" tok/s +MFU +time +energy +peak memory$")
        self.assertRegex(table, r"(?m)^n20\.k5\.\S+ .* 40% .* 1\.5 kWh ")

    def test_a_run_without(self):
        run = self.d.queue("n5.m1")
        shown = self.d.until(run, "finished")
        self.assertEqual((shown["mfu"], shown["energy_j"], shown["gpu"]), (None, None, []))
        self.assertIsNone(shown["attempt_list"][0]["peak_flops"])
        self.assertEqual(self.d.get(f"/v1/runs/{run}/gpu"), {"samples": []})
        self.assertEqual([row[-1] for row in self.d.get(f"/v1/runs/{run}/steps")["rows"]], [None] * 5)
        lines = self.d.ctl("steps", run).stdout.splitlines()
        self.assertTrue(lines[0].endswith(",tok_s,mfu") and lines[1].endswith("8000,"), lines[:2])
        for text in (self.d.ctl("list").stdout, self.d.ctl("compare", run).stdout, self.d.ctl("show", run).stdout):
            self.assertNotIn("MFU", text)
            self.assertNotIn("energy", text)
        self.assertEqual(self.d.get("/v1/runs/b00099/gpu", 404)["error"]["code"], "not_found")


if __name__ == "__main__":
    unittest.main()
