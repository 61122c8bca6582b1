"""A chat server on loopback, in a process of its own, that fails as its questions tell it to.

A question that holds ``[500 2]`` gets status 500 twice and then an answer; ``[500]`` gets it always. The answer to
``sign 7`` is ``word 7``. ``GET /stats`` counts the requests; ``POST /heal`` ends all faults.
"""

import json
import re
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG_S = 20.0  # longer than any client here waits, and not for ever
FAULT = re.compile(r"\[([a-z0-9-]+) ?(\d*)\]")
SIGN = re.compile(r"sign (\d+)")
STATUS = {"429": 429, "429-date": 429, "500": 500, "502": 502, "503": 503, "400": 400, "401": 401}


class Told:
    """What the server has seen."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tries: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.keys: set[str] = set()
        self.now, self.most, self.connections = 0, 0, 0
        self.last: Any = None
        self.healed = False


TOLD = Told()
OPTIONS: dict[str, Any] = {"seconds": 0.0, "logprobs": "none", "models": ["tiny"], "key": ""}


def completion(text: object, finish: object = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **more.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": finish, **more}
    usage = {"prompt_tokens": 11, "completion_tokens": 2}
    return {"object": "chat.completion", "choices": [choice], "usage": usage}


SAID: dict[str, Any] = {
    "empty-choices": {"choices": []},
    "no-message": {"choices": [{"index": 0, "finish_reason": "stop"}]},
    "no-object": ["x"],
    "null-text": completion(None),
    "error-200": {"error": {"message": "worker died", "code": 500}},
    "refusal": completion(None, message={"refusal": "I cannot help with that."}),
    "filter": completion("half an", "content_filter"),
    "length": completion("a long answ", "length"),
    "blank-length": completion("", "length"),
    "blank": completion(""),
    "blank-unfinished": completion("", None),
    "abort": completion("half an", "abort"),
    "surrogate": completion("\ud800x"),
    "tgi": completion("word", "eos_token"),
}


def text_of(body: Any) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def likely(body: Any, text: str) -> dict[str, Any]:
    number = SIGN.search(text)
    lean = (int(number[1]) % 10) / 10 if number else 0.25
    pairs = ((" Yes", -0.1 - lean), ("No", -1.0 + lean / 2), ("yes", -3.0), ("It", -5.0), ("B", -2.0))
    tops = [{"token": token, "logprob": log_p} for token, log_p in pairs]
    return {"content": [{"token": " Yes", "logprob": -0.1, "top_logprobs": tops[: body["top_logprobs"]]}]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    counted = False

    def log_message(self, *_: Any) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        with TOLD.lock:
            TOLD.connections += 1

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            if OPTIONS["key"] and self.headers.get("authorization") != f"Bearer {OPTIONS['key']}":
                self.send(401, {"error": {"message": "Incorrect API key provided"}})
            elif OPTIONS["models"] is None:
                self.send(404, {"detail": "Not Found"})
            else:
                rows = [{"id": name, "created": int(time.time()), "max_model_len": 512} for name in OPTIONS["models"]]
                self.send(200, {"object": "list", "data": rows})
            return
        with TOLD.lock:
            self.send(200, {"tries": TOLD.tries, "times": TOLD.times, "keys": sorted(TOLD.keys), "most": TOLD.most,
                            "connections": TOLD.connections, "last": TOLD.last})  # fmt: skip

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/heal":
            TOLD.healed = True
            self.send(200, {})
            return
        with TOLD.lock:
            TOLD.now += 1
            TOLD.most = max(TOLD.most, TOLD.now)
        self.counted = True
        try:
            self.chat(json.loads(content))
        finally:
            self.leave()

    def leave(self) -> None:
        # Before the reply is sent: the client may send its next request before this thread runs again.
        if self.counted:
            self.counted = False
            with TOLD.lock:
                TOLD.now -= 1

    def chat(self, body: Any) -> None:
        text = text_of(body)
        fault, times = next(iter(FAULT.findall(text)), ("", ""))
        name = (SIGN.findall(text) or [text])[0]
        with TOLD.lock:
            TOLD.tries[name] += 1
            TOLD.times.setdefault(name, []).append(time.monotonic())
            TOLD.keys.add(self.headers.get("authorization", ""))
            TOLD.last = body
            faulty = fault and not TOLD.healed and (not times or TOLD.tries[name] <= int(times))
        # Later questions are often answered first: an order that is kept must be kept by the client.
        time.sleep(OPTIONS["seconds"] * (0.5 + (hash(name) % 97) / 97))
        if "logprobs" in body and OPTIONS["logprobs"] == "refused":
            self.send(422, {"detail": "logprobs are not supported"})
        elif "logprobs" in body and OPTIONS["logprobs"] == "five" and body["top_logprobs"] > 5:
            self.send(400, {"error": {"message": "top_logprobs must be at most 5", "code": 400}})
        elif faulty:
            self.fail(fault)
        elif "logprobs" in body and OPTIONS["logprobs"] in ("five", "given"):
            self.send(200, completion("Yes", logprobs=likely(body, text)))
        else:
            self.send(200, completion("yes" if "yes or no" in text else "B" if "letter" in text else f"word {name}"))

    def fail(self, fault: str) -> None:
        if fault in STATUS:
            headers = {"429": {"Retry-After": "1"}, "429-date": {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}}
            # What proxies do: they tell the client what it sent, the key too.
            content = {"error": {"message": f"overloaded; you sent {self.headers.get('authorization')}"}}
            self.send(STATUS[fault], content, headers.get(fault, {}))
        elif fault == "context":
            self.send(400, {"error": {"message": "This model's maximum context length is 512 tokens"}})
        elif fault == "policy":
            self.send(400, {"error": {"code": "content_filter", "message": "the prompt was filtered"}})
        elif fault == "hang":
            time.sleep(HANG_S)
            self.close_connection = True
        elif fault == "drip":
            self.head(200, 1000)
            until = time.monotonic() + HANG_S
            while time.monotonic() < until:
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.1)
        elif fault == "cut":
            self.head(200, 1000)
            self.wfile.write(b'{"choices": [{"message": {"content": "hal')
            self.close_connection = True
        elif fault == "malformed":
            self.head(200, 12)
            self.wfile.write(b'{"choices": ')
        elif fault == "deep":
            self.head(200, 200_000)
            self.wfile.write(b"[" * 200_000)
        else:
            self.send(200, SAID[fault])

    def head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(length))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()

    def send(self, status: int, data: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(data).encode()
        self.leave()
        self.head(status, len(content), headers)
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: Any) -> None:
        """Clients that were killed cut their connections: not worth a traceback."""


if __name__ == "__main__":
    OPTIONS.update(json.loads(sys.argv[1]))
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
