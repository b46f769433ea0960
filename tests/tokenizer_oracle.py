"""A second opinion on tokenizer.json: byte-level BPE written from its definition, slowly and plainly, with nothing of
text/ in it. Words are found by running Python's `re` over the characters' classes, which unicodedata gives, so no regular
expression of the tokenizer's own is used."""
import json
import re
import unicodedata

WHITE_SPACE = {*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
CONTRACTIONS = ("s", "t", "re", "ve", "m", "ll", "d")
# After the contractions. Classes: l letter, d digit, _ space, n newline or return, w other white space, o the rest.
WORDS = {
    "gpt2": "_?l+|_?d+|_?o+|[_nw]+(?![ldo])|[_nw]+",
    "gpt4": "[_wo]?l+|d{1,3}|_?o+n*|[_nw]*n|[_nw]+(?![ldo])|[_nw]+",
    "llama3": "[_wo]?l+|d{1,3}|_?o+n*|[_nw]*n+|[_nw]+(?![ldo])|[_nw]+",
    "qwen2": "[_wo]?l+|d|_?o+n*|[_nw]*n+|[_nw]+(?![ldo])|[_nw]+",
}
# A part of the written expression that tells which of them it is.
MARKS = (("?+\\p{L}+|\\p{N}{1,3}", "gpt4"), ("\\p{N}{1,3}", "llama3"), ("|\\p{N}|", "qwen2"))


def byte_characters():
    """bytes_to_unicode of GPT-2's encoder.py."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [b for b in range(256) if b not in own]
    return {**{b: chr(b) for b in own}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


def character_class(c):
    if ord(c) in WHITE_SPACE:
        return "_" if c == " " else "n" if c in "\r\n" else "w"
    major = unicodedata.category(c)[0]
    return {"L": "l", "N": "d"}.get(major, "o")


class Oracle:
    def __init__(self, path):
        with open(path, encoding="utf-8") as f:
            root = json.load(f)
        model, pre = root["model"], root["pre_tokenizer"]
        self.vocab = model["vocab"]
        merges = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
        self.ranks = {tuple(m): i for i, m in enumerate(merges)}
        self.ignore_merges = model.get("ignore_merges", False)
        self.nfc = bool(root["normalizer"])
        self.prefix, self.kind = pre.get("add_prefix_space", False), "gpt2"
        if pre["type"] == "Sequence":
            written = pre["pretokenizers"][0]["pattern"]["Regex"]
            self.kind = next(kind for mark, kind in MARKS if mark in written)
        self.characters = byte_characters()
        self.added, self.contents = [{}, {}], {t["id"]: t["content"] for t in root["added_tokens"]}
        for t in root["added_tokens"]:
            text = self.normal(t["content"]) if t["normalized"] else t["content"]
            self.added[t["normalized"]][text] = t["id"]
        self.words_seen = {}

    def normal(self, text):
        return unicodedata.normalize("NFC", text) if self.nfc else text

    def contraction(self, text, at):
        if text[at] != "'":
            return 0
        for c in CONTRACTIONS:
            found = text[at + 1:at + 1 + len(c)]
            if found == c or (self.kind != "gpt2" and found.casefold() == c and len(found) == len(c)):
                return 1 + len(c)
        return 0

    def words(self, text):
        classes = "".join(map(character_class, text))
        pattern, at = re.compile(WORDS[self.kind]), 0
        while at < len(text):
            size = self.contraction(text, at) or pattern.match(classes, at).end() - at
            yield text[at:at + size]
            at += size

    def merge(self, word):
        symbols = [self.characters[b] for b in word.encode()]
        if self.ignore_merges and "".join(symbols) in self.vocab:
            return [self.vocab["".join(symbols)]]
        while len(symbols) > 1:
            rank, at = min((self.ranks.get((a, b), len(self.ranks)), i)
                           for i, (a, b) in enumerate(zip(symbols, symbols[1:])))
            if rank == len(self.ranks):
                break
            symbols[at:at + 2] = [symbols[at] + symbols[at + 1]]
        return [self.vocab[s] for s in symbols]

    def plain(self, text):
        if self.prefix and text and text[0] != " ":
            text = " " + text
        for word in self.words(text):
            if word not in self.words_seen:
                self.words_seen[word] = self.merge(word)
            yield from self.words_seen[word]

    def split(self, text, added, rest):
        """Takes the longest added token at each place out, from left to right; the rest goes through `rest`."""
        start = at = 0
        by_length = sorted(added, key=len, reverse=True)
        first = {t[0] for t in added}
        while at < len(text):
            token = next((t for t in by_length if text.startswith(t, at)), None) if text[at] in first else None
            if token is None:
                at += 1
                continue
            yield from rest(text[start:at])
            yield added[token]
            start = at = at + len(token)
        yield from rest(text[start:])

    def encode(self, text):
        return list(self.split(text, self.added[0], lambda part: self.split(self.normal(part), self.added[1], self.plain)))
