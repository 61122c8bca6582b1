"""How a response is read: unwrapped, cleaned, and a choice taken out of it."""

import math
from collections.abc import Callable

import pytest

from anymal_eval import protocols
from anymal_eval.errors import BadDefinition
from anymal_eval.protocols import Phrase, Protocol, Wording
from anymal_eval.protocols.extraction import NAMES
from anymal_eval.protocols.reading import Reading, cleaning_warning, read_response, reading_for, unwrap_json_caption
from anymal_eval.records import Example, Failure, Response
from anymal_eval.task import Task

CHOICE = Example(id="1", cluster="1", kind="choice", options=("a cat", "a dog", "a bird"))
MEME = Example(id="1", cluster="1", kind="yes_no", options=("no", "yes"))
CAPTION = Example(id="1", cluster="1", kind="caption")


def says(text: str) -> Response:
    return Response(id="1", answer=text)


def scores(*values: float, tokens: tuple[int, ...] | None = None) -> Response:
    return Response(id="1", option_scores=values, option_tokens=tokens, finish="ranked")


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ('{"caption": "A man."}', "A man."),
        ('Sure ...\n{"caption": "A man."} \n Specific: {"caption": "B"}', "A man."),
        ('{"caption": "A man.}', "A man."),
        ('{"text": "no"} {"caption": "yes"}', "yes"),
        ('{"caption": 3} {"caption": "yes"}', "yes"),
        ("A man {sits}.", "A man {sits}."),
        ('{"caption": "cut off in the midd', '{"caption": "cut off in the midd'),
        ("", ""),
        ('{"caption": "half \\ud83d"}', "half ?"),
        ('{"a":' * 3000, '{"a":' * 3000),
    ],
)
def test_json_captions_are_unwrapped(text: str, caption: str) -> None:
    assert unwrap_json_caption(text) == caption
    answer = read_response(says(text), CAPTION, Reading(unwrap="json-caption"))
    assert (answer.state, answer.text) == ("ok" if caption else "empty", caption)


def test_a_failure_stays_an_error_and_nothing_is_empty() -> None:
    failed = Response(id="1", failure=Failure(kind="media", message="a.jpg: truncated"))
    assert read_response(failed, CAPTION, Reading()).state == "error"
    assert read_response(says("  \n"), CAPTION, Reading()).state == "empty"


@pytest.mark.parametrize(
    ("rule", "text", "choice"),
    [
        ("letter", "(B)", 1),
        ("letter", "The answer is B.", None),
        ("index", "2", 2),
        ("sqa-2022", "The answer is B. BECAUSE", 1),
        ("llava-2023", "B. a dog", 1),
        ("text", "A dog.", 1),
    ],
)
def test_a_choice_is_taken_out_by_the_named_rule(rule: str, text: str, choice: int | None) -> None:
    answer = read_response(says(text), CHOICE, Reading(extract=rule))
    assert answer.choice == choice
    assert answer.state == ("unparsable" if choice is None else "ok")


def test_every_named_rule_reads() -> None:
    for rule in NAMES:
        assert read_response(says("nothing of the kind"), CHOICE, Reading(extract=rule)).state == "unparsable"


def test_unknown_rules_are_refused_before_any_request() -> None:
    with pytest.raises(BadDefinition, match="cleaning named 'soap'"):
        Reading(clean="soap")
    with pytest.raises(BadDefinition, match="extraction named 'guess'"):
        Reading(extract="guess")


@pytest.mark.parametrize(
    ("text", "choice"), [("yes", 1), (" No. ", 0), ("Yes", 1), ("maybe", None), ("yes, it is", None)]
)
def test_yes_and_no_as_words(text: str, choice: int | None) -> None:
    answer = read_response(says(text), MEME, Reading())
    assert (answer.choice, answer.p_yes) == (choice, None)


def test_p_yes_is_the_softmax_of_the_two_scores() -> None:
    # exp(-1) / (exp(-1) + exp(-3)) = 1 / (1 + exp(-2))
    answer = read_response(scores(-3.0, -1.0), MEME, Reading())
    assert answer.choice == 1
    assert answer.p_yes == pytest.approx(0.8807970779778823, abs=1e-15)
    assert read_response(scores(-1.0, -1.0), MEME, Reading()).p_yes == 0.5
    assert read_response(scores(-1.0, -1.0), MEME, Reading()).choice == 0
    assert read_response(scores(-1.0, -5000.0), MEME, Reading()).p_yes == pytest.approx(0.0, abs=1e-300)


def test_scores_by_token_where_the_reading_says_so() -> None:
    # By sums no wins (-2 over -3); by token yes does (-1 over -2): 1 / (1 + exp(-1))
    ranked = scores(-2.0, -3.0, tokens=(1, 3))
    assert read_response(ranked, MEME, Reading()).choice == 0
    answer = read_response(ranked, MEME, Reading(length_normalise=True))
    assert answer.choice == 1
    assert answer.p_yes == pytest.approx(0.7310585786300049, abs=1e-15)


def test_true_and_false_count_with_yes_and_no() -> None:
    # yes .35 and true .15 make .5, though "false" is the likeliest word
    ranked = scores(*(math.log(p) for p in (0.1, 0.35, 0.4, 0.15)))
    answer = read_response(ranked, MEME, Reading())
    assert answer.p_yes == pytest.approx(0.5, abs=1e-12)
    tilted = scores(*(math.log(p) for p in (0.1, 0.3, 0.3, 0.3)))
    assert read_response(tilted, MEME, Reading()).p_yes == pytest.approx(0.6, abs=1e-12)


def test_options_are_ranked_and_equal_ones_give_the_first() -> None:
    assert read_response(scores(-3.0, -1.0, -2.0), CHOICE, Reading()).choice == 1
    assert read_response(scores(-1.0, -1.0, -2.0), CHOICE, Reading()).choice == 0
    normalised = read_response(scores(-3.0, -2.0, -4.0, tokens=(3, 1, 8)), CHOICE, Reading(length_normalise=True))
    assert (normalised.choice, normalised.text) == (2, "a bird")


def test_scores_that_cannot_be_are_errors() -> None:
    assert read_response(scores(-1.0, -2.0), CHOICE, Reading()).state == "error"
    assert read_response(scores(-1.0, float("nan"), -2.0), CHOICE, Reading()).state == "error"
    assert read_response(scores(-1.0, -2.0, -3.0), MEME, Reading()).state == "error"


def test_entry_before_protocol_before_task(task: Callable[[str], Task]) -> None:
    own: Wording = {"choice": Phrase(user="x", clean="strip"), "caption": Phrase(user="x")}
    plain = Protocol(summary="x")
    assert reading_for(task("star"), own, plain) == Reading(clean="strip", extract="letter")
    rules = Protocol(summary="x", clean="m4c-upload", extract="index")
    assert reading_for(task("coco"), own, rules) == Reading(clean="m4c-upload", extract="index")
    entry = Protocol(summary="x", extract="index", tasks={"star": Phrase(user="x", extract="text")})
    assert reading_for(task("star"), own, entry).extract == "text"


def test_without_spacy_the_signature_says_none(task: Callable[[str], Task], monkeypatch: pytest.MonkeyPatch) -> None:
    blip2 = protocols.get("blip2-2023")
    monkeypatch.setattr("anymal_eval.protocols.cleaning.importlib.util.find_spec", lambda name: None)
    assert reading_for(task("okvqa"), {}, blip2).clean == "none"
    assert "okvqa" in cleaning_warning(task("okvqa"), {}, blip2)
    assert "anymal_eval[lemmas]" in cleaning_warning(task("okvqa"), {}, blip2)
    assert cleaning_warning(task("vqav2"), {}, blip2) == ""
    monkeypatch.setattr("anymal_eval.protocols.cleaning.importlib.util.find_spec", lambda name: object())
    assert reading_for(task("okvqa"), {}, blip2).clean == "lemmas"
    assert cleaning_warning(task("okvqa"), {}, blip2) == ""
