"""A file server on loopback that misbehaves in one way: cuts, lies, drips, redirects, or ignores ranges."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Seen(NamedTuple):
    """A request: its path, and its headers in lower case."""

    path: str
    headers: dict[str, str]


@dataclass
class Served:
    """One file: how the server sends it.

    Attributes:
        cuts: after how many bytes of a response each of the first connections is closed.
        ranges: whether Range is obeyed.
        etag, modified: the validators, empty for none; a list gives one for each request.
        length: the Content-Length that is sent; None for the true one, -1 for none.
        redirect: an address that is sent in place of the file.
        status: of the response, for each of the first requests.
        drip: send single bytes until the client leaves.
    """

    content: bytes = b""
    kind: str = "application/octet-stream"
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    etag: list[str] = field(default_factory=lambda: ['"one"'])
    modified: str = ""
    length: int | None = None
    redirect: str = ""
    status: list[int] = field(default_factory=list)
    drip: bool = False
    range_start: int | None = None


class FileServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.seen: list[Seen] = []
        self.leaving = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def ranges_of(self, path: str) -> list[str]:
        return [seen.headers.get("range", "") for seen in self.seen if seen.path == path]


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.seen.append(Seen(self.path, {name.lower(): value for name, value in self.headers.items()}))
        served = self.server.files.get(self.path)
        if served is None:
            self._start(404, {"Content-Length": "0"})
            return
        status = served.status.pop(0) if served.status else 0
        if served.redirect or status:
            self._start(status or 302, {"Location": served.redirect, "Content-Length": "0"})
            return
        etag = served.etag.pop(0) if len(served.etag) > 1 else "".join(served.etag)
        headers = {"Content-Type": served.kind, "ETag": etag, "Last-Modified": served.modified}
        content, start = served.content, 0
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if served.ranges else None
        if found and self.headers.get("If-Range") in (etag, served.modified):
            start = int(found[1])
            if start >= len(content):
                self._start(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
            shown = start if served.range_start is None else served.range_start
            headers["Content-Range"] = f"bytes {shown}-{len(content) - 1}/{len(content)}"
        sent = content[start:]
        if served.length != -1:
            headers["Content-Length"] = str(len(sent) if served.length is None else served.length)
        self._start(206 if start else 200, headers)
        if served.drip:
            self._drip()
            return
        cut = served.cuts.pop(0) if served.cuts else len(sent)
        with contextlib.suppress(OSError):
            self.wfile.write(sent[:cut])
        self.close_connection = True

    def _drip(self) -> None:
        with contextlib.suppress(OSError):
            while not self.server.leaving.is_set():
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.02)

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()


@contextmanager
def serving_files() -> Iterator[FileServer]:
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.leaving.set()
        server.shutdown()
        server.server_close()
        thread.join()
