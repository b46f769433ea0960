"""power.py - what a directory may look like after a power cut, from a record of what was done to its files
(shim_record.c).

The rules are POSIX's, harder than most file systems: what was written to a file lasts when that file was synced after,
and a name (made, renamed, removed) when its directory was. What was not synced is there or not: each 4 KiB block of a
file independently of the others, as any of its unsynced writes left it, and each change of a directory's names.
"""
import pathlib

BLOCK = 4096
MODES = ("none", "prefix", "random", "all")


class Record:
    """One line of the log: see shim_record.c. `ack` records are the test's own."""

    def __init__(self, op, offset, path, other, data):
        self.op, self.offset, self.path, self.other, self.data = op, offset, path, other, data


def read_log(path):
    data, at, out = pathlib.Path(path).read_bytes(), 0, []
    while at < len(data):
        end = data.index(b"\n", at)
        op, offset, size, name, other = data[at:end].split()
        at = end + 1
        parts = []
        for n in (int(name), int(other), int(size)):
            parts.append(data[at:at + n])
            at += n
        out.append(Record(op.decode(), int(offset), parts[0].decode(), parts[1].decode(), parts[2]))
    return out


def ack_bytes(text):
    """A record that says what the test has been told so far."""
    data = text.encode()
    return b"ack 0 %d 0 0\n" % len(data) + data


class File:
    def __init__(self):
        self.durable, self.live, self.pending = b"", bytearray(), []

    def write(self, offset, data):
        if len(self.live) < offset:
            self.live.extend(bytes(offset - len(self.live)))
        self.live[offset:offset + len(data)] = data
        self.pending.append((offset, data))

    def truncate(self, size):
        del self.live[size:]
        self.live.extend(bytes(size - len(self.live)))
        self.pending.append((size, None))

    def sync(self):
        self.durable, self.pending = bytes(self.live), []

    def after(self, mode, rng):
        if mode == "all" or not self.pending:
            return bytes(self.live)
        if mode == "none":
            return self.durable
        if mode == "prefix":
            return self.play(range(rng.randint(0, len(self.pending))))
        versions = {}  # block: how many of the pending operations it has seen

        def seen(block):
            return versions.setdefault(block, rng.randint(0, len(self.pending)))

        out = bytearray(self.durable)
        for i, (offset, data) in enumerate(self.pending):
            if data is None:
                if rng.random() < 0.5:
                    del out[offset:]
                    out.extend(bytes(offset - len(out)))
                continue
            for start in range(offset - offset % BLOCK, offset + len(data), BLOCK):
                first, last = max(start, offset), min(start + BLOCK, offset + len(data))
                if seen(start) > i:
                    if len(out) < first:
                        out.extend(bytes(first - len(out)))
                    out[first:last] = data[first - offset:last - offset]
        return bytes(out)

    def play(self, which):
        out = bytearray(self.durable)
        for i in which:
            offset, data = self.pending[i]
            if data is None:
                del out[offset:]
                out.extend(bytes(offset - len(out)))
            else:
                if len(out) < offset:
                    out.extend(bytes(offset - len(out)))
                out[offset:offset + len(data)] = data
        return bytes(out)


class Directory:
    def __init__(self):
        self.durable, self.live, self.pending = {}, {}, []

    def change(self, *names):
        """(name, what it stands for now or None): together, or not at all."""
        for name, node in names:
            if node is None:
                self.live.pop(name, None)
            else:
                self.live[name] = node
        self.pending.append(names)

    def sync(self):
        self.durable, self.pending = dict(self.live), []

    def after(self, mode, rng):
        if mode == "all":
            return self.live
        out = dict(self.durable)
        count = {"none": 0, "prefix": rng.randint(0, len(self.pending))}.get(mode, len(self.pending))
        for names in self.pending[:count]:
            if mode == "random" and rng.random() < 0.5:
                continue
            for name, node in names:
                if node is None:
                    out.pop(name, None)
                else:
                    out[name] = node
        return out


class Disk:
    """The tree below `root`, which stands and is empty at first."""

    def __init__(self, root):
        self.root, self.top = str(root), Directory()

    def find(self, path):
        node = self.top
        for part in [p for p in path[len(self.root):].split("/") if p]:
            node = node.live.get(part) if isinstance(node, Directory) else None
        return node

    def parent(self, path):
        folder, name = path.rsplit("/", 1)
        return self.find(folder), name

    def apply(self, r):
        if r.op == "ack" or r.path.endswith(" (deleted)"):
            return
        if r.op in ("create", "mkdir", "remove", "rename"):
            folder, name = self.parent(r.path)
            if r.op == "remove" and folder is None:
                return  # of two that remove one tree, the other took the emptied folder before this one had told
            if r.op == "rename":
                node, (target, new) = folder.live[name], self.parent(r.other)
                if target is folder:
                    folder.change((name, None), (new, node))
                else:
                    target.change((new, node))
                    folder.change((name, None))
            else:
                folder.change((name, {"create": File, "mkdir": Directory}.get(r.op, lambda: None)()))
            return
        node = self.find(r.path)
        if r.op == "sync":
            node.sync()
        elif r.op == "write":
            node.write(r.offset, r.data)
        elif r.op == "truncate":
            node.truncate(r.offset)
        else:
            raise ValueError(r.op)

    def build(self, target, names, data, rng, node=None):
        """What a power cut at this moment may leave, at `target`; `names` and `data` of MODES."""
        target = pathlib.Path(target)
        target.mkdir(mode=0o700)
        for name, inner in sorted((node or self.top).after(names, rng).items()):
            if name.endswith("-shm"):  # mapped memory, which SQLite makes anew
                continue
            if isinstance(inner, Directory):
                self.build(target / name, names, data, rng, inner)
            else:
                (target / name).write_bytes(inner.after(data, rng))
