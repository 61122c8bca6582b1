"""A server with vLLM's command line and replies, whose tokens are bytes and whose log-probabilities follow from them.

It is run as ``-o python=`` runs a Python: ``fake_vllm.py -m MODULE --model ... --host HOST --port PORT``. Like vLLM it
has a process of its own below it, and takes its key from VLLM_API_KEY. ``FAKE_VLLM`` in the environment is JSON:
``pids`` (a file of the processes started so far), ``lacks`` (fields that it drops in silence), ``dies`` (at the start),
``deaf`` (never healthy), ``fatal`` (a text on which it kills itself, ``deaths`` times), ``refuses`` (fields that it
answers with 400), ``sglang``.
"""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOW: dict[str, Any] = {"lacks": [], **json.loads(os.environ.get("FAKE_VLLM", "{}"))}
WORDS = ("dog", "cat", "hat")


def render(body: Any) -> str:
    turns = [(turn["role"], content(turn["content"])) for turn in body["messages"]]
    continued = body.get("continue_final_message") and "continue_final_message" not in HOW["lacks"]
    last = f"assistant:{turns.pop()[1]}" if continued else "assistant:"
    return "".join(f"{role}: {text}\n" for role, text in turns) + last


def content(parts: Any) -> str:
    if isinstance(parts, str):
        return parts
    return "".join(part["text"] if part["type"] == "text" else f"<{part['type']}>" for part in parts)


def log_p(place: int, token: int) -> float:
    """Of a token after so many others."""
    return -0.01 * (1 + (place * 31 + token * 17) % 97)


def reply(body: Any) -> dict[str, Any]:
    known = {name: value for name, value in body.items() if name not in HOW["lacks"]}
    if HOW.get("sglang"):
        for name in ("prompt_logprobs", "logprob_token_ids", "use_beam_search", "return_token_ids"):
            known.pop(name, None)
    prompt = render(body)
    ids = list(prompt.encode())
    word = WORDS[len(prompt) % len(WORDS)]
    count = known.get("n", 1)
    texts = [f" {word}{'' if number == 0 or not known.get('use_beam_search') else number}\n" for number in range(count)]
    logprobs = None
    if known.get("logprobs"):
        tops = known.get("logprob_token_ids") or [ord("y"), ord("n")]
        named = known.get("return_tokens_as_token_ids")
        rows = [{"token": f"token_id:{one}" if named else {121: "yes", 110: "no"}.get(one, chr(one)),
                 "logprob": log_p(len(ids), one)} for one in tops]  # fmt: skip
        logprobs = {"content": [{**rows[0], "top_logprobs": rows}]}
    choices = [
        {"index": number, "message": {"role": "assistant", "content": text}, "finish_reason": "stop",
         "logprobs": logprobs}
        for number, text in enumerate(texts)
    ]  # fmt: skip
    found: dict[str, Any] = {
        "choices": choices, "usage": {"prompt_tokens": len(ids), "completion_tokens": 2}
    }  # fmt: skip
    if "prompt_logprobs" in known:
        found["prompt_logprobs"] = [
            None if place == 0 else {str(one): {"logprob": log_p(place, one), "rank": 1, "decoded_token": chr(one)}}
            for place, one in enumerate(ids)
        ]
    if known.get("return_token_ids"):
        found["prompt_token_ids"] = ids
    return found


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/health":
            self.send(503 if HOW.get("deaf") else 200, {})
        elif self.path == "/version":
            self.send(200, {"version": "0.0.fake"})
        elif self.headers.get("authorization") != f"Bearer {os.environ.get('VLLM_API_KEY', '')}":
            self.send(401, {"error": "Unauthorized"})
        else:
            self.send(200, {"data": [{"id": argument("--served-model-name"), "max_model_len": 2048}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = render(body)
        if HOW.get("fatal") and HOW["fatal"] in text and deaths() <= HOW.get("deaths", 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if body.get("min_tokens", 0) > body["max_tokens"] and "min_tokens" not in HOW["lacks"]:
            self.send(400, {"error": {"message": "min_tokens must be less than or equal to max_tokens"}})
            return
        if any(name in body for name in HOW.get("refuses", ())):
            self.send(400, {"error": {"message": "disabled by default"}})
            return
        time.sleep(HOW.get("seconds", 0))
        self.send(200, reply(body))

    def send(self, status: int, data: Any) -> None:
        encoded = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)


def argument(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def deaths() -> int:
    """How many servers were started."""
    return len(Path(HOW["pids"]).read_text().splitlines())


if __name__ == "__main__":
    print("loading weights \x1b[31m50%", flush=True)
    if HOW.get("dies"):
        sys.exit("RuntimeError: no memory for the KV cache")
    # As vLLM's engine: it notices nothing of its parent's end.
    engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with Path(HOW["pids"]).open("a") as file:
        file.write(f"{os.getpid()} {engine.pid}\n")
    server = ThreadingHTTPServer((argument("--host"), int(argument("--port"))), Handler)
    server.daemon_threads = True
    server.serve_forever()
