#!/usr/bin/env python3
"""make_tokenizer_fixtures.py: what Hugging Face's `tokenizers` makes of odd texts and of real ones.

  make_tokenizer_fixtures.py encode TOKENIZER.json OUT.json [--data DIRECTORY --text PATH]... [--oracle]
  make_tokenizer_fixtures.py assemble ENCODER.json VOCAB.bpe OUT.json      GPT-2's own two files as a tokenizer.json
  make_tokenizer_fixtures.py small DIRECTORY                               the small tokenizers, one a pattern

`encode` writes {"made_with","tokenizer","sha256","cases":[{"text","ids"}],"files":[{"path","size","count","sha256",
"head","head_ids"}]}: the odd texts below, and of each real text DIRECTORY/PATH the number of ids, the SHA-256 of them as
little-endian uint32, and the ids of its first `head` bytes. No special tokens are added around a text. --oracle takes
tests/tokenizer_oracle.py in the library's place.
"""
import argparse
import array
import hashlib
import json
import os
import sys
import unicodedata

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", ".."))
HEAD_BYTES = 60000

GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|"
        r"\s+(?!\S)|\s+")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")


def categories():
    """The first characters of every general category but surrogates, alone, doubled, and between letters and spaces."""
    seen = {}
    for code in range(1, 0x110000):
        c = chr(code)
        seen.setdefault(unicodedata.category(c), []).append(c) if len(seen.get(unicodedata.category(c), [])) < 3 else None
    for category, characters in sorted(seen.items()):
        if category not in ("Cs", "Cn"):
            for c in characters:
                yield f"a{c}b {c} {c}{c}  {c}1{c}\n{c}"


def cases():
    spaces = [" " * n for n in range(0, 30)]
    yield from spaces
    yield from (f"a{s}b{s}\n{s}c{s}" for s in spaces)
    yield from ("\t", "a\tb\t\tc \t d\t \te", "\r\n", "a\r\nb\r\n\r\nc\n\nd\r\re \n f\n g \n\n h", "\n\n\n", " \n \n ", "x\n", "\n x")
    yield from ("a\x01b\x02\x7f\x1b[0m", "\u0085a\u0085\u0085b", "a\u00a0b\u00a0\u00a0c", "a\u180eb \u180e c", "a\u200bb \u200b c",
                "\u2028a\u2029b \u2028 c", "\u3000a\u3000\u3000b", "a\u2003 b", "\ufeffa", "a\u00adb", "\u1680x\u205fy\u202fz")
    yield from ("e\u0301", "e\u0301a\u0300 \u0301x", "\u0301", " \u0301", "A\u030a \u212b \u2126 K\u212a", "a\u0323\u0307 a\u0307\u0323",
                "\u1100\u1161\u11a8 \u1112\u1161\u11ab\u1100\u1173\u11af", "\uac00\u11a8", "\u0958 \u0915\u093c \u0344 \u2adc",
                "\ufb01 \u01c4 \u1e9b\u0323", "q\u0307\u0323\u0301 s\u0323\u0307", "\U0001d15e \U0002f800", "\u0f43\u0f71\u0f72",
                "cafe\u0301 na\u0308ive re\u0301sume\u0301", "\u037e \u1fef \u2000\u2001")
    yield from ("I'm you're he's we've they'll I'd don't", "I'M YOU'RE HE'S WE'VE THEY'LL I'D DON'T", "'S 's 'T'RE're''ve 'Ll",
                "'\u017f x'\u017f", "it''s '", "'", "''''", "o'clock rock'n'roll 'tis", "\u2019s \u2019re I\u2019m")
    yield from ("1", "12 123 1234 12345 3.14159 1,234,567", "\u0661\u0662\u0663 \u2160\u2161 \u00b2\u00b3 \u00bd\u2153", "a1b22c333d4444", "0x1F +1-2",
                "\u0967\u0968 \U0001d7ce\U0001d7cf")
    yield from ("\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 x", "\U0001f44d\U0001f3fd\u2764\ufe0f",
                "\U0001f1e9\U0001f1ea\U0001f1eb", "#\ufe0f\u20e3", "a\U0001f600b \U0001f600\U0001f600 c")
    yield from ("Привет, мир! Ещё раз.", "你好，世界。\n再见", "こんにちは 世界", "안녕하세요 세계", "مرحبا بالعالم", "שלום עולם", "हिन्दी में", "ภาษาไทย",
                "Ελληνικά άέή", "ẞß ﬃ İı ǅ", "Ǆ ʰ ª º", "𐐷 𝒜𝓑 𠮷野家")
    yield from ("<|endoftext|>", "a<|endoftext|>b", "a <|endoftext|> b", "<|endoftext|><|endoftext|>", "<|endoftext|> ", " <|endoftext|>",
                "<|endoftext|", "<<|endoftext|>>", "x\n<|endoftext|>\ny", "<|padding|>a", "<|end <|endoftext|>of", "e\u0301<|endoftext|>\u0301")
    yield from ("The quick brown fox jumps over the lazy dog.", "def f(x):\n    return x + 1\n\n\nclass A:\n\tpass\n", "http://a.b/c?d=e&f=%20#g",
                "= = Heading = =\n\n A line of text @-@ with marks @,@ 1 @.@ 5 .\n", "snake_case CamelCase kebab-case ALLCAPS", "a.b.c...d!?--e",
                "Hello, world!", "  leading", "trailing  ", "...", "()[]{}", "\\n \\\\", "~!@#$%^&*_+`", "don't.\n\n'Quote'", "x  y   z    w")
    yield from ("a" * 300, "ab" * 400, "supercalifragilisticexpialidocious" * 20, "é" * 120, "你" * 100, "." * 200, "0" * 150, "\n" * 90, "\t" * 70,
                "the " * 60, "thethethe" * 30, "-=" * 80)
    yield from categories()


def numbers(ids):
    return hashlib.sha256(array.array("I", ids).tobytes()).hexdigest()


def opener(path, oracle):
    if oracle:
        from tokenizer_oracle import Oracle
        return "tests/tokenizer_oracle.py, Unicode " + unicodedata.unidata_version, Oracle(path).encode
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_file(path)
    return "tokenizers " + tokenizers.__version__, lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def file_entry(directory, path, encode):
    with open(os.path.join(directory, path), encoding="utf-8", newline="") as f:
        text = f.read()
    head = text.encode()[:HEAD_BYTES].decode(errors="ignore")
    ids = encode(text)
    return {"path": path, "size": len(text.encode()), "count": len(ids), "sha256": numbers(ids), "head": len(head.encode()),
            "head_ids": encode(head)}


def encode_all(args):
    made_with, encode = opener(args.tokenizer, args.oracle)
    with open(args.tokenizer, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    lines = [json.dumps({"text": text, "ids": encode(text)}, separators=(",", ":")) for text in dict.fromkeys(cases())]
    files = [json.dumps(file_entry(args.data, path, encode), separators=(",", ":")) for path in args.text]
    with open(args.out, "w", encoding="ascii") as f:
        f.write('{"made_with":%s,"tokenizer":%s,"sha256":"%s","cases":[\n%s\n],"files":[%s]}\n' % (
            json.dumps(made_with), json.dumps(os.path.basename(args.tokenizer)), digest, ",\n".join(lines), ",\n".join(files)))


def root_of(vocab, merges, pre_tokenizer, normalizer=None, added=(), **more):
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": i, "content": c, **flags, "normalized": n, "special": not n} for i, c, n in added],
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False},
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                      "fuse_unk": False, **more, "vocab": vocab, "merges": merges}}


def byte_level(prefix=False, use_regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": use_regex}


def write(path, root):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(root, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")


def assemble(args):
    with open(args.encoder, encoding="utf-8") as f:
        vocab = json.load(f)
    with open(args.bpe, encoding="utf-8") as f:
        merges = [line.rstrip("\n") for line in f if line.strip() and not line.startswith("#version")]
    write(args.out, root_of(vocab, merges, byte_level(), added=[(vocab["<|endoftext|>"], "<|endoftext|>", False)]))


def small(args):
    """Merges as training gives them on the texts above, first come first served among equals."""
    from tokenizer_oracle import Oracle, byte_characters
    characters = list(byte_characters().values())
    path = os.path.join(args.directory, "small_gpt2.json")
    write(path, root_of({c: i for i, c in enumerate(characters)}, [], byte_level()))
    words = {}
    for text in cases():
        for word in Oracle(path).words(text):
            symbols = tuple(byte_characters()[b] for b in word.encode())
            words[symbols] = words.get(symbols, 0) + 1
    merges = []
    while len(merges) < 160:
        pairs = {}
        for symbols, n in words.items():
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] = pairs.get(pair, 0) + n
        best = max(pairs, key=lambda pair: pairs[pair])
        merges.append(best)
        merged = {}
        for symbols, n in words.items():
            out, i = [], 0
            while i < len(symbols):
                pair = symbols[i:i + 2] == best
                out.append("".join(best) if pair else symbols[i])
                i += 2 if pair else 1
            merged[tuple(out)] = merged.get(tuple(out), 0) + n
        words = merged
    tokens = list(dict.fromkeys(characters + ["".join(m) for m in merges]))
    vocab = {t: i for i, t in enumerate(tokens)}
    end, strings = len(vocab), [" ".join(m) for m in merges]
    marks = [(end, "<|endoftext|>", False)]
    blanks = [(end + 1 + i, " " * n, True) for i, n in enumerate((4, 3, 2))] + [(end + 4, "e\u0301\u0301", True)]
    nfc = {"type": "NFC"}

    def split(pattern, behavior="Isolated", invert=False):
        return {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}, byte_level(use_regex=False)]}

    for name, root in {
        "small_gpt2": root_of(vocab, strings, byte_level(), added=marks),
        "small_nfc": root_of(vocab, merges, byte_level(), nfc, marks + blanks),
        "small_prefix": root_of(vocab, strings, byte_level(prefix=True), added=marks),
        "small_gpt4": root_of(vocab, strings, split(GPT4, "Removed", True), added=marks),
        # Without its last merges some tokens are words that only ignore_merges finds.
        "small_llama3": root_of(vocab, merges[:-60], split(LLAMA3), added=marks, ignore_merges=True),
        "small_qwen2": root_of(vocab, strings, split(QWEN2), nfc, marks),
    }.items():
        write(os.path.join(args.directory, name + ".json"), root)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("encode")
    p.add_argument("tokenizer")
    p.add_argument("out")
    p.add_argument("--data", default=".")
    p.add_argument("--text", action="append", default=[])
    p.add_argument("--oracle", action="store_true")
    p.set_defaults(run=encode_all)
    p = commands.add_parser("assemble")
    p.add_argument("encoder")
    p.add_argument("bpe")
    p.add_argument("out")
    p.set_defaults(run=assemble)
    p = commands.add_parser("small")
    p.add_argument("directory")
    p.set_defaults(run=small)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
