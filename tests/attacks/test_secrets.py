"""The API key is in no file and no stream, wherever a server repeats it and however it writes it."""

import base64
import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from anymal_eval.codec import encode, write_json
from anymal_eval.errors import WrongUse
from anymal_eval.models import choose_model
from anymal_eval.models.openai.secret import Secret
from tests.attacks.conftest import Ended
from tests.attacks.hostile_server import Got, as_json, completion, http, question_of, scripted
from tests.cli.test_served import textvqa
from tests.models.serving import question, respond

KEY = "sk-Zq7.Wv3_Kx9~Tm5+Hb1/Ny8=Jc4Rf6"
FRAGMENT = 8


def fragments(text: str) -> Iterator[str]:
    return (text[at : at + FRAGMENT] for at in range(len(text) - FRAGMENT + 1))


def leaked(text: str) -> set[str]:
    """Every fragment of the key of eight characters that a text holds, however it is written."""
    squeezed = "".join(letter for letter in text if letter.isprintable() and not letter.isspace())
    whole = {"base64": base64.b64encode(KEY.encode()).decode(), "url": quote(KEY, safe=""), "hex": KEY.encode().hex()}
    searched = {*fragments(KEY), *fragments(whole["base64"].rstrip("="))}
    # A fragment of an encoded key that is long enough to hold eight of its characters.
    searched |= {quote(each, safe="") for each in fragments(KEY)} | {each.encode().hex() for each in fragments(KEY)}
    searched |= {json.dumps(each)[1:-1].replace("/", "\\/") for each in fragments(KEY)}
    searched |= {"".join(f"\\u{ord(letter):04x}" for letter in each) for each in fragments(KEY)}
    forms = (text.lower(), squeezed.lower())
    return {each for each in searched if any(each.lower() in form for form in forms)}


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "header": lambda key: f"Authorization: Bearer {key}",
    "upper": str.upper,
    "lines": lambda key: "\n".join(key[at : at + 7] for at in range(0, len(key), 7)),
    "spaced": " ".join,
    "no-width": "\u200b".join,
    "escapes": "\x1b[0m".join,
    "url": lambda key: quote(key, safe=""),
    "url-all": lambda key: "".join(f"%{ord(letter):02X}" for letter in key),
    "url-twice": lambda key: quote(quote(key, safe=""), safe=""),
    "html": lambda key: html.escape("".join(f"&#{ord(letter)};" for letter in key)).replace("&amp;", "&"),
    "html-hex": lambda key: "".join(f"&#x{ord(letter):x};" for letter in key),
    "json": lambda key: "".join(f"\\u{ord(letter):04x}" for letter in key),
    "json-twice": lambda key: json.dumps(json.dumps("".join(f"\\u{ord(letter):04x}" for letter in key))),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64-moved": lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
    "base64-url": lambda key: base64.urlsafe_b64encode(f"x{key}".encode()).decode(),
    "hex": lambda key: key.encode().hex(),
    "first-half": lambda key: key[:18],
    "last-eight": lambda key: key[-8:],
    "at-the-cut": lambda key: "x" * 580 + key,
    "before-the-cut": lambda key: "x" * 296 + key + "y" * 900,
    "after-spaces": lambda key: " " * 290 + key,
}  # fmt: skip
PLACES = (
    "error", "error-text", "error-body", "error-code", "reason", "detail", "refusal", "finish", "content", "part",
    "no-choices", "status-200-error", "retry-after", "encoding", "location", "broken-json", "error-401", "header",
)  # fmt: skip


def reply(place: str, key: str) -> bytes:
    line = "".join(letter if letter.isprintable() and ord(letter) < 256 else " " for letter in key)
    return {
        "error": as_json({"error": {"message": f"you sent {key}"}}, "400 Bad Request"),
        "error-text": as_json({"error": f"you sent {key}"}, "503 No"),
        "error-body": http(f"<p>you sent {key}</p>".encode(), "500 No"),
        "error-code": as_json({"error": {"code": key, "type": key}}, "400 Bad Request"),
        "reason": as_json({}, f"500 {line}"),
        "detail": as_json({"detail": [{"input": {"headers": {key: key}}}]}, "422 Unprocessable Entity"),
        "refusal": as_json(completion(None, refusal=f"I will not repeat {key}")),
        "finish": as_json(completion(None, f"end {key}")),
        "content": as_json(completion(f"the key is {key}")),
        "part": as_json(completion([{"type": "text", "text": key[:5]}, {"type": "text", "text": key[5:]}])),
        "no-choices": as_json({"error": {"message": key}, "choices": []}),
        "status-200-error": as_json({"error": key}),
        "retry-after": as_json({}, "429 No", f"retry-after: {line}"),
        "encoding": as_json(completion("fine"), "200 OK", f"content-encoding: {line}"),
        "location": as_json({"to": key}, "307 Temporary Redirect", f"location: http://127.0.0.1/{line}"),
        "broken-json": http(f'{{"choices": {key}'.encode()),
        "error-401": as_json({"error": {"message": f"Incorrect API key provided: {key}"}}, "401 Unauthorized"),
        "header": http(b"{}", f"200 {line}", f"x-request: {line}"),
    }[place]


CASES = [(place, spelling) for place in PLACES for spelling in SPELLINGS]


def script(got: Got, send: Callable[[bytes], None]) -> None:
    if got.path.endswith("/models"):
        send(as_json({"data": [{"id": "tiny"}]}))
        return
    place, spelling = CASES[int(question_of(got).partition("sign ")[2].partition("?")[0])]
    assert got.headers["authorization"] == f"Bearer {KEY}"
    send(reply(place, SPELLINGS[spelling](KEY)))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def test_no_file_and_no_stream_of_a_run_holds_the_key(tmp_path: Path, printed: Callable[..., str]) -> None:
    data, out = textvqa(tmp_path, len(CASES), {}), tmp_path / "run"
    shown = ""
    with scripted(script) as port:
        given = ["run", "--tasks", "textvqa", "--model", "openai:tiny", "--data-root", data, "--out", out,
                 "-o", f"url=http://127.0.0.1:{port}/v1", "-o", "retries=0", "-o", "timeout=20"]  # fmt: skip
        again = [*given, "--max-errors", "3", "--out", tmp_path / "stopped"]
        report = ["report", out, "--data-root", data, "--out", tmp_path / "report"]
        for command in (given, ["score", out, "--data-root", data], again, ["table", out], report):
            shown += printed(*command)
    rows = [json.loads(line) for line in (out / "textvqa" / "responses.jsonl").read_text().splitlines()]
    assert len(rows) == len(CASES)
    files = [
        file for each in (out, tmp_path / "report", tmp_path / "stopped") for file in each.rglob("*") if file.is_file()
    ]
    assert len(files) > 10
    for file in files:
        assert not leaked(file.read_bytes().decode("utf-8", "replace")), file
    assert "***" in shown
    assert not leaked(shown)
    failures = {int(row["id"]): row["failure"]["message"] for row in rows if "failure" in row}
    # The check is no empty one: most failures quote the server, with the key cut out.
    assert sum("***" in message for message in failures.values()) > len(CASES) / 3


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_list_of_models_that_repeats_the_key(spelling: str) -> None:
    text = SPELLINGS[spelling](KEY)
    own = {"id": "tiny", "owned_by": text, text: 1, "root": f"x{text}x", "permission": [text]}
    rows = [{"id": f"{text} tiny"}, own]
    with scripted(lambda _, send: send(as_json({"data": rows}))) as port:
        url = f"http://127.0.0.1:{port}/v1"
        with pytest.raises(WrongUse, match="does not list") as refused:
            choose_model("openai:tinny", {"url": url}).load()
        model = choose_model("openai:tiny", {"url": url}).load()
        model.close()
    assert not leaked(str(refused.value))
    assert not leaked(json.dumps(vars(model)["provenance"]) + model.fingerprint + repr(model) + repr(vars(model)))


@pytest.mark.parametrize("status", ["401 No", "403 No", "429 No", "500 No", "302 Found"])
@pytest.mark.parametrize("spelling", ["plain", "lines", "url", "base64", "at-the-cut"])
def test_a_list_that_fails_and_repeats_the_key(spelling: str, status: str) -> None:
    text = SPELLINGS[spelling](KEY)
    failing = as_json({"error": text}, f"{status} {quote(text)}")
    with scripted(lambda _, send: send(failing)) as port, pytest.raises(WrongUse) as refused:
        choose_model("openai:tiny", {"url": f"http://127.0.0.1:{port}/v1"}).load()
    assert not leaked(str(refused.value))


@pytest.mark.parametrize(
    "options",
    [
        {"key_env": KEY}, {"key_env": "skZq7Wv3Kx9Tm5Hb1Ny8Jc4Rf6"}, {"key_env": f"{KEY}\n"}, {"key_env": KEY.upper()},
        {"url": f"http://127.0.0.1:9/{KEY}/v1"}, {"url": f"http://127.0.0.1:9/{quote(KEY, safe='')}/v1"},
        {"url": f"http://{KEY}@127.0.0.1:9/v1"}, {"url": f"http://u:{quote(KEY, safe='')}@127.0.0.1:9/v1"},
        {"url": f"http://127.0.0.1:9/v1?key={KEY}"}, {"url": f"http://127.0.0.1:9/v1#{KEY}"}, {"url": f"http://[{KEY}/v1"},
        {"url": KEY}, {"media": KEY}, {"checkpoint": KEY},
    ],
)  # fmt: skip
def test_options_that_hold_the_key(options: dict[str, str], tmp_path: Path, anymal: Callable[..., Ended]) -> None:
    given = [part for name, value in {"url": "http://127.0.0.1:9/v1", "checkpoint": "m", **options}.items()
             for part in ("-o", f"{name}={value}")]  # fmt: skip
    ended = anymal("run", "--tasks", "textvqa", "--model", "openai", *given, "--data-root", textvqa(tmp_path, 1, {}),
                   "--out", tmp_path / "run")  # fmt: skip
    code, lines = ended
    assert code == 1
    assert len(lines) == 1
    assert not {each for each in fragments("skZq7Wv3Kx9Tm5Hb1Ny8Jc4Rf6") if each in lines[0]}
    assert not leaked(lines[0]), lines
    assert not (tmp_path / "run").exists()


def test_a_key_that_no_header_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    for odd in (f"{KEY}\n{KEY}", f"{KEY}\x00", f"{KEY}é", f"{KEY}\u202e", f"{KEY}\r\nx: y"):
        if "\x00" not in odd:
            monkeypatch.setenv("OPENAI_API_KEY", odd)
            with pytest.raises(WrongUse, match="unprintable") as refused:
                choose_model("openai:tiny", {"url": "http://127.0.0.1:9/v1"}).load()
            assert not leaked(str(refused.value))


@pytest.mark.parametrize("placeholder", ["EMPTY", "none", "x", "lm-studio", "token-abc123", "password"])
def test_placeholders_change_no_answer(placeholder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", placeholder)
    text = f"it says {placeholder[:11]} there"

    def serve(got: Got, send: Callable[[bytes], None]) -> None:
        send(as_json({"data": [{"id": "tiny"}]}) if got.path.endswith("/models") else as_json(completion(text)))

    with scripted(serve) as port:
        model = choose_model("openai:tiny", {"url": f"http://127.0.0.1:{port}/v1"}).load()
        (response,) = respond(model, [question(1)])
        model.close()
    if placeholder == "token-abc123":
        # As long as a key may be: an error that says why, and no changed answer.
        assert response.failure is not None
        assert "repeats the API key" in response.failure.message
    else:
        assert response.answer == text
    assert write_json(encode(response))


@pytest.mark.parametrize("key", [KEY, "aaaaaaaaaaaa", "0123456789abcdef", "key with spaces 1"])
def test_a_clean_text_stays_clean(key: str) -> None:
    secret = Secret(key)
    for spelling in SPELLINGS.values():
        cleaned = secret.clean(f"before {spelling(key)} after")
        assert cleaned == secret.clean(cleaned)
        assert not secret.is_in(cleaned)
        assert not any(each in cleaned for each in fragments("".join(key.split())))
    other = "a text without it: 12345, %20, &amp; \\u00e9"
    assert secret.clean(other) == other
