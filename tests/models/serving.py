"""The scripted server as a context manager, and requests to it."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anymal_eval.models import Model, choose_model
from anymal_eval.records import Message, Request, Response


@dataclass(frozen=True)
class Address:
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, Any]:
        """What the server has seen so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=10) as reply:
            found: dict[str, Any] = json.load(reply)
        return found

    def heal(self) -> None:
        """From now on, no faults."""
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/heal", b"{}", timeout=10).close()


@contextmanager
def serving(**options: Any) -> Iterator[Address]:
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("scripted_server.py")), json.dumps(options)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Address(int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


def model(address: Address, **options: object) -> Model:
    given = {"url": address.url, "timeout": 10, "retries": 2, **options}
    return choose_model("openai:tiny", {key: str(value) for key, value in given.items()}).load()


def question(number: int, fault: str = "", **more: Any) -> Request:
    text = f"what is on sign {number}? {f'[{fault}]' if fault else ''}"
    return Request(id=f"q{number}", messages=(Message(role="user", parts=(text,)),), **more)


def respond(served: Model, requests: Sequence[Request]) -> Sequence[Response]:
    return served.answer([served.prepare(request) for request in requests])
