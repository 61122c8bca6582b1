"""Chat servers that fill the memory, hang, or answer nonsense: each is an error row or one line, in bounded memory."""

import functools
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.codec import encode, write_json
from anymal_eval.errors import WrongUse
from anymal_eval.models import choose_model
from tests.attacks.hostile_server import Got, Script, as_json, completion, http, question_of, scripted
from tests.cli.test_served import textvqa
from tests.conftest import ROOT, Command
from tests.models.serving import question, respond

Send = Callable[[bytes], None]
MODELS = {"data": [{"id": "tiny"}]}
BOMB = 256 << 20  # bytes after inflating
ROOM = 200 << 20  # bytes that a child's memory may grow by: 4 MB of JSON become 100 MB of empty lists
ENCODED = "content-encoding: "


@functools.cache
def zeros(wbits: int) -> bytes:
    compressor = zlib.compressobj(9, wbits=wbits)
    parts = [compressor.compress(bytes(1 << 20)) for _ in range(BOMB >> 20)]
    return b"".join([*parts, compressor.flush()])


def flood(head: bytes, part: bytes) -> Script:
    """Sends ``head`` and then ``part`` for ever."""

    def script(_: Got, send: Send) -> None:
        send(head)
        for each in repeat(part):
            send(each)

    return script


def drip(head: bytes, part: bytes) -> Script:
    """The same, slowly."""

    def script(_: Got, send: Send) -> None:
        send(head)
        for each in repeat(part):
            send(each)
            time.sleep(0.05)

    return script


def silent(_: Got, send: Send) -> None:
    send(b"")
    time.sleep(9)


def chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CHUNKS = HEAD + b"transfer-encoding: chunked\r\n\r\n"
ATTACKS: dict[str, Script] = {
    "gzip": lambda _, send: send(http(zeros(31), "200 OK", ENCODED + "gzip")),
    "x-gzip-error": lambda _, send: send(http(zeros(31), "500 No", ENCODED + "x-gzip")),
    "zlib": lambda _, send: send(http(zeros(15), "200 OK", ENCODED + "deflate")),
    "raw-deflate": lambda _, send: send(http(zeros(-15), "200 OK", ENCODED + "deflate")),
    "gzip-of-gzip": lambda _, send: send(
        http(gzip.compress(zeros(31)), "200 OK", ENCODED + "gzip, gzip")
    ),
    "gzip-members": lambda _, send: send(http(gzip.compress(b"{}") + bytes(3 << 20), "200 OK", ENCODED + "gzip")),
    "br": lambda _, send: send(http(bytes(1000), "200 OK", ENCODED + "br")),
    "zstd": lambda _, send: send(http(bytes(1000), "200 OK", ENCODED + "zstd")),
    "no-gzip": lambda _, send: send(http(b"{}", "200 OK", ENCODED + "gzip")),
    "cut-gzip": lambda _, send: send(http(gzip.compress(b"{}" * 99)[:-9], "200 OK", ENCODED + "gzip")),
    "endless": flood(HEAD + b"\r\n", b" " * 65536),
    "endless-chunks": flood(CHUNKS, chunked(b" " * 65536)),
    "tiny-chunks": flood(CHUNKS, chunked(b" ") * 4096),
    "endless-error": flood(b"HTTP/1.1 503 No\r\n\r\n", b" " * 65536),
    "promised-length": flood(HEAD + b"content-length: 99999999999\r\n\r\n", b" " * 65536),
    "endless-headers": flood(HEAD, b"x-more: " + b"y" * 8000 + b"\r\n"),
    "one-long-header": flood(HEAD + b"x-more: ", b"y" * 65536),
    "endless-continue": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "endless-trailers": flood(CHUNKS + chunked(b"{}") + b"0\r\n", b"x: y\r\n" * 999),
    "nested-lists": lambda _, send: send(http(b"[" + b"[]," * 1_300_000 + b"0]")),
    "many-objects": lambda _, send: send(http(b'{"choices": [' + b'{"":0},' * 500_000 + b"0]}")),
    "deep": lambda _, send: send(http(b"[" * 4_000_000)),
    "huge-number": lambda _, send: send(http(b"9" * 4_000_000)),
    "drip-body": drip(HEAD + b"content-length: 9999\r\n\r\n", b" "),
    "drip-headers": drip(HEAD, b"x: y\r\n"),
    "drip-first-line": drip(b"", b"H"),
    "silent": silent,
    "no-http": lambda _, send: send(b"SSH-2.0-OpenSSH_9.6\r\n" * 99),
    "cookies": lambda _, send: send(
        as_json(completion("ok"), "200 OK", *[f"set-cookie: a{number}=b; path=/" for number in range(900)])
    ),
}  # fmt: skip

CHILD = """
import json, resource, sys
from concurrent.futures import ThreadPoolExecutor
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from anymal_eval.errors import WrongUse
from anymal_eval.models import choose_model
from anymal_eval.records import Message, Request

port, names = int(sys.argv[1]), sys.argv[2:]
request = Request(id="q", messages=(Message(role="user", parts=("what?",)),))
# A first exchange loads what every exchange needs.
def served(path):
    options = {"url": f"http://127.0.0.1:{port}/{path}/v1", "timeout": "3", "retries": "0"}
    return choose_model("openai:tiny", options).load()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
warm = served("fine/fine")
warm.answer([warm.prepare(request)])
warm.close()
def attacked(name):
    try:
        one = served(f"{name}/fine")
    except WrongUse as error:
        listed = str(error)
    else:
        listed = "no list"
        one.close()
    one = served(f"fine/{name}")
    (response,) = one.answer([one.prepare(request)])
    one.close()
    found = response.failure
    return [name, listed, found and found.kind, found and found.message]
# Those that keep it waiting until its deadline wait beside each other.
slow = [name for name in names if name.startswith(("drip", "silent"))]
for together in [slow, *([name] for name in names if name not in slow)]:
    before = peak()
    with ThreadPoolExecutor(len(together)) as pool:
        rows = list(pool.map(attacked, together))
    for row in rows:
        print(json.dumps([*row, peak() - before]), flush=True)
"""


def hostile(got: Got, send: Send) -> None:
    _, of_list, of_chat, *_ = got.path.split("/")
    name = of_list if got.path.endswith("/models") else of_chat
    if name in ATTACKS:
        ATTACKS[name](got, send)
    else:
        send(as_json(MODELS if got.path.endswith("/models") else completion("fine")))


def test_no_server_fills_the_memory_or_hangs() -> None:
    for wbits in (31, 15, -15):
        zeros(wbits)  # before a deadline runs
    with scripted(hostile) as port:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(port), *ATTACKS],
            capture_output=True, text=True, cwd=ROOT, check=False, timeout=280,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row[0]: row[1:] for row in map(json.loads, done.stdout.splitlines())}
    assert rows.keys() == ATTACKS.keys()
    assert rows.pop("cookies")[1] is None
    for name, (listed, kind, message, grown) in rows.items():
        assert grown < ROOM, (name, grown >> 20)
        assert kind == "server", (name, message)
        assert len(message) < 700
        assert "\n" not in message + listed
    for name in ("gzip", "zlib", "raw-deflate", "endless", "endless-chunks", "promised-length"):
        assert rows[name][2] == "the server's answer is longer than 4,096 kB"
        assert "the server's answer is longer than 4,096 kB" in rows[name][0]
    for name in ("drip-body", "drip-headers", "drip-first-line", "silent"):
        assert "did not answer within 3 s" in rows[name][0]
        assert "did not answer within 3 s" in rows[name][2]
    for name in ("br", "zstd", "gzip-of-gzip"):
        assert "gzip, deflate were requested" in rows[name][2]


@pytest.mark.parametrize(
    "reply",
    [
        http(gzip.compress(json.dumps(completion("fine")).encode()), "200 OK", ENCODED + "gzip"),
        http(zlib.compress(json.dumps(completion("fine")).encode()), "200 OK", "Content-Encoding: deflate"),
        http(gzip.compress(json.dumps(completion("fine")).encode()), "200 OK", "content-encoding: X-GZIP"),
        http(json.dumps(completion("fine")).encode(), "200 OK", ENCODED + "identity"),
        HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunked(json.dumps(completion("fine")).encode()) + b"0\r\n\r\n",
        http(json.dumps(completion("fine")).encode(), length=False),
        http(b"\xef\xbb\xbf" + json.dumps(completion("fine")).encode()),
    ],
)
def test_honest_replies_are_read(reply: bytes) -> None:
    with scripted(lambda got, send: send(as_json(MODELS) if got.path.endswith("/models") else reply)) as port:
        model = choose_model("openai:tiny", {"url": f"http://127.0.0.1:{port}/v1", "retries": "0"}).load()
        (response,) = respond(model, [question(1)])
        model.close()
    assert response.answer == "fine", response.failure


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_no_redirect_is_followed(status: str) -> None:
    seen: list[str] = []

    def script(got: Got, send: Send) -> None:
        seen.append(got.path)
        if got.path in ("/chat/v1/models", "/fine/v1/models"):
            send(as_json(MODELS))
        else:
            send(as_json({}, status, "location: /elsewhere"))

    with scripted(script) as port:
        with pytest.raises(WrongUse, match="no redirect is followed: give the address that answers as -o url"):
            choose_model("openai:tiny", {"url": f"http://127.0.0.1:{port}/list/v1"}).load()
        model = choose_model("openai:tiny", {"url": f"http://127.0.0.1:{port}/chat/v1"}).load()
        (response,) = respond(model, [question(1)])
        model.close()
    assert response.failure is not None
    assert "no redirect is followed" in response.failure.message
    assert not any("elsewhere" in path for path in seen)


@pytest.mark.parametrize(
    "url",
    ["http://[::1/v1", "http://h:99999/v1", "http://h:x/v1", "http://h\n/v1", "http://ex ample/v1", "http://a\x00b/v1",
     "http://user:secretsecret@h/v1", "http://secretsecret@h/v1", "http://h/v1?key=secretsecret",
     "http://h/v1#secretsecret", "http://\u202eh\u2028/v1", "http://" + "a" * 300 + "/v1", "https://", "file:///etc/passwd",
     "http://xn--/v1", "http://a..b/v1"],
)  # fmt: skip
def test_odd_addresses_are_one_line(url: str, anymal: Callable[..., Any], tmp_path: Path) -> None:
    data = textvqa(tmp_path, 1, {})
    ended = anymal("run", "--tasks", "textvqa", "--model", "openai:tiny", "-o", f"url={url}", "--data-root", data,
                   "-o", "timeout=2", "--out", tmp_path / "run")  # fmt: skip
    assert ended.code == 1, ended.lines
    assert len(ended.lines) == 1
    assert "secretsecret" not in ended.lines[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("row", [
    {"id": "tiny", "owned_by": "\ud800\x1b[31m" * 999, "root": {"deep": [1e400]}, "n": float("inf"), "big": 10**4000},
    {"id": "tiny", **{f"field {number}": "x" for number in range(10_000)}},
    {"id": "tiny", "root": None, "parent": [], "max_model_len": -1},
])  # fmt: skip
def test_odd_rows_of_the_list(row: dict[str, Any]) -> None:
    with scripted(lambda got, send: send(as_json({"data": [None, 3, {"id": None}, row]}))) as port:
        model = choose_model("openai:tiny", {"url": f"http://127.0.0.1:{port}/v1"}).load()
        model.close()
        with pytest.raises(WrongUse, match="does not list"):
            choose_model("openai:other", {"url": f"http://127.0.0.1:{port}/v1"}).load()
    kept = vars(model)["provenance"]["models"]
    assert len(write_json(kept)) < 20_000
    assert kept["id"] == "tiny"


# --- Answers are written as they come -----------------------------------------------------------------------------


def rows_of(out: Path) -> list[str]:
    file = out / "textvqa" / "responses.jsonl"
    return [json.loads(line)["id"] for line in file.read_text().splitlines()] if file.exists() else []


def run_of(port: int, data: Path, out: Path, **options: object) -> list[str]:
    given = {"url": f"http://127.0.0.1:{port}/v1", "timeout": 100, "concurrency": 16, **options}
    return [
        "run", "--tasks", "textvqa", "--model", "openai:tiny", "--data-root", str(data), "--out", str(out),
        *(part for key, value in given.items() for part in ("-o", f"{key}={value}")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("slow", "engine"),
    [("hang", ()), ("Retry-After: 50", ()), ("hang", ("--engine", "ray", "--workers", "1"))],
    ids=["hang", "retry-after", "hang-ray"],
)
def test_one_slow_request_keeps_no_other_answer_off_the_disk(
    tmp_path: Path, slow: str, engine: Sequence[str], command: Command
) -> None:
    if engine:
        pytest.importorskip("ray")
    count, asked, healed, left = 40, Counter[str](), threading.Event(), threading.Event()

    def script(got: Got, send: Send) -> None:
        if got.path.endswith("/models"):
            send(as_json(MODELS))
            return
        number = question_of(got).partition("sign ")[2].partition("?")[0]
        asked[number] += 1
        if number == "3" and not healed.is_set():
            if slow == "hang":
                left.wait(60)
            else:
                send(as_json({"error": "slow down"}, "429 Too Many Requests", slow))
            return
        send(as_json(completion(f"word {number}")))

    data, out = textvqa(tmp_path, count, {}), tmp_path / "run"
    with scripted(script) as port:
        process = subprocess.Popen(
            [sys.executable, "-m", "anymal_eval", *run_of(port, data, out), *engine],
            cwd=ROOT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
        )  # fmt: skip
        limit = time.monotonic() + 50  # before the request that hangs is given up
        try:
            while len(rows_of(out)) < count - 1 and process.poll() is None and time.monotonic() < limit:
                time.sleep(0.01)
            assert sorted(rows_of(out)) == sorted(str(number) for number in range(count) if number != 3)
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
            left.set()
        assert process.returncode == 130, said
        assert "Traceback" not in said
        healed.set()
        before = Counter(asked)
        done = command(*run_of(port, data, out))
        assert done.returncode == 0, done.stderr
    assert asked - before == Counter({"3": 1})
    assert sorted(rows_of(out)) == sorted(map(str, range(count)))
    if slow != "hang":
        return
    whole = tmp_path / "whole"
    with scripted(script) as port:
        assert command(*run_of(port, data, whole, concurrency=1)).returncode == 0
    assert (out / "textvqa" / "scores.jsonl").read_bytes() == (whole / "textvqa" / "scores.jsonl").read_bytes()
    assert (out / "results.json").read_bytes() == (whole / "results.json").read_bytes()


def test_only_what_may_pass_is_announced_as_tried_again(tmp_path: Path, anymal: Callable[..., Any]) -> None:
    def script(got: Got, send: Send) -> None:
        text = "" if got.path.endswith("/models") else question_of(got)
        replies = {
            "[refused]": as_json(completion("", refusal="I will not")),
            "[filter]": as_json(completion("half", "content_filter")),
            "[context]": as_json(
                {"error": {"code": "context_length_exceeded", "message": "too long"}}, "400 Bad Request"
            ),
            "[server]": as_json({"error": "broken"}, "500 Internal Server Error"),
        }
        fine = as_json(completion("fine") if text else MODELS)
        send(next((reply for mark, reply in replies.items() if mark in text), fine))

    marks = {1: "refused", 2: "filter", 3: "context"}
    with scripted(script) as port:
        data = textvqa(tmp_path / "lasting", 6, marks)
        lasting = anymal(*run_of(port, data, tmp_path / "one", retries=0))
        data = textvqa(tmp_path / "both", 6, {**marks, 4: "server"})
        both = anymal(*run_of(port, data, tmp_path / "two", retries=0))
        data = textvqa(tmp_path / "passing", 6, {4: "server"})
        passing = anymal(*run_of(port, data, tmp_path / "three", retries=0))
        resumed = anymal(*run_of(port, data, tmp_path / "three", retries=0))
    assert [ended.code for ended in (lasting, both, passing, resumed)] == [2, 2, 2, 2]
    said = ["\n".join(ended.lines) for ended in (lasting, both, passing, resumed)]
    assert "3 (context 1, refused 2) will fail again unless the data, the prompt or the model change" in said[0]
    assert "tries" not in said[0]
    assert "the same command tries again 1 (server 1); 3 (context 1, refused 2) will fail again unless" in said[1]
    assert said[2].count("the same command tries them again") == said[3].count("the same command tries them again") == 1


# --- Random replies ------------------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, 10**400, "", "stop", "length", "\ud800", "x" * 5000, [], {}, [[]], {"": 0},
    "\x1b]0;x\x07",
)  # fmt: skip
STATUSES = ("200 OK",) * 20 + ("400 Bad", "404 \xff", "418 x", "500 No", "204 None", "299 x", "302 Found")
HEADERS = ("retry-after: nan", ENCODED + "gzip", ENCODED + "br", "x: \x80", "content-type: x")


def mutated(draw: random.Random) -> bytes:
    """A valid reply with a part of its structure or of its bytes replaced."""
    data: Any = completion("a red bus")
    data["choices"][0]["logprobs"] = {"content": [{"top_logprobs": [{"token": "A", "logprob": -1.0}]}]}
    for _ in range(draw.choice((0, 1, 1, 1, 3))):
        inside: Any = data
        outer: Any = None
        key: Any = None
        while isinstance(inside, dict | list) and inside and draw.random() < 0.8:
            outer, key = inside, draw.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
            inside = outer[key]
        if outer is None:
            data = draw.choice(VALUES)
        elif draw.random() < 0.3:
            del outer[key]
        else:
            outer[key] = draw.choice(VALUES)
    body = bytearray(json.dumps(data).encode())
    for _ in range(draw.choice((0, 0, 0, 0, 1, 3))):
        at = draw.randrange(len(body) + 1)
        body[at : at + draw.randint(0, 4)] = draw.randbytes(draw.randint(0, 4))
    more = [draw.choice(HEADERS)] if draw.random() < 0.1 else []
    reply = http(bytes(body), draw.choice(STATUSES), *more)
    return reply[: draw.randrange(len(reply))] if draw.random() < 0.1 else reply


@pytest.fixture
def random_replies() -> Iterator[int]:
    def script(got: Got, send: Send) -> None:
        if got.path.endswith("/models"):
            send(as_json(MODELS))
        else:
            send(mutated(random.Random(question_of(got))))

    with scripted(script) as port:
        yield port


def test_each_random_reply_is_an_answer_or_a_failure(random_replies: int) -> None:
    options = {"url": f"http://127.0.0.1:{random_replies}/v1", "retries": "0", "timeout": "20", "concurrency": "8"}
    model = choose_model("openai:tiny", options).load()
    requests = [question(number, candidates=("A", "B") if number % 3 == 0 else ()) for number in range(600)]
    responses = respond(model, requests)
    model.close()
    assert [response.id for response in responses] == [request.id for request in requests]
    kinds = Counter(response.failure.kind if response.failure else "answer" for response in responses)
    assert kinds["answer"] > 100
    assert kinds["server"] > 100
    # An error that was not thought of would have this kind.
    assert kinds["unexpected"] == 0, [one.failure for one in responses if one.failure is not None]
    for response in responses:
        assert len(write_json(encode(response)).encode()) < 20_000


def test_a_run_over_random_replies_ends_in_order(
    tmp_path: Path, random_replies: int, anymal: Callable[..., Any]
) -> None:
    data, out = textvqa(tmp_path, 200, {}), tmp_path / "run"
    ended = anymal(*run_of(random_replies, data, out, retries=0, timeout=20))
    assert ended.code == 2
    assert len(rows_of(out)) == 200
    assert "Traceback" not in "\n".join(ended.lines)
