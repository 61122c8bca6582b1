"""A chat server on loopback that judges by a script, in a thread of the test."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[[str, int], str | int]  # the last message and how many came before -> an answer, or a status


def text_of(body: Any) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@dataclass
class JudgeServer:
    url: str
    script: Script
    bodies: list[Any] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def count(self) -> int:
        return len(self.bodies)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # all that a client has in flight connects at once


@contextmanager
def judging(script: Script, name: str = "judge") -> Iterator[JudgeServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": name}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with found.lock:
                number = len(found.bodies)
                found.bodies.append(body)
            said = found.script(text_of(body), number)
            if isinstance(said, int):
                # As proxies do: the client is told what it sent, the key too.
                sent = self.headers.get("authorization", "nothing")
                self.reply(said, {"error": {"message": f"overloaded; you sent {sent}"}})
            else:
                self.reply(200, {"choices": [{"message": {"content": said}, "finish_reason": "stop"}]})

        def reply(self, status: int, data: Any) -> None:
            content = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = Server(("127.0.0.1", 0), Handler)
    found = JudgeServer(url=f"http://127.0.0.1:{server.server_address[1]}/v1", script=script)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
