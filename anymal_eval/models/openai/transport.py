"""HTTP with a server that is not trusted: a deadline over each request, a limit on each body, its own event loop.

The limit holds while a body arrives and while it is inflated, so that neither an endless body nor a small compressed
one fills the memory. h11 limits headers to 100 kB; no redirect is followed, and no cookie is kept.
"""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Literal, TypeVar

import httpx2

from anymal_eval.errors import ServerFailed

MOST_BYTES = 4 << 20  # of a body after inflating; the longest lists of models have 1 MB, answers some kB
MOST_ERROR_BYTES = 64 << 10
ENCODINGS = "gzip, deflate"
# A server may name what no one requested; only the encodings above are decoded, and one at a time.
GZIP, DEFLATE, UNCHANGED = ("gzip", "x-gzip"), ("deflate",), ("", "identity")

T = TypeVar("T")


class TryAgain(ServerFailed):
    """A failure that may pass; ``after_s`` is the server's Retry-After."""

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class TooLong(ServerFailed):
    """A body beyond the limit; nothing of it is used."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A whole reply. ``content`` is empty where an error's body was too long to be quoted."""

    status: int
    reason: str
    retry_after: str
    content: bytes


class Transport:
    """Sends requests from an event loop in a thread of its own, which any thread may give work to.

    Args:
        headers: sent with every request.
        timeout_s: seconds for a whole request, from the connection to the last byte.
        trust_env: whether the environment's proxies are used.
    """

    def __init__(self, headers: Mapping[str, str], *, timeout_s: float, connections: int, trust_env: bool) -> None:
        self._timeout_s = timeout_s
        self._http = httpx2.AsyncClient(
            headers={"accept-encoding": ENCODINGS, **headers},
            timeout=timeout_s,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=connections),
            trust_env=trust_env,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin with a coroutine; the future may be cancelled."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def send(self, method: Literal["GET", "POST"], url: str, body: Mapping[str, Any] | None = None) -> Reply:
        """Send a request and read the whole reply.

        Raises:
            TryAgain: no answer in time, or the connection failed.
            ServerFailed: the body is too long, or cannot be inflated.
        """
        try:
            # The client's own time-outs restart with each byte, which a server may send one by one.
            async with asyncio.timeout(self._timeout_s), self._http.stream(method, url, json=body) as reply:
                content = await _read(reply)
        except (TimeoutError, httpx2.TimeoutException):
            raise TryAgain(f"the server did not answer within {self._timeout_s:g} s") from None
        except httpx2.RequestError as error:
            raise TryAgain(f"the connection failed: {type(error).__name__}: {error}") from None
        return Reply(
            status=reply.status_code,
            reason=reply.reason_phrase,
            retry_after=reply.headers.get("retry-after", ""),
            content=content,
        )

    def close(self) -> None:
        """Cancel what is in flight, and close all connections. May be called again."""
        if self._loop.is_closed():
            return
        self.start(self._cancel_all()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self._http.aclose()


async def _read(reply: httpx2.Response) -> bytes:
    failed = reply.status_code != httpx2.codes.OK
    limit = MOST_ERROR_BYTES if failed else MOST_BYTES
    try:
        return await _inflated(reply, limit)
    except ServerFailed:
        # The status says enough where the words of an error cannot be read.
        if failed:
            return b""
        raise


async def _inflated(reply: httpx2.Response, limit: int) -> bytes:
    encoding = reply.headers.get("content-encoding", "").strip().lower()
    inflate = None if encoding in UNCHANGED else _Inflate(encoding)
    content, arrived = bytearray(), 0
    async for chunk in reply.aiter_raw():
        arrived += len(chunk)
        # One byte more than the limit shows that there is more.
        content += chunk if inflate is None else inflate(chunk, limit + 1 - len(content))
        if max(arrived, len(content)) > limit:
            raise TooLong(f"the server's answer is longer than {limit >> 10:,} kB")
    if inflate is not None and arrived and not inflate.whole:
        raise TryAgain("the server's answer ends in the middle of its compressed body")
    return bytes(content)


class _Inflate:
    """Inflates one body piece by piece, never further than it is needed."""

    def __init__(self, encoding: str) -> None:
        if encoding not in (*GZIP, *DEFLATE):
            raise ServerFailed(f"the server's answer has the content encoding {encoding!r}; {ENCODINGS} were requested")
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding in GZIP else None

    def __call__(self, chunk: bytes, most: int) -> bytes:
        if self._inflater is None and chunk:
            # By the standard "deflate" has a zlib header, which some servers leave out.
            self._inflater = zlib.decompressobj(zlib.MAX_WBITS if chunk[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS)
        if self._inflater is None or self._inflater.eof:
            return b""
        try:
            return self._inflater.decompress(chunk, most)
        except zlib.error as error:
            raise ServerFailed(f"the server's answer cannot be inflated: {error}") from None

    @property
    def whole(self) -> bool:
        """Whether the compressed body came to its end."""
        return self._inflater is not None and self._inflater.eof
