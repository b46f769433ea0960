#!/usr/bin/env python3
"""bakactl data fetch against a server of its own on 127.0.0.1 that does what servers do to one: nothing here needs a
network. The archives are small ones of the same form (--from and --sha256)."""
import fcntl
import hashlib
import http.server
import io
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import BAKACTL, english, wait_until

NAME, ARCHIVE, FOLDER = "wikitext-2", "wikitext-2-raw-v1.zip", "wikitext-2-raw"
TEXTS = {"train": english(300000, 1), "valid": english(20000, 2), "test": english(10000, 3)}


def archive(members=None, compression=zipfile.ZIP_STORED, **more):
    """The zip with WikiText-2's member names; `more` adds members or, with None, leaves one out."""
    out = io.BytesIO()
    parts = {f"{FOLDER}/wiki.{part}.raw": text for part, text in TEXTS.items()}
    with zipfile.ZipFile(out, "w", compression) as z:
        z.writestr(zipfile.ZipInfo(f"{FOLDER}/"), b"")
        for name, content in {**parts, **(members or {})}.items():
            if content is not None:
                z.writestr(name, content)
    return out.getvalue()


WHOLE = archive()


class Server:
    """Serves `content`. What it does otherwise: ranges, etag, status (a list, one a request, 0: as usual), cut (a list of
    numbers of body bytes after which the connection ends), stall (seconds before the body's second half), chunked,
    location."""

    def __init__(self, content=WHOLE, tls=None):
        self.content, self.ranges, self.etag, self.ignore_if_range = content, True, '"one"', False
        self.status, self.cut, self.stall, self.chunked, self.location, self.pace = [], [], 0, False, None, 0
        self.log = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        if tls:
            self.http.socket = tls.wrap_socket(self.http.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.http.server_address[1]}/"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def answer(self, h):
        given, condition = h.headers.get("Range"), h.headers.get("If-Range")
        self.log.append((h.path, given, condition))
        status = self.status.pop(0) if self.status else 0
        if self.location and h.path != "/moved":
            h.send_response(302)
            h.send_header("Location", self.location)
            h.send_header("Content-Length", "0")
            h.end_headers()
            return
        if status:
            h.send_response(status)
            h.send_header("Content-Length", "5")
            h.end_headers()
            h.wfile.write(b"sorry")
            return
        begin = 0
        if given and self.ranges and (self.ignore_if_range or condition in (None, self.etag)):
            begin = int(given[len("bytes="):-1])
            if begin >= len(self.content):
                h.send_response(416)
                h.send_header("Content-Length", "0")
                h.end_headers()
                return
        body = self.content[begin:]
        h.send_response(206 if begin else 200)
        if begin:
            h.send_header("Content-Range", f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}")
        if self.etag:
            h.send_header("ETag", self.etag)
        if self.chunked:
            h.send_header("Connection", "close")  # HTTP/1.0: the end of the connection is the end of the body
        else:
            h.send_header("Content-Length", str(len(body)))
        h.end_headers()
        cut = self.cut.pop(0) if self.cut else None
        try:
            self.send(h, body if cut is None else body[:cut])
        except OSError:
            return
        if cut is not None:
            h.close_connection = True
            h.connection.shutdown(socket.SHUT_RDWR)

    def send(self, h, body):
        half = len(body) // 2 if self.stall else len(body)
        for i in range(0, half, 1 << 14):
            h.wfile.write(body[i:min(i + (1 << 14), half)])
            if self.pace:
                h.wfile.flush()
                time.sleep(self.pace)
        if self.stall:
            h.wfile.flush()
            stall, self.stall = self.stall, 0
            time.sleep(stall)
            h.wfile.write(body[half:])


class FetchCase(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="baka-fetch-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.home = self.root / "home"
        self.dir = self.home / "downloads" / NAME
        self.path, self.part = self.dir / ARCHIVE, self.dir / (ARCHIVE + ".part")
        self.env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}

    def server(self, *args, **more):
        s = Server(*args, **more)
        self.addCleanup(s.close)
        return s

    def command(self, s, *args, content=None, name=NAME):
        sha256 = hashlib.sha256(s.content if content is None else content).hexdigest()
        return [BAKACTL, "--home", self.home, "data", "fetch", name, "--from", s.url, "--sha256", sha256, *args]

    def call(self, *command, **more):
        return subprocess.run(command, capture_output=True, text=True, env=self.env, timeout=300, check=False, **more)

    def ok(self, s, *args, **more):
        p = self.call(*self.command(s, *args, "--json", **more))
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        return json.loads(p.stdout)

    def refused(self, why, s, *args, status=1, **more):
        """One line that says why."""
        p = self.call(*self.command(s, *args, **more))
        self.assertEqual(p.returncode, status, p.stdout + p.stderr)
        self.assertEqual((p.stderr.count("\n"), p.stdout), (1, ""), p.stderr)
        self.assertIn(why, p.stderr)
        return p.stderr

    def check_texts(self, texts=TEXTS):
        for part, text in texts.items():
            self.assertEqual((self.dir / f"wiki.{part}.raw").read_bytes(), text, part)
        self.assertEqual([p.name for p in self.dir.iterdir() if p.name.endswith((".new", ".part", ".json"))], [])


class Fetch(FetchCase):
    def test_whole_way(self):
        """Download, check, unpack; the command that is told makes the data set, validation from its own file."""
        s = self.server()
        made = self.ok(s)
        self.check_texts()
        self.assertEqual(made["archive"], {"path": str(self.path), "bytes": len(WHOLE), "received": len(WHOLE),
                                           "sha256": hashlib.sha256(WHOLE).hexdigest(), "from": s.url + ARCHIVE})
        self.assertEqual({k: v["bytes"] for k, v in made["texts"].items()},
                         {part if part != "valid" else "val": len(text) for part, text in TEXTS.items()})
        self.assertEqual(stat.S_IMODE(self.dir.stat().st_mode), 0o700)
        p = self.call(BAKACTL, *made["next"][1:])
        self.assertEqual(p.returncode, 0, p.stderr)
        sets = json.loads(self.call(BAKACTL, "--home", self.home, "data", "list", "--json").stdout)["data"]
        self.assertEqual([(d["name"], d["train"], d["val"]) for d in sets], [(NAME, len(TEXTS["train"]), len(TEXTS["valid"]))])
        self.assertEqual(sets[0]["val_words"], len(TEXTS["valid"].split()))
        # Once more: nothing is asked of the server; what was lost is unpacked again.
        (self.dir / "wiki.test.raw").unlink()
        again = self.ok(s)
        self.assertEqual((again["archive"]["from"], again["archive"]["received"], len(s.log)), (None, 0, 1))
        self.check_texts()

    def test_people_read_a_command_that_a_shell_takes(self):
        self.home = self.root / "a home with 'quotes'"
        self.dir = self.home / "downloads" / NAME
        p = self.call(*self.command(self.server()))
        self.assertEqual(p.returncode, 0, p.stderr)
        words = p.stdout.splitlines()[-1].strip()
        self.assertTrue(words.startswith("bakactl "), words)
        p = self.call("sh", "-c", f'"{BAKACTL}" {words[len("bakactl "):]}')
        self.assertEqual(p.returncode, 0, p.stderr)

    def test_deflated_archive_and_address_of_the_file(self):
        s = self.server(archive(compression=zipfile.ZIP_DEFLATED))
        command = self.command(s)
        command[command.index(s.url)] = s.url + "some/where.zip"
        self.assertEqual(self.call(*command).returncode, 0)
        self.assertEqual(s.log[0][0], "/some/where.zip")
        self.check_texts()

    def test_redirection(self):
        s = self.server()
        s.location = "/moved"
        self.ok(s)
        self.assertEqual([path for path, _, _ in s.log], [f"/{ARCHIVE}", "/moved"])
        s.location = s.url + "again"
        self.path.unlink()
        self.refused("redirect", s)

    def test_without_a_length(self):
        s = self.server()
        s.chunked = True
        self.ok(s)
        self.check_texts()

    def test_put_there_by_hand(self):
        self.dir.mkdir(parents=True)
        self.path.write_bytes(WHOLE)
        s = self.server()
        self.assertIsNone(self.ok(s)["archive"]["from"])
        self.assertEqual(s.log, [])
        self.check_texts()
        # Another file under that name is set aside; the next call downloads.
        self.path.write_bytes(WHOLE[:-1] + b"x")
        self.assertIn(str(self.path) + ".bad", self.refused("SHA-256", s))
        self.assertEqual(len(self.ok(s)["archive"]["from"]), len(s.url + ARCHIVE))
        self.check_texts()


class Resume(FetchCase):
    def begin(self, s, size=100000, *args):
        """A call whose connection breaks after `size` bytes, and that does not try again."""
        s.cut.append(size)
        self.refused("connection", s, "--retries", "0", *args)
        self.assertEqual(self.part.stat().st_size, size)

    def test_next_call_goes_on(self):
        s = self.server()
        self.begin(s)
        made = self.ok(s)
        self.assertEqual(made["archive"]["received"], len(WHOLE) - 100000)
        self.assertEqual(s.log[-1][1:], ("bytes=100000-", '"one"'))
        self.check_texts()

    def test_same_call_goes_on(self):
        s = self.server()
        s.cut = [70000, 1, 60000]
        s.status = [0, 503]
        self.assertEqual(self.ok(s, "--retries", "2")["archive"]["received"], len(WHOLE))
        self.assertEqual([r for _, r, _ in s.log], [None, "bytes=70000-", "bytes=70000-", "bytes=70001-", "bytes=130001-"])
        self.check_texts()

    def test_changed_file_is_not_glued(self):
        reversed_ = TEXTS["train"][::-1]  # in front: glued to the first part it is neither
        other = archive({f"{FOLDER}/wiki.train.raw": reversed_})
        self.assertEqual(len(other), len(WHOLE), "only its ETag tells")
        for ignores in (False, True):
            s = self.server()
            self.begin(s)
            s.content, s.etag, s.ignore_if_range = other, '"two"', ignores
            # The wanted SHA-256 is another one too, or it is the old one and the new file is not it.
            self.refused("SHA-256", s, content=WHOLE)
            self.assertEqual(pathlib.Path(str(self.path) + ".bad").read_bytes(), other)
            self.begin(s, 5000)
            self.ok(s)
            self.check_texts({**TEXTS, "train": reversed_})
            self.path.unlink()

    def test_changed_length(self):
        s = self.server()
        s.etag = None
        self.begin(s)
        s.content = archive({f"{FOLDER}/wiki.test.raw": b"short"})
        self.refused("SHA-256", s, content=WHOLE)
        self.assertEqual(pathlib.Path(str(self.path) + ".bad").read_bytes(), s.content)
        self.assertEqual([r for _, r, _ in s.log], [None, "bytes=100000-", None])

    def test_shorter_than_the_part(self):
        s = self.server()
        s.etag = None
        self.begin(s, 320000)
        s.content = archive({f"{FOLDER}/wiki.train.raw": b"short"})
        self.refused("SHA-256", s, content=WHOLE)
        self.assertEqual(s.log[-1][1], None)

    def test_another_archive_is_wanted(self):
        s = self.server()
        self.begin(s)
        s.content = archive({f"{FOLDER}/wiki.test.raw": english(10000, 9)})
        self.ok(s)
        self.assertIsNone(s.log[-1][1], "the part is of another archive")

    def test_part_without_its_state(self):
        s = self.server()
        self.begin(s)
        pathlib.Path(str(self.part) + ".json").write_text('{"url":1')
        self.ok(s)
        self.assertIsNone(s.log[-1][1])

    def test_another_address_goes_on(self):
        s, mirror = self.server(), self.server()
        mirror.etag = '"else"'
        self.begin(s)
        self.assertEqual(self.ok(mirror)["archive"]["received"], len(WHOLE) - 100000)
        self.assertEqual(mirror.log[-1][1:], ("bytes=100000-", None))

    def test_server_without_ranges(self):
        s = self.server()
        s.ranges = False
        self.begin(s)
        self.assertEqual(self.ok(s)["archive"]["received"], len(WHOLE))
        self.check_texts()
        self.path.unlink()
        s.cut = [50000] * 3
        self.refused("connection ended after 50000 bytes", s, "--retries", "2")

    def test_whole_part(self):
        """Killed between the last byte and the check."""
        s = self.server()
        self.begin(s)
        self.part.write_bytes(WHOLE)
        self.ok(s)
        self.assertEqual(len(s.log), 1)
        self.check_texts()

    def test_stalled(self):
        s = self.server()
        s.stall = 30
        begin = time.monotonic()
        self.assertEqual(self.ok(s, "--timeout", "1")["archive"]["received"], len(WHOLE))
        self.assertLess(time.monotonic() - begin, 20)
        self.assertEqual(len(s.log), 2)
        s.stall = 30
        self.path.unlink()
        self.refused("not a byte came in 1 s", s, "--timeout", "1", "--retries", "0")

    def test_interrupted_and_killed(self):
        s = self.server()
        s.pace = 0.05
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            p = subprocess.Popen(self.command(s), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env)
            before = self.part.stat().st_size if self.part.exists() else 0
            wait_until("bytes", lambda: self.part.exists() and self.part.stat().st_size > before)
            p.send_signal(number)
            out, err = p.communicate(timeout=60)
            self.assertEqual((p.returncode, out), (-number, ""))
            if number != signal.SIGKILL:
                self.assertIn("interrupted; ", err)
                self.assertEqual(err.count("\n"), 1)
            self.assertGreater(self.part.stat().st_size, before)
        s.pace = 0
        kept = self.part.stat().st_size
        self.assertEqual(self.ok(s)["archive"]["received"], len(WHOLE) - kept)
        self.check_texts()


class Refusals(FetchCase):
    def test_wrong_checksum(self):
        s = self.server()
        said = self.refused("what came is another file", s, content=b"other")
        for words in (hashlib.sha256(WHOLE).hexdigest(), hashlib.sha256(b"other").hexdigest(), f"{self.path}.bad"):
            self.assertIn(words, said)
        self.assertNotIn("network", said)
        self.assertEqual(pathlib.Path(f"{self.path}.bad").read_bytes(), WHOLE)
        self.assertFalse(self.path.exists() or self.part.exists() or (self.dir / "wiki.train.raw").exists())
        self.ok(s)

    def test_known_length(self):
        """Without --sha256 the file must have the length of the table, and nothing of another one is stored."""
        s = self.server()
        command = [BAKACTL, "--home", self.home, "data", "fetch", NAME, "--from", s.url]
        self.assertIn(f"has {len(WHOLE)} bytes, 4721645 are expected", self.call(*command).stderr)
        self.assertFalse(self.part.exists() and self.part.stat().st_size)
        s.chunked = True
        self.assertIn(f"ended after {len(WHOLE)} of 4721645 bytes", self.call(*command).stderr)
        s.content = bytes(5 << 20)
        self.part.unlink()
        self.assertIn("more than 4721645 bytes", self.call(*command).stderr)

    def test_answers_that_are_none(self):
        for status, tries in ((404, 1), (403, 1), (204, 1), (500, 2), (429, 2)):
            s = self.server()
            s.status = [status] * 9
            said = self.refused(f"status {status}", s, "--retries", "1")
            self.assertEqual(len(s.log), tries, status)
            self.assertIn(f"put it at {self.path}", said)
            self.assertIn(s.url + ARCHIVE, said)

    def test_nobody_there(self):
        s = Server()
        s.close()
        begin = time.monotonic()
        self.assertIn(f"put it at {self.path}", self.refused("Failed to connect", s))
        self.assertLess(time.monotonic() - begin, 20)
        p = self.call(BAKACTL, "--home", self.home, "data", "fetch", NAME, "--from", "https://nowhere.invalid/")
        self.assertEqual(p.returncode, 1)
        self.assertIn("nowhere.invalid", p.stderr)
        self.assertEqual(p.stderr.count("\n"), 1)

    def test_error_as_json(self):
        s = self.server()
        s.status = [404]
        p = self.call(*self.command(s, "--json"))
        self.assertEqual(json.loads(p.stdout)["error"]["code"], "not_found")

    def test_hostile_and_broken_archives(self):
        outside = self.root / "evil"
        train = f"{FOLDER}/wiki.train.raw"
        link = zipfile.ZipInfo(f"{FOLDER}/wiki.test.raw")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        linked = archive({f"{FOLDER}/wiki.test.raw": None})
        out = io.BytesIO(linked)
        with zipfile.ZipFile(out, "a") as z:
            z.writestr(link, b"/etc/passwd")
        at = WHOLE.index(TEXTS["valid"]) + 50
        cases = [(archive({name: b"x"}), "leads out") for name in
                 ("../../../../evil", str(outside), f"{FOLDER}/../../evil", "..", "a\\..\\..\\evil", "c:evil")]
        cases += [(archive({train: None}), "is not in the archive"), (out.getvalue(), "is a link"),
                  (WHOLE[:at] + b"?" + WHOLE[at + 1:], "CRC"), (WHOLE[:-30], "zip archive"), (b"no zip", "zip archive"), (b"", "zip archive")]
        for content, why in cases:
            with self.subTest(why=why, size=len(content)):
                self.refused(why, self.server(content))
                self.assertFalse(outside.exists())
                self.assertEqual([p.name for p in self.dir.glob("*.raw*")] + [p.name for p in self.dir.glob(".*.new")], [])
                self.path.unlink()

    def test_old_texts_stay_when_unpacking_fails(self):
        self.ok(self.server())
        self.path.unlink()
        self.refused("is not in the archive", self.server(archive({f"{FOLDER}/wiki.test.raw": None})))
        self.check_texts()

    def test_two_at_once(self):
        s = self.server()
        s.pace = 0.02
        p = subprocess.Popen(self.command(s), stdout=subprocess.DEVNULL, env=self.env)
        wait_until("bytes", lambda: self.part.exists() and self.part.stat().st_size)
        self.refused("another process", s)
        self.assertEqual(p.wait(60), 0)
        self.check_texts()
        with open(self.dir / ".lock", "rb") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)  # and it is free again

    def full_disk(self, size):
        self.dir.mkdir(parents=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(self.dir)],
                          capture_output=True, check=False).returncode:
            self.skipTest("mounting a tmpfs is not permitted here")
        self.addCleanup(subprocess.run, ["umount", str(self.dir)], check=True)

    def test_full_disk(self):
        s = self.server()
        self.full_disk(200)
        self.assertIn("No space left", self.refused(str(self.part), s))
        kept = self.part.stat().st_size
        self.assertGreater(kept, 100000)
        subprocess.run(["mount", "-o", "remount,size=2048k", str(self.dir)], check=True)
        self.assertEqual(self.ok(s)["archive"]["received"], len(WHOLE) - kept)

    def test_full_disk_while_unpacking(self):
        s = self.server()
        self.full_disk(500)
        self.assertIn("No space left", self.refused("wiki.train.raw", s))
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), [".lock", ARCHIVE])

    def test_limit_on_files(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        p = self.call(*self.command(self.server()), preexec_fn=limit)
        self.assertEqual((p.returncode, p.stderr.count("\n")), (1, 1), p.stderr)
        self.assertIn("File too large", p.stderr)

    def test_usage(self):
        for args, why in ((("nothing",), "wikitext-103, wikitext-2"), ((), "too few"), ((NAME, "more"), "too many"),
                          ((NAME, "--from", "ftp://x/"), "https:// or http://"), ((NAME, "--from", "file:///etc/"), "https://"),
                          ((NAME, "--from", ""), "https://"), ((NAME, "--from", "x.zip"), "https://"),
                          ((NAME, "--from", "https://me:secret@x/"), "password"), ((NAME, "--sha256", "0" * 64), "--from"),
                          ((NAME, "--from", "http://x/", "--sha256", "xyz"), "64 hexadecimal"),
                          ((NAME, "--retries", "-1"), "--retries"), ((NAME, "--timeout", "0"), "--timeout")):
            p = self.call(BAKACTL, "--home", self.home, "data", "fetch", *args)
            self.assertEqual((p.returncode, p.stderr.count("\n"), p.stdout), (2, 1, ""), p.stderr)
            self.assertIn(why, p.stderr)
            self.assertNotIn("secret", p.stderr)
        self.assertFalse(self.home.exists())


class Tls(FetchCase):
    """Certificates of 127.0.0.1; the machine's authorities are not touched."""

    def certificate(self):
        key, certificate = self.root / "key.pem", self.root / "cert.pem"
        if not shutil.which("openssl"):
            self.skipTest("no openssl program")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out",
                        str(certificate), "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"],
                       check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return certificate, context

    def test_certificate_of_nobody(self):
        _, context = self.certificate()
        self.refused("certificate", self.server(tls=context))
        self.assertFalse(self.part.exists() and self.part.stat().st_size)

    def test_certificate_of_an_authority(self):
        """In a mount namespace of its own the only authority is ours; from there no redirection leads to http."""
        certificate, context = self.certificate()
        bundle = "/etc/ssl/certs/ca-certificates.crt"
        inside = ["unshare", "-m", "sh", "-c", f'mount --bind "$0" {bundle} && exec "$@"', str(certificate)]
        if not os.path.exists(bundle) or subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
            self.skipTest("no mount namespaces, or no authorities, here")
        s = self.server(tls=context)
        p = self.call(*inside, *self.command(s))
        self.assertEqual(p.returncode, 0, p.stderr)
        self.check_texts()
        self.path.unlink()
        s.location = self.server().url
        p = self.call(*inside, *self.command(s))
        self.assertEqual(p.returncode, 1)
        self.assertIn("not supported", p.stderr)


if __name__ == "__main__":
    unittest.main()
