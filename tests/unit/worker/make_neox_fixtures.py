#!/usr/bin/env python3
"""Writes neox/CASE/: GPT-NeoX models as Hugging Face's transformers saves them, and the logits that they give.

Usage: /usr/bin/python3 make_neox_fixtures.py neox [CASE...]        (torch 1.13 or newer)

The forward pass is written here anew, in float64, from transformers' published modeling_gpt_neox.py; transformers itself
is not needed, and nothing is shared with baka's code. Without CASE the small ones are written, which stand in the
repository; "14m" and "160m" have the shapes of the published models and are for a look by hand:

  make_neox_fixtures.py /tmp/neox 14m && build/tests/unit/worker/test_worker_neox /tmp/neox/14m

  make_neox_fixtures.py --of FOLDER        writes FOLDER/expected.bin for a model that is there, as baka exports it

expected.bin: "BAKANEOX", int64 sequences, positions, vocabulary; int32 tokens; float32 logits; all little-endian.
"""
import json
import math
import pathlib
import struct
import sys

import torch
import torch.nn.functional as F

BASE = dict(architectures=["GPTNeoXForCausalLM"], model_type="gpt_neox", hidden_act="gelu", rotary_pct=0.25,
            rotary_emb_base=10000, layer_norm_eps=1e-5, use_parallel_residual=True, tie_word_embeddings=False,
            attention_bias=True, max_position_embeddings=64, torch_dtype="float32")


def shape(dim, layers, heads, vocab, **more):
    return dict(BASE, hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * dim,
                vocab_size=vocab, **more)


CASES = {
    # name: configuration, dtype, shards, what else the file holds
    "pythia": (shape(32, 2, 2, 61), "F32", 1, False),
    "sequential": (shape(24, 3, 3, 53, use_parallel_residual=False, hidden_act="gelu_new", rotary_pct=0.5,
                         rotary_emb_base=500), "BF16", 3, True),
    "tied": (shape(16, 2, 4, 47, tie_word_embeddings=True, rotary_pct=1.0), "F16", 1, True),
    "14m": (shape(128, 6, 4, 50304, max_position_embeddings=2048), "F16", 1, True),
    "160m": (shape(768, 12, 12, 50304, max_position_embeddings=2048), "F16", 2, True),
}
SMALL = ("pythia", "sequential", "tied")
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def parameters(c, generator):
    """Names and shapes of GPTNeoXForCausalLM; values large enough that every part is at work."""
    d, big = c["hidden_size"], c["hidden_size"] > 100
    out = {}

    def normal(name, std, *size, mean=0.0):
        out[name] = torch.randn(*size, generator=generator) * std + mean

    def linear(name, rows, cols):
        normal(name + ".weight", 1.5 / math.sqrt(cols), rows, cols)
        normal(name + ".bias", 0.2, rows)

    def norm(name):
        normal(name + ".weight", 0.2, d, mean=1.0)
        normal(name + ".bias", 0.2, d)

    normal("gpt_neox.embed_in.weight", 1.0, c["vocab_size"], d)
    for i in range(c["num_hidden_layers"]):
        layer = f"gpt_neox.layers.{i}."
        norm(layer + "input_layernorm")
        norm(layer + "post_attention_layernorm")
        linear(layer + "attention.query_key_value", 3 * d, d)
        linear(layer + "attention.dense", d, d)
        linear(layer + "mlp.dense_h_to_4h", c["intermediate_size"], d)
        linear(layer + "mlp.dense_4h_to_h", d, c["intermediate_size"])
    norm("gpt_neox.final_layer_norm")
    if not c["tie_word_embeddings"]:
        normal("embed_out.weight", (1.0 if big else 2.0) / math.sqrt(d), c["vocab_size"], d)
    return out


def derived(c):
    """What transformers saved beside the parameters until 4.3x."""
    n, dims = 8, int(c["hidden_size"] // c["num_attention_heads"] * c["rotary_pct"])
    for i in range(c["num_hidden_layers"]):
        layer = f"gpt_neox.layers.{i}.attention."
        yield layer + "bias", "BOOL", [1, 1, n, n], torch.ones(n, n, dtype=torch.bool).tril().numpy().tobytes()
        yield layer + "masked_bias", "F16", [], torch.tensor(-1e4, dtype=torch.float16).numpy().tobytes()
        frequencies = 1.0 / (c["rotary_emb_base"] ** (torch.arange(0, dims, 2).float() / dims))
        yield layer + "rotary_emb.inv_freq", "F32", [len(frequencies)], frequencies.numpy().tobytes()


def raw(tensor, dtype):
    t = tensor.to(DTYPES[dtype]).contiguous()
    return t.view(torch.int16).numpy().tobytes() if dtype == "BF16" else t.numpy().tobytes()


def write_file(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, size, data in tensors:
        header[name] = {"dtype": dtype, "shape": size, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for *_, data in tensors:
            f.write(data)


def write_model(folder, c, dtype, shards, extras):
    generator = torch.Generator().manual_seed(20240607)
    tensors = [(n, dtype, list(t.shape), raw(t, dtype)) for n, t in parameters(c, generator).items()]
    tensors += list(derived(c)) if extras else []
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(c, indent=1) + "\n")
    if shards == 1:
        write_file(folder / "model.safetensors", tensors)
        return
    index = {"metadata": {"total_size": sum(len(t[3]) for t in tensors)}, "weight_map": {}}
    for i in range(shards):
        name = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = tensors[i::shards]
        write_file(folder / name, part)
        index["weight_map"].update({t[0]: name for t in part})
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def read_model(folder):
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        n, = struct.unpack("<Q", data[:8])
        for name, t in json.loads(data[8:8 + n]).items():
            if name != "__metadata__" and t["dtype"] in DTYPES and t["shape"]:
                begin, end = (8 + n + o for o in t["data_offsets"])
                view = torch.frombuffer(bytearray(data[begin:end]), dtype=DTYPES[t["dtype"]])
                out[name] = view.double().view(t["shape"])
    return json.loads((folder / "config.json").read_text()), out


def rotate_half(x):
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


def attention(c, w, layer, x):
    batch, n, d = x.shape
    heads, size = c["num_attention_heads"], d // c["num_attention_heads"]
    dims = int(size * c["rotary_pct"])
    qkv = F.linear(x, w[layer + "query_key_value.weight"], w[layer + "query_key_value.bias"])
    qkv = qkv.view(batch, n, heads, 3 * size).permute(0, 2, 1, 3)
    q, k, v = qkv[..., :size], qkv[..., size:2 * size], qkv[..., 2 * size:]
    frequencies = 1.0 / (c["rotary_emb_base"] ** (torch.arange(0, dims, 2, dtype=torch.float64) / dims))
    angles = torch.outer(torch.arange(n, dtype=torch.float64), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    cos, sin = angles.cos(), angles.sin()

    def turn(t):
        rotated, rest = t[..., :dims], t[..., dims:]
        return torch.cat((rotated * cos + rotate_half(rotated) * sin, rest), dim=-1)

    scores = turn(q) @ turn(k).transpose(-1, -2) / math.sqrt(size)
    scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), float("-inf"))
    mixed = (scores.softmax(-1) @ v).permute(0, 2, 1, 3).reshape(batch, n, d)
    return F.linear(mixed, w[layer + "dense.weight"], w[layer + "dense.bias"])


def activation(c, x):
    if c["hidden_act"] == "gelu":
        return F.gelu(x)
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x ** 3)))


def forward(c, w, tokens):
    d = (c["hidden_size"],)

    def norm(name, x):
        return F.layer_norm(x, d, w[name + ".weight"], w[name + ".bias"], c["layer_norm_eps"])

    x = w["gpt_neox.embed_in.weight"][tokens]
    for i in range(c["num_hidden_layers"]):
        layer = f"gpt_neox.layers.{i}."
        attended = attention(c, w, layer + "attention.", norm(layer + "input_layernorm", x))
        read = x if c["use_parallel_residual"] else x + attended
        up = F.linear(norm(layer + "post_attention_layernorm", read), w[layer + "mlp.dense_h_to_4h.weight"],
                      w[layer + "mlp.dense_h_to_4h.bias"])
        fed = F.linear(activation(c, up), w[layer + "mlp.dense_4h_to_h.weight"], w[layer + "mlp.dense_4h_to_h.bias"])
        x = x + attended + fed
    head = w["gpt_neox.embed_in.weight"] if c["tie_word_embeddings"] else w["embed_out.weight"]
    return F.linear(norm("gpt_neox.final_layer_norm", x), head)


def write_expected(folder):
    c, w = read_model(folder)
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(0, c["vocab_size"], (2, 24 if c["vocab_size"] < 1000 else 100), generator=generator)
    logits = forward(c, w, tokens)
    with open(folder / "expected.bin", "wb") as f:
        f.write(b"BAKANEOX" + struct.pack("<3q", *tokens.shape, c["vocab_size"]))
        f.write(tokens.to(torch.int32).numpy().tobytes() + logits.float().numpy().tobytes())


def main():
    if sys.argv[1] == "--of":
        write_expected(pathlib.Path(sys.argv[2]))
        return
    for name in sys.argv[2:] or SMALL:
        folder = pathlib.Path(sys.argv[1]) / name
        write_model(folder, *CASES[name])
        write_expected(folder)


if __name__ == "__main__":
    main()
