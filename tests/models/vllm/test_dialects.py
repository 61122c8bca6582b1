"""Servers with more than the chat API, by ``openai: -o dialect=``: against a server whose tokens are bytes."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.errors import ServerFailed, WrongUse
from anymal_eval.models import PLAIN_WORDING, choose_model
from anymal_eval.models.openai import WORDING
from anymal_eval.models.openai.ranking import first_token_scores, prompt_ids, tail_score
from anymal_eval.records import Decoding, Media, Message, Request
from tests.models.serving import question, respond
from tests.models.vllm.fake_vllm import WORDS, log_p

FAKE = Path(__file__).with_name("fake_vllm.py")


@contextmanager
def fake(tmp_path: Path, **how: Any) -> Iterator[str]:
    """Its address, with a key in OPENAI_API_KEY."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(FAKE), "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "VLLM_API_KEY": "k", "FAKE_VLLM": json.dumps({"pids": str(tmp_path / "pids"), **how})},
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)
                continue
            break
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, 9)
        process.wait()


@contextmanager
def opened(url: str, monkeypatch: pytest.MonkeyPatch, dialect: str = "vllm", **options: str) -> Iterator[Any]:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    model = choose_model("openai:tiny", {"url": url, "dialect": dialect, "retries": "0", **options}).load()
    yield model
    model.close()


def by_hand(prompt: str, option: str) -> float:
    whole = (prompt + option).encode()
    return sum(log_p(place, whole[place]) for place in range(len(prompt.encode()), len(whole)))


def test_whole_options_are_ranked_by_the_prompts_log_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("a red hat", "a dog", "é")
    with fake(tmp_path) as url, opened(url, monkeypatch) as model:
        assert model.wording == PLAIN_WORDING
        plain, begun = respond(
            model, [question(1, candidates=options), question(2, candidates=options, answer_prefix="It shows")]
        )
    prompt = "user: what is on sign 1? \nassistant:"
    assert plain.option_scores == pytest.approx([by_hand(prompt, option) for option in options])
    assert plain.option_tokens == (9, 5, 2)
    prompt = "user: what is on sign 2? \nassistant:It shows"
    assert begun.option_scores == pytest.approx([by_hand(prompt, f" {option}") for option in options])
    assert begun.prompt_tokens == len(prompt)


def test_a_closed_set_is_ranked_by_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake(tmp_path) as url, opened(url, monkeypatch) as model:
        sent: list[Any] = []
        post = model._client._post

        async def counted(body: Any) -> Any:
            sent.append(body)
            return await post(body)

        monkeypatch.setattr(model._client, "_post", counted)
        for number, requests in ((3, 4), (4, 1), (5, 1)):
            sent.clear()
            (response,) = respond(model, [question(number, candidates=("A", "B", "C"))])
            prompt = f"user: what is on sign {number}? \nassistant:"
            assert response.option_scores == pytest.approx([by_hand(prompt, letter) for letter in "ABC"])
            assert response.option_tokens == (1, 1, 1)
            assert len(sent) == requests
        assert sent[0]["logprob_token_ids"] == [65, 66, 67]


def test_beams_limits_and_begun_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake(tmp_path) as url, opened(url, monkeypatch) as model:
        how = Decoding(max_new_tokens=9, min_new_tokens=2, beams=3, length_penalty=0.5, stop=("a",))
        prepared = model.prepare(question(1, decoding=how))
        assert {
            "min_tokens": 2,
            "use_beam_search": True,
            "n": 3,
            "length_penalty": 0.5,
        }.items() <= prepared.body.items()
        (cut,) = model.answer([prepared])
        (begun,) = respond(model, [question(1, answer_prefix="It is")])
    word = WORDS[len("user: what is on sign 1? \nassistant:") % 3]
    assert cut.answer == word.partition("a")[0]
    assert begun.answer == WORDS[len("user: what is on sign 1? \nassistant:It is") % 3]


@pytest.mark.parametrize(
    ("lacks", "expected"),
    [
        (["prompt_logprobs"], {"ranking": False, "token_ids": False, "begun_answers": True}),
        (["return_token_ids"], {"ranking": False, "token_ids": False, "begun_answers": True}),
        (["logprob_token_ids"], {"ranking": True, "token_ids": False, "begun_answers": True}),
        (["continue_final_message"], {"ranking": False, "token_ids": False, "begun_answers": False}),
        (["use_beam_search", "min_tokens"], {"ranking": True, "beams": False, "least_length": False}),
    ],
)
def test_what_a_server_drops_in_silence_it_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: list[str], expected: dict[str, bool]
) -> None:
    with fake(tmp_path, lacks=lacks) as url, opened(url, monkeypatch) as model:
        found = model.provenance["abilities"]
        assert expected.items() <= found.items()
        whole = question(1, candidates=("a red hat", "a dog"))
        if found["ranking"]:
            (response,) = respond(model, [whole])
            prompt = "user: what is on sign 1? \nassistant:"
            assert response.option_scores == pytest.approx([by_hand(prompt, option) for option in whole.candidates])
        else:
            assert model.wording == WORDING
            with pytest.raises(WrongUse, match="cannot rank whole texts"):
                model.refuse(whole)
        wrong = {
            "beams": Decoding(beams=2),
            "least_length": Decoding(min_new_tokens=5),
        }
        for name, decoding in wrong.items():
            if not found[name]:
                with pytest.raises(WrongUse, match="a chat server has no"):
                    model.refuse(question(1, decoding=decoding))


def test_sglang_has_what_its_chat_api_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake(tmp_path, sglang=True) as url, opened(url, monkeypatch, "sglang") as model:
        assert model.provenance["abilities"] == {
            "ranking": False, "token_ids": False, "begun_answers": True, "least_length": True, "beams": False,
            "clips": None, "clip_fields": None, "most_frames": None, "first_token": None,
        }  # fmt: skip
        assert model.wording == WORDING
        (begun,) = respond(model, [question(1, answer_prefix="It is")])
        (ranked,) = respond(model, [question(2, candidates=("no", "yes"))])
    assert begun.answer == WORDS[len("user: what is on sign 1? \nassistant:It is") % 3]
    length = len("user: what is on sign 2? \nassistant:")
    assert ranked.option_scores == pytest.approx([log_p(length, ord("n")), log_p(length, ord("y"))])


def test_a_clip_is_one_part_where_the_server_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Path
) -> None:
    medium = Media(kind="video", uri=str(clip))
    about_clip = Request(id="v", messages=(Message(role="user", parts=(medium, "what?")),), frames=3)
    with fake(tmp_path) as url, opened(url, monkeypatch, media="video", video="native") as model:
        assert model.provenance["abilities"]["clips"] is True
        body = model.prepare(about_clip).body
    part, text = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "what?"}
    assert part["type"] == "video_url"
    kind, _, data = part["video_url"]["url"].partition(",")
    assert kind == "data:video/jpeg;base64"
    assert len(data.split(",")) == 3
    assert body["media_io_kwargs"] == {"video": {"num_frames": -1}}
    # vLLM 0.32 refuses the field unless it was started to trust it, and reads 32 frames of a clip then.
    with (
        fake(tmp_path, refuses=["media_io_kwargs"]) as url,
        opened(url, monkeypatch, media="video", video="native") as model,
    ):
        assert model.provenance["abilities"]["clips"] is True
        assert "media_io_kwargs" not in model.prepare(about_clip).body
        with pytest.raises(WrongUse, match="first 32 frames of a clip, and the protocol wants 33: start"):
            model.prepare(replace(about_clip, frames=33))
    with (
        fake(tmp_path) as url,
        pytest.raises(WrongUse, match="-o dialect=vllm"),
        opened(url, monkeypatch, "sglang", media="video", video="native"),
    ):
        pass


@pytest.mark.parametrize(
    "reply",
    [
        {}, [], {"prompt_logprobs": None}, {"prompt_logprobs": [None]}, {"prompt_logprobs": [{"7": {"logprob": "x"}}]},
        {"prompt_logprobs": [{"8": {"logprob": -1.0}}]}, {"prompt_logprobs": [{"7": {"logprob": float("nan")}}]},
        {"prompt_logprobs": [{"7": {"logprob": float("-inf")}}]}, {"prompt_logprobs": [[7, -1.0]]},
    ],
)  # fmt: skip
def test_a_reply_without_the_options_log_probability_is_a_failure(reply: Any) -> None:
    with pytest.raises(ServerFailed):
        tail_score(reply, (7,))
    with pytest.raises(ServerFailed):
        first_token_scores({"choices": [{"logprobs": {"content": reply}}]}, (7,))
    with pytest.raises(ServerFailed):
        prompt_ids({"prompt_token_ids": reply})
