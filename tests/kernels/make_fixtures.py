#!/usr/bin/python3
"""make_fixtures.py DIRECTORY: PyTorch's answers in float64 for small shapes, read by test_torch.c.

Written with PyTorch 1.13 (Debian's python3-torch); run it again only when a fixture's content has to change. A file is
a series of arrays: a line "name count", then a line of that many numbers in the shortest form that reads back equal.
"""
import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.manual_seed(20240607)


class Fixture:
    def __init__(self, directory, name):
        self.path = os.path.join(directory, name + ".txt")
        self.lines = []

    def put(self, name, values):
        if isinstance(values, torch.Tensor):
            values = values.detach().reshape(-1).tolist()
        self.lines += ["%s %d" % (name, len(values)), " ".join(repr(v) for v in values)]

    def write(self):
        with open(self.path, "w") as f:
            f.write("\n".join(self.lines) + "\n")


def leaf(*shape, scale=1.0):
    # Numbers with few digits are exact in float32 too and keep the files small.
    return (torch.round(torch.randn(*shape) * scale * 256) / 256).requires_grad_()


def activations(directory):
    x = torch.cat([torch.linspace(-12, 12, 193), torch.tensor([-40.0, -30.5, 25.25, 100.0])])
    f = Fixture(directory, "activations")
    f.put("x", x)
    functions = [
        ("gelu_erf", lambda t: F.gelu(t)),
        ("gelu_tanh", lambda t: F.gelu(t, approximate="tanh")),
        ("relu2", lambda t: F.relu(t) ** 2),
        ("silu", lambda t: F.silu(t)),
        ("elephant_1_8", lambda t: 1 / (1 + (t / 1).abs() ** 8)),
        ("elephant_0.7_4", lambda t: 1 / (1 + (t / 0.7).abs() ** 4)),
        ("elephant_1.3_2.5", lambda t: 1 / (1 + (t / 1.3).abs() ** 2.5)),
    ]
    for name, function in functions:
        t = x.clone().requires_grad_()
        y = function(t)
        y.sum().backward()
        f.put(name, y)
        f.put(name + ".d", t.grad)
    f.write()


def norms(directory):
    rows, dim = 5, 24
    x, dy, w, b = leaf(rows, dim), leaf(rows, dim), leaf(dim), leaf(dim)
    f = Fixture(directory, "norms")
    f.put("shape", [rows, dim])
    for name, t in (("x", x), ("dy", dy), ("weight", w), ("bias", b)):
        f.put(name, t)
    y = F.layer_norm(x, (dim,), w, b, 1e-5)
    y.backward(dy)
    for name, t in (("layernorm.y", y), ("layernorm.dx", x.grad), ("layernorm.dw", w.grad), ("layernorm.db", b.grad)):
        f.put(name, t)
    x.grad = w.grad = None
    y = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * w
    y.backward(dy)
    for name, t in (("rmsnorm.y", y), ("rmsnorm.dx", x.grad), ("rmsnorm.dw", w.grad)):
        f.put(name, t)
    f.write()


def rotate_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


def attention(directory):
    """GPT-NeoX: rotary on the first dims of each head as Hugging Face writes it, causal mask, also by documents."""
    batch, seq, heads, dim, rotary = 2, 19, 2, 8, 4
    qkv, d_out = leaf(batch, seq, 3, heads, dim), leaf(batch, seq, heads * dim)
    first = torch.zeros(batch, seq, dtype=torch.long)
    first[0, 7:] = 7
    first[1, 3:] = 3
    first[1, 12:] = 12
    angles = torch.arange(seq)[:, None] * (10000.0 ** (-torch.arange(0, rotary, 2) / rotary))[None]
    angles = torch.cat((angles, angles), dim=-1)[None, :, None, :]
    f = Fixture(directory, "attention")
    f.put("shape", [batch, seq, heads, dim, rotary])
    f.put("qkv", qkv)
    f.put("d_out", d_out)
    f.put("first", first.reshape(-1).tolist())
    for name, documents in (("plain", False), ("documents", True)):
        qkv.grad = None
        q, k, v = qkv.unbind(2)
        turned = []
        for t in (q, k):
            r, rest = t[..., :rotary], t[..., rotary:]
            turned.append(torch.cat((r * angles.cos() + rotate_half(r) * angles.sin(), rest), dim=-1).transpose(1, 2))
        scores = turned[0] @ turned[1].transpose(-1, -2) / math.sqrt(dim)
        t, j = torch.arange(seq)[None, :, None], torch.arange(seq)[None, None, :]
        visible = (j <= t) & ((j >= first[:, :, None]) if documents else (j >= 0))
        scores = scores.masked_fill(~visible[:, None], -math.inf)
        out = (scores.softmax(-1) @ v.transpose(1, 2)).transpose(1, 2).reshape(batch, seq, heads * dim)
        out.backward(d_out)
        f.put(name + ".out", out)
        f.put(name + ".lse", scores.logsumexp(-1))
        f.put(name + ".d_qkv", qkv.grad)
    f.write()


def classifier(directory):
    rows, dim, vocab, scale = 9, 6, 21, 0.125
    x, w = leaf(rows, dim), leaf(vocab, dim)
    targets = torch.randint(0, vocab, (rows,))
    targets[2] = targets[8] = -1
    loss = F.cross_entropy(x @ w.T, targets, ignore_index=-1, reduction="sum")
    (loss * scale).backward()
    f = Fixture(directory, "classifier")
    f.put("shape", [rows, dim, vocab])
    f.put("scale", [scale])
    f.put("targets", targets.tolist())
    for name, t in (("x", x), ("w", w), ("loss", loss), ("dx", x.grad), ("dw", w.grad)):
        f.put(name, t)
    f.write()


def adamw(directory):
    """Five steps with clipping by global norm, decay on the first tensor only."""
    sizes, steps = (30, 7), 5
    p = [leaf(n) for n in sizes]
    f = Fixture(directory, "adamw")
    settings = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "decay": 0.1, "clip": 2.0}
    for name, value in settings.items():
        f.put(name, [value])
    for i, t in enumerate(p):
        f.put("p%d.0" % i, t)
    optimizer = torch.optim.AdamW(
        [{"params": p[:1], "weight_decay": settings["decay"]}, {"params": p[1:], "weight_decay": 0.0}],
        lr=settings["lr"], betas=(settings["beta1"], settings["beta2"]), eps=settings["eps"])
    for step in range(1, steps + 1):
        for i, t in enumerate(p):
            t.grad = leaf(sizes[i], scale=0.5 * step).detach()
            f.put("g%d.%d" % (i, step), t.grad)
        f.put("norm.%d" % step, [float(torch.nn.utils.clip_grad_norm_(p, settings["clip"]))])
        optimizer.step()
        for i, t in enumerate(p):
            f.put("p%d.%d" % (i, step), t)
    f.write()


def run_optimizer(directory, name, shapes, settings, update, steps=4):
    """update(i, p, g, step, keep) changes p in place, keep being what the decay leaves; the gradients are clipped by their global norm before, as in adamw."""
    p = [leaf(*shape).detach() for shape in shapes]
    f = Fixture(directory, name)
    for key, value in settings.items():
        f.put(key, [value])
    for i, t in enumerate(p):
        f.put("p%d.0" % i, t)
    for step in range(1, steps + 1):
        g = [leaf(*shape, scale=0.5 * step).detach() for shape in shapes]
        for i, t in enumerate(g):
            f.put("g%d.%d" % (i, step), t)
        norm = torch.sqrt(sum((t * t).sum() for t in g))
        factor = min(1.0, settings["clip"] / (float(norm) + 1e-6)) if settings["clip"] else 1.0
        f.put("norm.%d" % step, [float(norm)])
        for i, t in enumerate(p):
            update(i, t, g[i] * factor, step, 1 - settings["lr"] * settings["decay"] if len(shapes[i]) == 2 else 1)
            f.put("p%d.%d" % (i, step), t)
    f.write()


def sgd(directory):
    """torch.optim.SGD, plain and with momentum; the decay is decoupled."""
    for name, momentum in (("sgd", 0.0), ("sgd_momentum", 0.9)):
        settings = {"lr": 3e-2, "momentum": momentum, "decay": 0.1, "clip": 2.0}
        optimizers = {}

        def update(i, p, g, step, keep):
            if i not in optimizers:
                optimizers[i] = torch.optim.SGD([p], lr=settings["lr"], momentum=momentum)
            p.mul_(keep)
            p.grad = g
            optimizers[i].step()

        run_optimizer(directory, name, ((6, 5), (7,)), settings, update)


def lion(directory):
    """Chen et al. 2023, algorithm 2."""
    settings = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.99, "decay": 0.5, "clip": 2.0}
    m = {}

    def update(i, p, g, step, keep):
        p.mul_(keep)
        m.setdefault(i, torch.zeros_like(p))
        p.sub_(settings["lr"] * torch.sign(settings["beta1"] * m[i] + (1 - settings["beta1"]) * g))
        m[i].mul_(settings["beta2"]).add_(g, alpha=1 - settings["beta2"])

    run_optimizer(directory, "lion", ((6, 5), (7,)), settings, update)


def newton_schulz(x):
    """Jordan et al. 2024, in numpy and double."""
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


def muon(directory):
    """A tall matrix, a wide one, and one that is two of three rows each."""
    parts = (1, 1, 2)
    settings = {"lr": 2e-2, "momentum": 0.95, "decay": 0.1, "clip": 2.0}
    m = {}

    def update(i, p, g, step, keep):
        p.mul_(keep)
        m.setdefault(i, torch.zeros_like(p)).lerp_(g, 1 - settings["momentum"])
        step = torch.lerp(g, m[i], settings["momentum"])
        for u, q in zip(step.chunk(parts[i]), p.chunk(parts[i])):
            tall = u.shape[0] > u.shape[1]
            o = newton_schulz(u.numpy().T if tall else u.numpy())
            q.sub_(settings["lr"] * math.sqrt(max(1, u.shape[0] / u.shape[1])) * torch.from_numpy(o.T if tall else o))

    run_optimizer(directory, "muon", ((9, 4), (4, 6), (6, 5)), settings, update)


def adalomo(directory):
    """AdaLomo.fuse_update of OpenLMLab/LOMO, formula by formula."""
    settings = {"lr": 5e-2, "decay": 0.1, "clip": 2.0}
    rows, columns, whole = {}, {}, {}

    def rms(t):
        return float(torch.norm(t)) / math.sqrt(t.numel())

    def update(i, p, g, step, keep):
        beta2 = 1 - step ** -0.8
        q = g * g + 1e-30
        rate = settings["lr"] * max(1e-3, rms(p))
        if p.dim() == 2:
            rows[i] = beta2 * rows.get(i, 0) + (1 - beta2) * q.mean(-1)
            columns[i] = beta2 * columns.get(i, 0) + (1 - beta2) * q.mean(-2)
            u = (rows[i] / rows[i].mean()).rsqrt()[:, None] * columns[i].rsqrt()[None] * g
        else:
            whole[i] = beta2 * whole.get(i, 0) + (1 - beta2) * q
            u = whole[i].rsqrt() * g
        p.mul_(1 - rate * settings["decay"] if p.dim() == 2 else 1).sub_(rate * u / max(1.0, rms(u)))

    run_optimizer(directory, "adalomo", ((6, 5), (7,)), settings, update)


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    for make in (activations, norms, attention, classifier, adamw, sgd, lion, muon, adalomo):
        make(sys.argv[1])
