"""A server on loopback that misbehaves as told, a number of times, and then behaves; it ends with the test.

It answers as the model hub does (listings, metadata, files with Range) for a folder of repositories, and as a package
index does for a folder of wheels, and counts what it sends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


@dataclasses.dataclass
class Fault:
    """What goes wrong with requests whose ``METHOD path`` matches ``where``, ``times`` times."""

    kind: str
    """stall, cut (half of the body), stall_half, status, bytes, length, page, or drop (the connection)."""
    where: str = r"GET .*/resolve/.*\.safetensors"
    times: int = 10**9
    status: int = 500
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root: Path, ranges: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root, self.ranges = root, ranges
        self.faults: list[Fault] = []
        self.sent: dict[str, int] = {}
        """Bytes of body sent, by path."""
        self.asked: list[str] = []
        self.ending = threading.Event()
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fault_for(self, request: str) -> Fault | None:
        with self.lock:
            self.asked.append(request)
            for fault in self.faults:
                if fault.times > 0 and re.fullmatch(fault.where, request):
                    fault.times -= 1
                    return fault
        return None

    def bytes_of(self, ending: str) -> int:
        return sum(count for path, count in self.sent.items() if path.endswith(ending))

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is part of the game."""


@contextlib.contextmanager
def serving(root: Path, *faults: Fault, ranges: bool = True) -> Iterator[Server]:
    server = Server(root, ranges)
    server.faults = list(faults)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.fault = self.server.fault_for(f"{self.command} {path}")
        kind = self.fault.kind if self.fault else ""
        if kind == "stall":
            self.server.ending.wait(60)
            self.close_connection = True
        elif kind == "drop":
            self.close_connection = True
        elif kind == "status":
            self.reply(self.fault.status, b"busy", self.fault.headers)
        elif kind == "page":
            self.reply(200, b"<html><body>Please log in</body></html>", {"Content-Type": "text/html"})
        else:
            self.answer(path)

    do_HEAD = do_GET  # noqa: N815

    def answer(self, path: str) -> None:
        root = self.server.root
        if found := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/tree/[^/]+(?:/.*)?", path):
            return self.listing(root / found[1] / found[2])
        if found := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/revision/main", path):
            return self.branch(root / found[1] / found[2], found[2])
        if found := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.file(root / ("datasets" if found[1] else "models") / found[2] / found[4], found[3])
        if found := re.fullmatch(r"/simple/([^/]+)/", path):
            return self.links(root / "wheels", found[1])
        if found := re.fullmatch(r"/wheels/([^/]+)", path):
            return self.file(root / "wheels" / found[1], COMMIT)
        return self.reply(404, b"")

    def listing(self, folder: Path) -> None:
        if not folder.is_dir():
            return self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        entries = [
            {"type": "file", "path": p.relative_to(folder).as_posix(), "size": p.stat().st_size, "oid": etag(p)}
            for p in files
        ]
        return self.reply(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})

    def branch(self, folder: Path, name: str) -> None:
        """The one branch there is, ``main``, and the commit that it is at."""
        if not folder.is_dir():
            return self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})
        about = {"_id": "1", "id": name, "sha": COMMIT, "siblings": []}
        return self.reply(200, json.dumps(about).encode(), {"Content-Type": "application/json"})

    def links(self, folder: Path, name: str) -> None:
        wheels = [path.name for path in sorted(folder.glob(f"{name.replace('-', '_')}-*"))]
        body = "".join(f'<a href="/wheels/{wheel}">{wheel}</a>\n' for wheel in wheels)
        status = 200 if wheels else 404
        page = f"<!DOCTYPE html><html><body>{body}</body></html>"
        return self.reply(status, page.encode(), {"Content-Type": "text/html"})

    def file(self, path: Path, commit: str) -> None:
        if not path.is_file():
            return self.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        data = path.read_bytes()
        commit = COMMIT if commit == "main" else commit
        headers = {"ETag": f'"{etag(path)}"', "X-Repo-Commit": commit, "Content-Type": "application/octet-stream"}
        if self.fault and self.fault.kind == "bytes":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if self.fault and self.fault.kind == "length":
            data = data[: len(data) // 2]
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if self.server.ranges:
            headers["Accept-Ranges"] = "bytes"
        if not (span and self.server.ranges):
            return self.reply(200, data, headers)
        first, last = int(span[1]), int(span[2] or len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return self.reply(206, data[first : last + 1], headers)

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        half = self.fault is not None and self.fault.kind in ("cut", "stall_half") and status < 300
        part = body[: len(body) // 2] if half else body
        path = unquote(urlsplit(self.path).path)
        with self.server.lock:  # before it is sent: a test counts as soon as its client has everything
            self.server.sent[path] = self.server.sent.get(path, 0) + len(part)
        self.wfile.write(part)
        self.wfile.flush()
        if half:
            if self.fault.kind == "stall_half":
                self.server.ending.wait(60)
            self.close_connection = True

    def log_message(self, *words) -> None:
        pass


def etag(path: Path) -> str:
    """Large files by SHA-256 and small ones by git's SHA-1, as on the hub; weights count as large."""
    data = path.read_bytes()
    if path.suffix in (".safetensors", ".bin"):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
