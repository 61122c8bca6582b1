"""Downloads one file over HTTP: resumed where it was cut off, and compared with its published size and checksum."""

import contextlib
import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from anymal_eval.errors import FULL, BadData, IncompleteRun, WrongUse, reason
from anymal_eval.media.broken import stands_in
from anymal_eval.task import Download

Advance = Callable[[int], None]
MIRROR = "ANYMAL_EVAL_MIRROR"
"""The environment variable with a base address that takes the place of every scheme: ``BASE/HOST/PATH``."""

PIECE = 1 << 18
MOST_REDIRECTS = 5
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
CUT = (OSError, http.client.HTTPException, urllib.error.URLError)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        timeout_s: without a byte.
        window_s, least: a connection that brings fewer than ``least`` bytes in a window is given up.
        tries: connections in a row that bring fewer than ``least`` bytes.
        pause_s: before the second of them; doubled for each further one.
    """

    timeout_s: float = 60.0
    window_s: float = 60.0
    least: int = 1 << 16
    tries: int = 5
    pause_s: float = 1.0


class Cut(Exception):
    """A connection ended early, or brought nothing for too long: the next one resumes."""


def address_of(url: str, mirror: str) -> str:
    """The address that is opened: the published one, or that of a mirror.

    >>> address_of("https://a.org/b/c.zip", "http://127.0.0.1:8000/")
    'http://127.0.0.1:8000/a.org/b/c.zip'

    Raises:
        WrongUse: it is neither http nor https.
    """
    parts = urlsplit(url)
    address = f"{mirror.rstrip('/')}/{parts.netloc}{parts.path}" if mirror else url
    if urlsplit(address).scheme not in ("http", "https"):
        raise WrongUse(f"{address}: only http and https addresses are opened")
    return address


def download(
    wanted: Download, target: Path, advance: Advance, *, mirror: str = "", patience: Patience | None = None
) -> None:
    """Download a file; what an earlier call left beside it is resumed.

    Args:
        wanted: its address, size and checksum.
        target: the file, which must not exist. ``target.part`` grows until it is whole.
        advance: called with numbers of bytes, those of an earlier call too; negative where a start is made anew.
        mirror: a base address in place of the published one.
        patience: with a slow server.

    Raises:
        BadData: the server does not have it, or gives a page or another file in its place; nothing is kept.
        IncompleteRun: the connection is cut again and again; the same command resumes.
        OSError: of the disk.
    """
    patience = patience or Patience()
    partial = _Partial(target, wanted, address_of(wanted.url, mirror), advance)
    pause, tries = patience.pause_s, 0
    while not partial.is_whole:
        before = partial.size
        try:
            _connect(partial, patience)
        except Cut as cut:
            tries = 1 if partial.size - before >= patience.least else tries + 1
            if tries >= patience.tries:
                raise IncompleteRun(
                    f"{partial.url}: {cut}, {tries} times in a row, after {partial.size:,} bytes, which are kept: "
                    "give the same command again"
                ) from None
            time.sleep(pause if tries > 1 else 0)
            pause = min(2 * pause, 60.0) if tries > 1 else patience.pause_s
    partial.finish()


class _Partial:
    """What is on disk of a file: ``NAME.part``, with the server's facts about it in ``NAME.part.json``."""

    def __init__(self, target: Path, wanted: Download, url: str, advance: Advance) -> None:
        self.url, self.wanted, self._target, self._advance = url, wanted, target, advance
        self.file = target.with_name(f"{target.name}.part")
        self._facts_file = target.with_name(f"{target.name}.part.json")
        self.facts: dict[str, Any] = {}
        self.size = self.file.stat().st_size if self.file.is_file() else 0
        self.total: int | None = None
        advance(self.size)
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self._facts_file.read_text(encoding="utf-8"))
            self.facts = found if isinstance(found, dict) and found.get("url") == url else {}
        if self.size and not (self.facts and self.validator):
            self.restart({})  # another address, or a server that cannot say whether the file is the same
        self.resumed = bool(self.size)
        total = self.facts.get("total")
        self.total = total if isinstance(total, int) else None

    @property
    def validator(self) -> str:
        """What tells that the server still has the same file; empty where it gave nothing that does."""
        tag = str(self.facts.get("etag") or "")
        return tag if tag and not tag.startswith("W/") else str(self.facts.get("modified") or "")

    @property
    def is_whole(self) -> bool:
        return self.total is not None and self.size >= self.total

    def restart(self, facts: dict[str, Any]) -> None:
        self._advance(-self.size)
        self.size, self.facts = 0, {"url": self.url, **facts}
        self.total = facts.get("total")
        self.file.unlink(missing_ok=True)
        self._facts_file.write_text(json.dumps(self.facts), encoding="utf-8")

    def append(self, piece: bytes) -> None:
        with self.file.open("ab") as file:
            file.write(piece)
        self.size += len(piece)
        self._advance(len(piece))

    def drop(self) -> None:
        self.file.unlink(missing_ok=True)
        self._facts_file.unlink(missing_ok=True)

    def finish(self) -> None:
        self.file.touch()
        wrong = self._wrong()
        if wrong:
            self.drop()
            again = "; it was resumed: give the same command again" if self.resumed else ""
            raise BadData(f"{self.url}: {wrong}; nothing of it is kept{again}")
        os.replace(self.file, self._target)
        self._facts_file.unlink(missing_ok=True)

    def _wrong(self) -> str:
        wanted = self.wanted
        if wanted.size is not None and self.size != wanted.size:
            return f"it has {self.size:,} bytes, not the {wanted.size:,} that are published ({wanted.cited})"
        if wanted.sha256:
            with self.file.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != wanted.sha256:
                return f"its SHA-256 is {found}, not {wanted.sha256}, as published ({wanted.cited})"
        with self.file.open("rb") as file:
            found = stands_in(file.read(512))
        return f"it is {found}, not the file" if found else ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _connect(partial: _Partial, patience: Patience) -> None:
    """One connection, until the file is whole.

    Raises:
        Cut: it ended before.
    """
    headers = {"User-Agent": "anymal_eval", "Accept-Encoding": "identity"}
    if partial.size:
        headers |= {"Range": f"bytes={partial.size}-", "If-Range": partial.validator}
    try:
        response = opened(partial.url, headers, patience.timeout_s)
    except CUT as error:
        raise Cut(f"the server cannot be reached ({reason(error)})") from error
    with response:
        if response.status == 416:  # less is there than before, or nothing is left
            partial.restart({})
            raise Cut("the file has changed")
        _begin(partial, response.status, response.headers)
        _receive(partial, response, patience)


def opened(url: str, headers: dict[str, str], timeout: float) -> Any:
    """The response to a request, after redirects, each of which is looked at before it is followed. No cookie and no
    token is sent to any host.

    Raises:
        Cut: the server is busy for the moment.
        BadData: it has no such file, or redirects to where nobody should be led.
        OSError, http.client.HTTPException: it cannot be reached.
    """
    opener = urllib.request.build_opener(_NoRedirect)
    at = url
    for _ in range(MOST_REDIRECTS + 1):
        try:
            return opener.open(urllib.request.Request(at, headers=headers), timeout=timeout)  # noqa: S310
        except urllib.error.HTTPError as error:
            if error.code == 416:
                return error
            where = error.headers.get("Location")
            error.close()
            if error.code not in (301, 302, 303, 307, 308) or not where:
                if error.code in _PASSING:
                    raise Cut(f"the server answered {error.code} {error.reason}") from None
                raise BadData(f"{at}: the server answered {error.code} {error.reason}") from None
            before, at = urlsplit(at).scheme, urljoin(at, where)
            after = urlsplit(at).scheme
            if after not in ("http", "https") or (before == "https" and after == "http"):
                raise BadData(f"{url}: it leads to {at:.200}, which is not followed") from None
    raise BadData(f"{url}: more than {MOST_REDIRECTS} redirects")


def _begin(partial: _Partial, status: int, headers: Message) -> None:
    """Compare what a response says of itself with what is on disk and what is published."""
    kind = headers.get_content_type()
    if kind in ("text/html", "application/xhtml+xml"):
        partial.drop()
        raise BadData(f"{partial.url}: it is an HTML page, not the file; nothing of it is kept")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise BadData(f"{partial.url}: the server compresses the file, although it may not")
    found = _RANGE.fullmatch(headers.get("Content-Range", "")) if status == 206 else None
    length = headers.get("Content-Length", "")
    if status == 206:
        start, total = (int(found[1]), found[3]) if found else (-1, "")
        if start != partial.size or (partial.total is not None and total != str(partial.total)):
            partial.restart({})
            raise Cut("the server sent another part than was requested")
        return
    total_bytes = int(length) if length.isdecimal() else None
    published = partial.wanted.size
    if total_bytes is not None and published is not None and total_bytes != published:
        partial.drop()
        cited = partial.wanted.cited
        raise BadData(
            f"{partial.url}: it has {total_bytes:,} bytes, not the {published:,} that are published ({cited})"
        )
    partial.restart(
        {"etag": headers.get("ETag"), "modified": headers.get("Last-Modified"), "total": total_bytes or published}
    )


def _receive(partial: _Partial, response: Any, patience: Patience) -> None:
    window, seen = time.monotonic(), partial.size
    while not partial.is_whole:
        try:
            piece = response.read1(PIECE)
        except (http.client.HTTPException, TimeoutError) as error:
            raise Cut(f"the connection was cut ({reason(error)})") from error
        except OSError as error:
            if error.errno in FULL:
                raise
            raise Cut(f"the connection was cut ({reason(error)})") from error
        if not piece:
            if partial.total is None:  # no length: the end of the connection is the end of the file
                partial.total = partial.size
                return
            raise Cut(f"the connection was cut after {partial.size:,} of {partial.total:,} bytes")
        if partial.total is not None and partial.size + len(piece) > partial.total:
            partial.drop()
            raise BadData(f"{partial.url}: more bytes come than the {partial.total:,} that it should have")
        partial.append(piece)
        if (now := time.monotonic()) - window > patience.window_s:
            if partial.size - seen < patience.least:
                raise Cut(f"fewer than {patience.least:,} bytes came in {patience.window_s:g} s")
            window, seen = now, partial.size
