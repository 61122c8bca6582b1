"""A server on loopback that sends any bytes: a thread for each connection, a script for each request."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Got(NamedTuple):
    """A request: its path, its headers in lower case, and its body."""

    path: str
    headers: dict[str, str]
    body: Any


Script = Callable[[Got, Callable[[bytes], None]], None]


def completion(content: object, finish: object = "stop", **message: object) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


def http(body: bytes, status: str = "200 OK", *headers: str, length: bool = True) -> bytes:
    """A reply; ``length`` adds its content-length."""
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", "connection: close", *headers]
    if length:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def as_json(data: object, status: str = "200 OK", *headers: str) -> bytes:
    return http(json.dumps(data).encode(), status, *headers)


def question_of(got: Got) -> str:
    """The text of a chat request."""
    content = got.body["messages"][-1]["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


@contextmanager
def scripted(script: Script) -> Iterator[int]:
    """Run a server; gives its port. A script may raise OSError when the client leaves."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                script(_read(connection), connection.sendall)
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _read(connection: socket.socket) -> Got:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += _some(connection)
    return Got(first.split()[1], headers, json.loads(body) if body else None)


def _some(connection: socket.socket) -> bytes:
    found = connection.recv(1 << 16)
    if not found:
        raise OSError("the client left")
    return found
