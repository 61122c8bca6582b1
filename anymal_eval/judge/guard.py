"""Where a study is served, and who may read it: the loopback interface, and who has the link.

Every address begins with a token that is in the printed link and in no other place: a page of another origin does not
know it, and no cookie sends it along. The host is compared too, against a name that was made to lead here.
"""

import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from anymal_eval.errors import FileUnusable

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Site:
    """The address of a study that is open.

    Attributes:
        socket: bound to the loopback interface, on the port that was wanted or a free one.
        url: with the token.
    """

    def __init__(self, port: int = 0) -> None:
        """Bind.

        Raises:
            FileUnusable: the port is taken.
        """
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.socket.bind(("127.0.0.1", port))
            self.socket.listen()  # a browser that is faster than the server waits
        except OSError as error:
            self.socket.close()
            raise FileUnusable(f"--port {port}: {error.strerror}: choose another, or leave it out") from None
        self.token = secrets.token_urlsafe(24)
        self.host = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.url = f"http://{self.host}/{self.token}/"


class Guard:
    """Lets requests to this host with the token pass, and puts the headers on every reply."""

    def __init__(self, app: Any, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(
        self, scope: dict[str, Any], receive: Any, send: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        """Answer one request; 403 without the token, or to another host."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        first = scope["path"].split("/")[1] if scope["path"].startswith("/") else ""
        is_here = headers.get(b"host", b"").decode("latin-1") == self._site.host
        is_known = secrets.compare_digest(first.encode(), self._site.token.encode())

        async def reply(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        if is_here and is_known:
            await self._app(scope, receive, reply)
            return
        text = b"open the link that the command printed\n"
        kind = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
        await reply({"type": "http.response.start", "status": 403, "headers": kind})
        await send({"type": "http.response.body", "body": text})
