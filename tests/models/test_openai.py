"""The chat wrapper against a real server process that fails in every way it can."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anymal_eval.codec import encode, write_json
from anymal_eval.errors import Refused, RequestFailed, ServerFailed, WrongUse
from anymal_eval.models import Model, choose_model
from anymal_eval.models.openai.reading import candidate_scores, read_completion
from anymal_eval.models.openai.retries import RetryBudget, retry_after, wait_s
from anymal_eval.protocols import Protocol
from anymal_eval.protocols.reading import Reading, read_response
from anymal_eval.records import Decoding, Example, Media, Message, Request
from tests.models.serving import Address, model, question, respond, serving

KEY = "sk-never-to-be-written-0123456789"
YES_NO = ("no", "yes")


@pytest.fixture(scope="module")
def server() -> Iterator[Address]:
    with serving() as address:
        yield address


@pytest.fixture
def served(server: Address, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    made = model(server)
    yield made
    made.close()


@pytest.fixture
def impatient(server: Address) -> Iterator[Model]:
    made = model(server, timeout=1, retries=1)
    yield made
    made.close()


# What passes after one or two tries.
@pytest.mark.parametrize(
    ("number", "fault"),
    [(100, "429 1"), (101, "429-date 2"), (102, "500 2"), (103, "502 1"), (104, "503 2"), (105, "cut 1")],
)
def test_passing_faults_are_retried(served: Model, server: Address, number: int, fault: str) -> None:
    (response,) = respond(served, [question(number, fault)])
    assert response.answer == f"word {number}"
    assert response.finish == "stop"
    assert (response.prompt_tokens, response.new_tokens) == (11, 2)
    tries = int(fault.split()[1]) + 1
    assert server.stats()["tries"][str(number)] == tries
    if fault == "429 1":
        first, second = server.stats()["times"][str(number)]
        assert second - first >= 1.0, "Retry-After: 1 is not honoured"


def test_a_hang_is_cut_off_and_retried(impatient: Model, server: Address) -> None:
    started = time.monotonic()
    requests = [question(110, "hang 1"), question(111, "drip 1"), question(112), question(113, "hang")]
    *answered, failed = respond(impatient, requests)
    assert time.monotonic() - started >= 2.0
    assert [response.answer for response in answered] == ["word 110", "word 111", "word 112"]
    assert failed.failure is not None
    assert failed.failure.message == "the server did not answer within 1 s (given up after 2 tries)"
    assert server.stats()["tries"]["113"] == 2


@pytest.mark.parametrize(
    ("fault", "kind", "message", "tries"),
    [
        ("429", "server", "429 Too Many Requests: overloaded", 3),
        ("500", "server", "500 Internal Server Error: overloaded", 3),
        ("cut", "server", "connection failed: RemoteProtocolError", 3),
        ("400", "server", "400 Bad Request: overloaded", 1),
        ("context", "context", "maximum context length is 512", 1),
        ("policy", "refused", "the prompt was filtered", 1),
        ("malformed", "server", "is no JSON", 1),
        ("deep", "server", "is no JSON", 1),
        ("no-object", "server", "a JSON list, not an object", 1),
        ("empty-choices", "server", "has no choices", 1),
        ("error-200", "server", "has no choices: worker died", 1),
        ("no-message", "server", "has no message", 1),
        ("null-text", "server", "has no text", 1),
        ("blank-length", "server", "before its first word", 1),
        ("blank-unfinished", "server", "did not finish", 1),
        ("abort", "server", "did not finish the answer (finish_reason 'abort')", 1),
        ("refusal", "refused", "I cannot help with that", 1),
        ("filter", "refused", "content filter", 1),
    ],
)
def test_lasting_faults_are_failures(
    served: Model, server: Address, request: pytest.FixtureRequest, fault: str, kind: str, message: str, tries: int
) -> None:
    number = 200 + request.node.callspec.indices["fault"]
    response, neighbour = respond(served, [question(number, fault), question(number + 100)])
    assert neighbour.answer == f"word {number + 100}"
    assert response.answer is None
    assert response.option_scores is None
    assert response.failure is not None
    assert response.failure.kind == kind
    assert message in response.failure.message
    assert KEY not in response.failure.message
    assert ("given up after 3 tries" in response.failure.message) == (tries == 3)
    assert server.stats()["tries"][str(number)] == tries
    # Nothing of it is ever scored.
    example = Example(id=response.id, cluster="c", kind="short_answer", references=("x",))
    assert read_response(response, example, Reading()).state == "error"


def test_unusual_finish_reasons(served: Model) -> None:
    cut, blank, odd, tgi = respond(
        served, [question(1, "length"), question(2, "blank"), question(3, "surrogate"), question(4, "tgi")]
    )
    assert (cut.answer, cut.finish) == ("a long answ", "length")
    assert (blank.answer, blank.finish) == ("", "stop")
    assert (odd.answer, tgi.finish) == ("?x", "stop")


def test_the_key_goes_to_the_server_and_nowhere_else(served: Model, server: Address) -> None:
    (response,) = respond(served, [question(400, "500")])
    assert f"Bearer {KEY}" in server.stats()["keys"]
    assert response.failure is not None
    assert "you sent Bearer ***" in response.failure.message
    assert KEY not in repr(vars(served)) + served.fingerprint


def test_sixty_four_in_flight_keep_their_order() -> None:
    with serving(seconds=0.2) as address:
        served = model(address, concurrency=64, timeout=20)
        try:
            requests = [question(number, "503 1" if number % 10 == 0 else "") for number in range(256)]
            responses = respond(served, requests)
        finally:
            served.close()
        stats = address.stats()
    assert [response.id for response in responses] == [request.id for request in requests]
    assert [response.answer for response in responses] == [f"word {number}" for number in range(256)]
    assert 32 < stats["most"] <= 64
    assert sum(stats["tries"].values()) == 256 + 26


def test_concurrency_is_kept_and_asks_for_batches(server: Address) -> None:
    with serving(seconds=0.02) as address:
        served = model(address, concurrency=3)
        respond(served, [question(number) for number in range(20)])
        assert getattr(served, "batch_hint", 0) == 12
        served.close()
        served.close()
        assert address.stats()["most"] == 3


# --- Ranking by the first token ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("gives", "tops"), [("given", 20), ("five", 5)])
def test_yes_and_no_by_the_first_tokens_probabilities(gives: str, tops: int) -> None:
    with serving(logprobs=gives) as address:
        served = model(address)
        (response,) = respond(served, [question(3, candidates=YES_NO)])
        served.close()
        assert address.stats()["last"]["top_logprobs"] == tops
    assert response.finish == "ranked"
    assert response.option_scores == candidate_scores(
        YES_NO,
        {"logprobs": {"content": [{"top_logprobs": [
            {"token": "Yes", "logprob": -0.4}, {"token": "No", "logprob": -0.85}, {"token": "yes", "logprob": -3.0},
        ]}]}},
    )  # fmt: skip
    example = Example(id="q3", cluster="c", kind="yes_no", options=YES_NO, label=1)
    answer = read_response(response, example, Reading())
    assert answer.choice == 1
    assert answer.p_yes is not None
    assert 0.6 < answer.p_yes < 0.7


@pytest.mark.parametrize("gives", ["none", "refused"])
def test_without_probabilities_the_text_is_the_answer(gives: str) -> None:
    with serving(logprobs=gives) as address:
        served = model(address)
        request = Request(
            id="a", messages=(Message(role="user", parts=("is it so? answer yes or no",)),), candidates=YES_NO
        )
        (first,), (second,) = respond(served, [request]), respond(served, [request])
        served.close()
        # A server that refuses log-probabilities gets one such request for each size, and none after that.
        assert sum(address.stats()["tries"].values()) == (4 if gives == "refused" else 2)
    assert (first.answer, first.option_scores, second.answer) == ("yes", None, "yes")


def test_letters_are_not_words() -> None:
    tops = [{"token": "a", "logprob": -0.1}, {"token": " B", "logprob": -1.0}, {"token": "C", "logprob": -2.0}]
    choice = {"logprobs": {"content": [{"top_logprobs": tops}]}}
    assert candidate_scores(("A", "B", "C"), choice) == (-2.0, -1.0, -2.0)
    assert candidate_scores(("D", "E"), choice) is None
    broken_ones: list[dict[str, Any]] = [
        {}, {"logprobs": None}, {"logprobs": {"content": []}}, {"logprobs": {"content": [{}]}},
        {"logprobs": {"content": [{"top_logprobs": [{"token": "A", "logprob": None}, 3]}]}},
    ]  # fmt: skip
    for broken in broken_ones:
        assert candidate_scores(("A", "B"), broken) is None


# --- What is refused before any request is sent -------------------------------------------------------------------


def test_requests_that_no_chat_server_can_answer_are_refused(served: Model) -> None:
    with pytest.raises(WrongUse, match="cannot rank whole texts"):
        served.prepare(question(1, candidates=("a red bus", "a blue car")))
    with pytest.raises(WrongUse, match="no beam search, and the protocol wants 5 beams"):
        served.prepare(question(1, decoding=Decoding(beams=5)))
    with pytest.raises(WrongUse, match="no least length"):
        served.prepare(question(1, decoding=Decoding(min_new_tokens=8)))
    with pytest.raises(WrongUse, match="cannot continue an answer"):
        served.prepare(question(1, answer_prefix="Answer:"))
    sound = Message(role="user", parts=(Media(kind="audio", uri="x.wav"), "what?"))
    with pytest.raises(WrongUse, match="give -o media=audio"):
        served.prepare(Request(id="1", messages=(sound,)))


def test_media_are_what_the_user_says() -> None:
    assert choose_model("openai:m", {}).accepts == {"image"}
    assert choose_model("openai:m", {"media": "image, audio,video"}).accepts == {"image", "audio", "video"}
    with pytest.raises(WrongUse, match="media names 'imu'; chat servers take image, audio, video"):
        assert choose_model("openai:m", {"media": "image,imu"}).accepts


def test_a_wrong_server_is_found_first(server: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WrongUse, match=r"no server answers at http://127.0.0.1:9/v1 .*start it, or give -o url"):
        choose_model("openai:tiny", {"url": "http://127.0.0.1:9/v1"}).load()
    with pytest.raises(WrongUse, match="does not list 'tinny'; did you mean tiny"):
        choose_model("openai:tinny", {"url": server.url}).load()
    choose_model("openai:tinny", {"url": server.url, "unlisted": "true"}).load().close()
    for url in ("127.0.0.1:8000", "ftp://x/v1", "http:///v1"):
        with pytest.raises(WrongUse, match="must look like http://HOST:PORT/v1"):
            choose_model("openai:tiny", {"url": url}).load()
    for url in ("http://me:secret@127.0.0.1/v1", "http://127.0.0.1/v1?key=secret"):
        with pytest.raises(WrongUse, match="must hold no key") as refused:
            choose_model("openai:tiny", {"url": url}).load()
        assert "secret" not in str(refused.value)
    with pytest.raises(WrongUse, match="concurrency must be at least 1"):
        choose_model("openai:tiny", {"url": server.url, "concurrency": "0"}).load()
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\nx")
    with pytest.raises(WrongUse, match="unprintable") as refused:
        choose_model("openai:tiny", {"url": server.url}).load()
    assert KEY not in str(refused.value)


def test_a_key_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving(key=KEY) as address:
        with pytest.raises(WrongUse, match=r"refuses the key \(401\): put the right one into OPENAI_API_KEY"):
            model(address)
        with pytest.raises(WrongUse, match="names MY_KEY, which is not set"):
            model(address, key_env="MY_KEY")
        with pytest.raises(WrongUse, match="not the key itself") as refused:
            model(address, key_env=KEY)
        assert KEY not in str(refused.value)
        monkeypatch.setenv("MY_KEY", f" {KEY}\n")
        model(address, key_env="MY_KEY").close()


def test_identity_is_the_model_and_not_its_address(server: Address) -> None:
    with serving() as other, serving(models=None) as silent:
        made = [model(server), model(other), model(other, max_image_side=64), model(silent)]
        names = [each.fingerprint for each in made]
        assert names[0] == names[1]
        assert len(set(names)) == 3
        assert vars(made[0])["provenance"]["models"]["max_model_len"] == 512
        assert vars(made[3])["provenance"]["models"] == {}
        for each in made:
            each.close()


def test_retry_after() -> None:
    assert retry_after("2.5") == 2.5
    assert retry_after("-1") == retry_after("soon") == retry_after("") == retry_after("nan") == 0.0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("Wed, 21 Oct 2093 07:28:00 GMT") > 1e9
    for odd in ("Wed, 01 Jan 0001 00:00:00 -2300", "Fri, 31 Dec 9999 23:59:59 -2359", "1 Jan", "-inf", "1e400", "٣"):
        assert 0.0 <= wait_s(1, retry_after(odd)) <= 60.5


@given(st.text() | st.floats().map(str))
def test_no_header_makes_a_request_wait_long(header: str) -> None:
    assert 0.0 <= wait_s(1, retry_after(header)) <= 60.5


def test_the_budget_of_a_run() -> None:
    budget = RetryBudget(10.0, 2)
    assert budget.summary == ""
    assert [budget.take(time.monotonic(), 8.0) for _ in range(3)] == [True, True, False]
    assert budget.take(time.monotonic(), 1.0)
    assert "3 further tries took 8.5 s of the run's retry budget of 10 s" in budget.summary


def test_a_spent_budget_ends_the_retries(server: Address) -> None:
    made = model(server, retry_budget=0)
    first, second = respond(made, [question(600, "500 1"), question(601)])
    made.close()
    assert first.failure is not None
    assert "not repeated: the run's retry budget of 0 s is spent; -o retry_budget=SECONDS" in first.failure.message
    assert second.answer == "word 601"
    assert server.stats()["tries"]["600"] == 1


def reply(content: object, finish: object = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("finish", "read"),
    [("STOP", "stop"), ("end_turn", "stop"), ("eos_token", "stop"), ("Stop ", "stop"), ("MAX_TOKENS", "length"),
     ("length", "length"), ("", None), (None, None), ("tool_calls", None), ("whatever", None), (1, None), ({}, None),
     (["stop"], None), (True, None)],
)  # fmt: skip
def test_an_answer_whatever_its_end_is_called(finish: object, read: str | None) -> None:
    response = read_completion(question(1), reply("a red bus", finish))
    assert (response.answer, response.finish) == ("a red bus", read)
    without = reply("a red bus")
    del without["choices"][0]["finish_reason"]
    assert read_completion(question(1), without).answer == "a red bus"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a red bus"}], "a red bus"),
        ([{"type": "text", "text": "a red "}, {"type": "output_text", "text": "bus"}], "a red bus"),
        (["a red ", "bus"], "a red bus"),
        ([{"type": "thinking", "text": "hm"}, {"type": "text", "text": "bus"}], "bus"),
        ([{"type": "reasoning", "reasoning": "hm"}, {"text": "bus"}], "bus"),
        ([{"type": "text", "text": {"value": "bus", "annotations": []}}], "bus"),
        ({"type": "text", "text": "bus"}, "bus"),
        ([{"type": "text", "text": ""}], ""),
    ],
)
def test_a_content_of_parts_is_an_answer(content: object, text: str) -> None:
    assert read_completion(question(1), reply(content)).answer == text


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_that_comes_apart_is_kept_and_no_answer(field: str) -> None:
    read = read_completion(question(1), reply("a red bus", **{field: "A bus? Yes."}))
    assert (read.answer, read.thinking, read.finish) == ("a red bus", "A bus? Yes.", "stop")
    for content in (None, ""):
        cut = read_completion(question(1), reply(content, "length", **{field: "A bus? Or"}))
        assert (cut.answer, cut.thinking, cut.finish) == ("", "A bus? Or", "length")
    with pytest.raises(ServerFailed):
        read_completion(question(1), reply(None, "length", **{field: None}))
    tops = [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": -3.0}]
    ranked = replace(question(1), candidates=("A", "B"))
    answered = reply("B", **{field: "hm"})
    answered["choices"][0]["logprobs"] = {"content": [{"top_logprobs": tops}]}
    assert read_completion(ranked, answered).answer == "B"  # the first token is one of thinking
    answered["choices"][0]["message"] = {"content": "A"}
    assert read_completion(ranked, answered).option_scores == pytest.approx((-0.1, -3.0))


def test_what_is_sent_of_sampling_and_thinking(server: Address) -> None:
    made = model(server)

    def body(**decoding: Any) -> dict[str, Any]:
        prepared: Any = made.prepare(replace(question(1), decoding=Decoding(max_new_tokens=5, **decoding)))
        return dict(prepared.body)

    plain = body()
    assert plain["temperature"] == 0
    assert not plain.keys() & {"top_p", "seed", "chat_template_kwargs"}
    sampled = body(temperature=0.7, top_p=0.9, seed=3)
    assert (sampled["temperature"], sampled["top_p"], sampled["seed"]) == (0.7, 0.9, 3)
    assert body(thinking="off")["chat_template_kwargs"] == {"enable_thinking": False}
    assert (body(thinking="on")["chat_template_kwargs"], body(thinking="on")["max_tokens"]) == (
        {"enable_thinking": True}, 4101,
    )  # fmt: skip
    assert body(thinking="on", thinking_tokens=100)["max_tokens"] == 105
    made.close()


@pytest.mark.parametrize("content", [[], {}, None, 3, True, [None], [3], [[]], [{"type": "thinking", "text": "hm"}]])
def test_a_content_without_text_is_none(content: object) -> None:
    with pytest.raises(ServerFailed, match="has no text"):
        read_completion(question(1), reply(content))


@pytest.mark.parametrize("finish", ["content_filter", "SAFETY", "guardrail_intervened"])
def test_filters_and_refusals(finish: str) -> None:
    with pytest.raises(Refused, match="filter"):
        read_completion(question(1), reply("half an", finish))
    with pytest.raises(Refused, match="I will not"):
        read_completion(question(1), reply([{"type": "refusal", "refusal": "I will not"}]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["stop", "length", "yes", "A", 10**400, -1e308]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_stands_in_an_answer_is_read_or_a_failure(data: st.DataObject) -> None:
    whole: dict[str, Any] = {
        "choices": [{
            "message": {"content": "A", "refusal": None}, "finish_reason": "stop",
            "logprobs": {"content": [{"top_logprobs": [{"token": "A", "logprob": -1.0}]}]},
        }],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1}, "error": None,
    }  # fmt: skip
    inside: Any = whole
    while isinstance(inside, dict | list) and inside and data.draw(st.booleans()):
        outer = inside
        key = data.draw(st.sampled_from(list(inside) if isinstance(inside, dict) else [0]))
        inside = outer[key]
        if not isinstance(inside, dict | list) or data.draw(st.booleans()):
            outer[key] = data.draw(JSON)
            break
    for candidates in ((), ("A", "B")):
        try:
            response = read_completion(question(1, candidates=candidates), whole)
        except RequestFailed:
            continue
        assert response.finish in ("stop", "length", "ranked", None)
        assert encode(response)["id"] == "q1"
        write_json(encode(response)).encode()


def test_no_proxy_is_used_for_this_machine(server: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    served = model(server)
    (response,) = respond(served, [question(500)])
    served.close()
    assert response.answer == "word 500"


def test_its_own_prompts_need_no_ranking_of_texts(served: Model) -> None:
    assert Protocol(summary="").tasks == {}
    assert {kind: phrase.candidates for kind, phrase in served.wording.items()} == {
        "caption": "none", "short_answer": "none", "choice": "none", "yes_no": "yes_no",
    }  # fmt: skip
