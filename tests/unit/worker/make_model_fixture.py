#!/usr/bin/env python3
"""Writes model_fixture.bin: what PyTorch says about eight small models.

Usage: /usr/bin/python3 make_model_fixture.py model_fixture.bin      (torch 1.13 or newer)

The model is written here anew from the papers, in float64, on autograd; it shares nothing with baka's code. Each case
has its spec, inputs, initial weights, loss and gradients of the first step, and the losses, gradient norms and final
weights of five AdamW steps with clipping (torch.optim.AdamW, clip_grad_norm_).

File: "BAKAFIX1", then records: name (64 bytes, NUL-padded), count (int64), values (float64), all little-endian.
"""
import math
import struct
import sys

import torch
import torch.nn.functional as F

FFN = ["gelu", "relu2", "swiglu", "geglu", "elephant", "elephant_glu", "mini_moe", "sdpa"]
CASES = {
    "neox": dict(dim=8, layers=2, heads=2, vocab=13, d_ff=16, rms=0, norms=2, parallel=1, pct=0.5, base=10000.0, tie=0,
                 bias=1, ffn="gelu", tanh=0, a=1.0, p=8.0, seq=6, batch=3, documents=0),
    "llama": dict(dim=12, layers=2, heads=3, vocab=11, d_ff=10, rms=1, norms=2, parallel=0, pct=1.0, base=500.0, tie=1,
                  bias=0, ffn="swiglu", tanh=0, a=1.0, p=8.0, seq=7, batch=2, documents=1),
    "baka": dict(dim=8, layers=2, heads=2, vocab=17, d_ff=12, rms=0, norms=1, parallel=1, pct=1.0, base=10000.0, tie=0,
                 bias=0, ffn="elephant_glu", tanh=0, a=1.3, p=8.0, seq=8, batch=2, documents=1),
    "mixed": dict(dim=8, layers=2, heads=1, vocab=10, d_ff=9, rms=1, norms=2, parallel=1, pct=0.25, base=100.0, tie=0,
                  bias=1, ffn="geglu", tanh=1, a=1.0, p=4.0, seq=5, batch=4, documents=0),
    "units": dict(dim=8, layers=2, heads=2, vocab=11, d_ff=12, rms=0, norms=2, parallel=1, pct=0.5, base=10000.0, tie=0,
                  bias=1, ffn="mini_moe", units=3, tanh=0, a=1.0, p=8.0, seq=5, batch=2, documents=0),
    "vectors": dict(dim=6, layers=2, heads=2, vocab=9, d_ff=8, rms=1, norms=2, parallel=0, pct=0.5, base=10000.0, tie=0,
                    bias=1, ffn="mini_moe", units=2, vector=1, tanh=0, a=1.0, p=8.0, seq=5, batch=2, documents=0),
    "lookup": dict(dim=8, layers=2, heads=2, vocab=11, d_ff=8, rms=0, norms=1, parallel=1, pct=1.0, base=10000.0, tie=0,
                   bias=1, ffn="sdpa", n=9, tanh=0, a=1.0, p=8.0, seq=5, batch=2, documents=0),
    "shaped": dict(dim=8, layers=2, heads=2, vocab=11, d_ff=10, rms=0, norms=2, parallel=1, pct=0.5, base=10000.0, tie=0,
                   bias=1, ffn="elephant_glu", learnable=1, pre_norm=1, tanh=0, a=0.6, p=4.0, seq=5, batch=2,
                   documents=0),
}
TRAIN = dict(lr=0.02, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip=0.7)
STEPS = 5


def parameters(c, generator):
    """Names and shapes as baka's plan has them; values large enough that every nonlinearity is at work."""
    d, out = c["dim"], {}

    def normal(name, std, *shape):
        out[name] = (torch.randn(*shape, generator=generator, dtype=torch.float64) * std)

    def norm(name):
        normal(name + ".weight", 0.2, d)
        out[name + ".weight"] += 1.0
        if c["bias"] and not c["rms"]:
            normal(name + ".bias", 0.2, d)

    def linear(name, rows, cols):
        normal(name + ".weight", 0.45, rows, cols)
        if c["bias"]:
            normal(name + ".bias", 0.2, rows)

    def feed_forward_of(name):
        if c["ffn"] == "mini_moe":
            gates = c["units"] * (d if c.get("vector") else 1)
            linear(name + ".up", 2 * c["d_ff"], d)
            linear(name + ".gate", gates, d)
            if c.get("vector"):
                linear(name + ".down", c["units"] * d, c["d_ff"] // c["units"])
            else:
                linear(name + ".down", d, c["d_ff"])
            return
        if c["ffn"] == "sdpa":
            linear(name + ".query", d, d)
            normal(name + ".key.weight", 0.7, c["n"], d)
            normal(name + ".value.weight", 0.7, c["n"], d)
            linear(name + ".down", d, d)
            return
        if c.get("pre_norm"):
            normal(name + ".norm.weight", 0.2, c["d_ff"])
            out[name + ".norm.weight"] += 1.0
            normal(name + ".norm.bias", 0.2, c["d_ff"])
        if c.get("learnable"):
            normal(name + ".log_h", 0.3, c["d_ff"])
            normal(name + ".log_sigma", 0.3, c["d_ff"])
        linear(name + ".up", c["d_ff"] * (2 if gated else 1), d)
        linear(name + ".down", d, c["d_ff"])

    gated = c["ffn"].endswith("glu")
    normal("embed.weight", 0.7, c["vocab"], d)
    for i in range(c["layers"]):
        for n in range(c["norms"]):
            norm(f"layers.{i}.norm{n + 1}")
        linear(f"layers.{i}.attn.qkv", 3 * d, d)
        linear(f"layers.{i}.attn.out", d, d)
        feed_forward_of(f"layers.{i}.ffn")
    norm("final_norm")
    if not c["tie"]:
        normal("head.weight", 0.7, c["vocab"], d)
    for value in out.values():
        value.requires_grad_(True)
    return out


def norm(c, w, name, x):
    if c["rms"]:
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * w[name + ".weight"]
    return F.layer_norm(x, (c["dim"],), w[name + ".weight"], w.get(name + ".bias"), 1e-5)


def linear(w, name, x):
    return F.linear(x, w[name + ".weight"], w.get(name + ".bias"))


def rotate(c, x):
    """x [batch, heads, seq, head_dim]: split-halves rotary embedding on the first dims of each head."""
    dims = int(c["pct"] * x.shape[-1]) // 2 * 2
    if dims == 0:
        return x
    theta = c["base"] ** (-torch.arange(0, dims, 2, dtype=torch.float64) / dims)
    angle = torch.arange(x.shape[2], dtype=torch.float64)[:, None] * theta[None, :]
    cos, sin = angle.cos(), angle.sin()
    first, second, rest = x[..., : dims // 2], x[..., dims // 2: dims], x[..., dims:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1)


def attention(c, w, i, x, visible):
    b, t, d = x.shape
    q, k, v = linear(w, f"layers.{i}.attn.qkv", x).split(d, -1)
    q, k, v = (z.view(b, t, c["heads"], d // c["heads"]).transpose(1, 2) for z in (q, k, v))
    q, k = rotate(c, q), rotate(c, k)
    scores = q @ k.transpose(-1, -2) / math.sqrt(d // c["heads"])
    scores = scores.masked_fill(~visible[:, None], -math.inf)
    out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, d)
    return linear(w, f"layers.{i}.attn.out", out)


def mini_moe(c, w, name, x):
    """Unit by unit, each a SwiGLU of its own; with scalar gates the output's bias comes once, behind the sum."""
    n, d, width, total = c["units"], c["dim"], c["d_ff"] // c["units"], c["d_ff"]
    up, up_bias = w[name + ".up.weight"], w[name + ".up.bias"]
    gates = linear(w, name + ".gate", x).sigmoid()
    y = 0.0
    for u in range(n):
        rows = slice(u * width, (u + 1) * width)
        if c.get("vector"):
            gate_rows = slice(2 * u * width, (2 * u + 1) * width)
            up_rows = slice((2 * u + 1) * width, (2 * u + 2) * width)
            down, bias = w[name + ".down.weight"][u * d: (u + 1) * d], w[name + ".down.bias"][u * d: (u + 1) * d]
            gate = gates[..., u * d: (u + 1) * d]
        else:
            gate_rows, up_rows = rows, slice(total + u * width, total + (u + 1) * width)
            down, bias = w[name + ".down.weight"][:, rows], None
            gate = gates[..., u: u + 1]
        h = F.silu(F.linear(x, up[gate_rows], up_bias[gate_rows])) * F.linear(x, up[up_rows], up_bias[up_rows])
        y = y + gate * F.linear(h, down, bias)
    return y if c.get("vector") else y + w[name + ".down.bias"]


def sdpa(c, w, name, x):
    """Keys and values are the same for all positions."""
    b, t, d = x.shape
    head = d // c["heads"]
    q = linear(w, name + ".query", x).view(b, t, c["heads"], head).transpose(1, 2)
    k, v = (w[f"{name}.{z}.weight"].view(1, c["n"], c["heads"], head).transpose(1, 2).expand(b, -1, -1, -1)
            for z in ("key", "value"))
    out = (q @ k.transpose(-1, -2) / math.sqrt(head)).softmax(-1) @ v
    return linear(w, name + ".down", out.transpose(1, 2).reshape(b, t, d))


def shaped_elephant(c, w, name, x):
    gate, up = linear(w, name + ".up", x).chunk(2, -1)
    gate = F.layer_norm(gate, (c["d_ff"],), w[name + ".norm.weight"], w[name + ".norm.bias"], 1e-5)
    e = w[name + ".log_h"].exp() / (1 + (gate / w[name + ".log_sigma"].exp()).abs() ** c["p"])
    return linear(w, name + ".down", e * up)


def feed_forward(c, w, i, x):
    if c["ffn"] in ("mini_moe", "sdpa"):
        return {"mini_moe": mini_moe, "sdpa": sdpa}[c["ffn"]](c, w, f"layers.{i}.ffn", x)
    if c.get("learnable"):
        return shaped_elephant(c, w, f"layers.{i}.ffn", x)
    act = {
        "gelu": lambda z: F.gelu(z, approximate="tanh" if c["tanh"] else "none"),
        "geglu": lambda z: F.gelu(z, approximate="tanh" if c["tanh"] else "none"),
        "relu2": lambda z: F.relu(z) ** 2,
        "swiglu": F.silu,
        "elephant": lambda z: 1 / (1 + (z / c["a"]).abs() ** c["p"]),
        "elephant_glu": lambda z: 1 / (1 + (z / c["a"]).abs() ** c["p"]),
    }[c["ffn"]]
    z = linear(w, f"layers.{i}.ffn.up", x)
    if c["ffn"].endswith("glu"):
        gate, up = z.chunk(2, -1)
        h = act(gate) * up
    else:
        h = act(z)
    return linear(w, f"layers.{i}.ffn.down", h)


def loss(c, w, inputs, targets, first):
    t = torch.arange(c["seq"])
    visible = (t[None, None, :] <= t[None, :, None]) & (t[None, None, :] >= first[:, :, None])
    x = w["embed.weight"][inputs]
    for i in range(c["layers"]):
        n1 = norm(c, w, f"layers.{i}.norm1", x)
        if c["parallel"]:
            n2 = norm(c, w, f"layers.{i}.norm2", x) if c["norms"] == 2 else n1
            x = x + attention(c, w, i, n1, visible) + feed_forward(c, w, i, n2)
        else:
            x = x + attention(c, w, i, n1, visible)
            x = x + feed_forward(c, w, i, norm(c, w, f"layers.{i}.norm2", x))
    x = norm(c, w, "final_norm", x)
    logits = x @ w["embed.weight" if c["tie"] else "head.weight"].T
    return F.cross_entropy(logits.reshape(-1, c["vocab"]), targets.reshape(-1), ignore_index=-1)


def make_inputs(c, generator):
    shape = (c["batch"], c["seq"])
    inputs = torch.randint(c["vocab"], shape, generator=generator)
    targets = torch.randint(c["vocab"], shape, generator=generator)
    targets[-1, -2:] = -1
    targets[0, 1] = -1
    first = torch.zeros(shape, dtype=torch.int64)
    if c["documents"]:
        first[0, 3:] = 3
        first[-1, 2:] = 2
        first[-1, 4:] = 4
    return inputs, targets, first


def run_case(index, name, c, write):
    generator = torch.Generator().manual_seed(index + 1)
    w = parameters(c, generator)
    inputs, targets, first = make_inputs(c, generator)
    write(f"{name}.spec", [c["dim"], c["layers"], c["heads"], c["vocab"], c["d_ff"], c["rms"], c["norms"],
                           c["parallel"], c["pct"], c["base"], c["tie"], c["bias"], FFN.index(c["ffn"]), c["tanh"],
                           c["a"], c["p"], c["seq"], c["batch"], c["documents"], TRAIN["lr"], TRAIN["beta1"],
                           TRAIN["beta2"], TRAIN["eps"], TRAIN["weight_decay"], TRAIN["clip"], c.get("units", 1),
                           c.get("vector", 0), c.get("n", 0), c.get("learnable", 0), c.get("pre_norm", 0)])
    write(f"{name}.inputs", inputs)
    write(f"{name}.targets", targets)
    write(f"{name}.first", first)
    for key, value in w.items():
        write(f"{name}.init.{key}", value)

    decayed = [v for v in w.values() if v.dim() == 2]
    others = [v for v in w.values() if v.dim() == 1]
    optimizer = torch.optim.AdamW([dict(params=decayed, weight_decay=TRAIN["weight_decay"]),
                                   dict(params=others, weight_decay=0.0)], lr=TRAIN["lr"],
                                  betas=(TRAIN["beta1"], TRAIN["beta2"]), eps=TRAIN["eps"])
    losses, norms = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        value = loss(c, w, inputs, targets, first)
        value.backward()
        if step == 0:
            for key, parameter in w.items():
                write(f"{name}.grad.{key}", parameter.grad)
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(w.values()), TRAIN["clip"])))
        losses.append(float(value))
        optimizer.step()
    write(f"{name}.losses", losses)
    write(f"{name}.norms", norms)
    for key, value in w.items():
        write(f"{name}.final.{key}", value)


def main():
    torch.set_num_threads(1)
    with open(sys.argv[1], "wb") as file:
        file.write(b"BAKAFIX1")

        def write(name, values):
            values = torch.as_tensor(values, dtype=torch.float64).detach().reshape(-1).tolist()
            file.write(struct.pack("<64sq", name.encode(), len(values)))
            file.write(struct.pack(f"<{len(values)}d", *values))

        for index, (name, case) in enumerate(CASES.items()):
            run_case(index, name, case, write)


if __name__ == "__main__":
    main()
