"""How words, an example and its media become a request."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from anymal_eval import protocols
from anymal_eval.errors import BadDefinition, NotInCatalog
from anymal_eval.protocols import Phrase, Protocol
from anymal_eval.protocols.prompting import build_request, candidates, phrase_for, render_options
from anymal_eval.records import Example, Media
from anymal_eval.task import Task

PICTURE = Media(kind="image", uri="a.jpg")
SOUND = Media(kind="audio", uri="a.wav")
Asks = Callable[..., tuple[str | Media, ...]]


@pytest.fixture
def asks(task: Callable[[str], Task], example: Callable[[str], Example]) -> Asks:
    """The parts of the user's message for one example of vqav2."""

    def ask(phrase: Phrase, **changes: object) -> tuple[str | Media, ...]:
        item = replace(example("vqav2"), **{"media": (PICTURE,), **changes})  # type: ignore[arg-type]
        request = build_request(item, task("vqav2"), {"short_answer": phrase}, Protocol(summary="none"))
        return request.messages[-1].parts

    return ask


def test_media_stand_where_the_words_say_or_first(asks: Asks) -> None:
    assert asks(Phrase(user="{question}"), question="why") == (PICTURE, "why")
    assert asks(Phrase(user="Look: {media}. {question}"), question="why") == ("Look: ", PICTURE, ". why")
    assert asks(Phrase(user="{media}{media}x")) == (PICTURE, PICTURE, "x")
    assert asks(Phrase(user="{media}x"), media=(PICTURE, SOUND)) == (PICTURE, SOUND, "x")
    assert asks(Phrase(system="Here: {media}", user="{question}"), question="why") == ("why",)


def test_what_an_example_says_is_never_read_as_a_placeholder(asks: Asks) -> None:
    phrase = Phrase(user="{media}{question} {ocr}")
    parts = asks(phrase, question="{media} {ocr}", context={"ocr": "{question}"})
    assert parts == (PICTURE, "{media} {ocr} {question}")


def test_lines_of_what_is_absent_are_left_out(asks: Asks) -> None:
    phrase = Phrase(user="It says: {ocr}\n{question}\n{instruction}\nHint {hint} and {ocr}\nReply.")
    assert asks(phrase, question="why") == (PICTURE, "why\nHint  and \nReply.")
    assert asks(phrase, question="", context={"ocr": "x"}) == (PICTURE, "It says: x\n\nHint  and x\nReply.")
    # The media of such a line would be lost with it.
    assert asks(Phrase(user="{media} says {ocr}\nReply.")) == (PICTURE, " says \nReply.")


def test_an_unknown_placeholder_is_refused_and_named(asks: Asks) -> None:
    with pytest.raises(BadDefinition, match=r"vqav2 names \{caption\}"):
        asks(Phrase(user="{caption}"))


def test_no_words_for_a_kind_is_refused(task: Callable[[str], Task]) -> None:
    with pytest.raises(BadDefinition, match="short_answer"):
        phrase_for(task("vqav2"), {}, Protocol(summary="none"))


def test_the_protocol_comes_before_the_model(task: Callable[[str], Task]) -> None:
    own, paper = Phrase(user="own"), Phrase(user="paper")
    protocol = Protocol(summary="x", tasks={"vqav2": paper})
    assert phrase_for(task("vqav2"), {"short_answer": own}, protocol) is paper
    assert phrase_for(task("okvqa"), {"short_answer": own}, protocol) is own


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("lines", "A. red\nB. blue."),
        ("inline", "(A) red (B) blue."),
        ("lower", "(a) red (b) blue."),
        ("named", "Option A: red. Option B: blue."),
        ("text", "red, blue."),
    ],
)
def test_option_styles(style: protocols.OptionStyle, text: str) -> None:
    assert render_options(("red", "blue."), Phrase(user="x", options=style)) == text


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", ()),
        ("options", ("a cup.", "a book.")),
        ("letters", ("A", "B")),
        ("yes_no", ("no", "yes")),
        ("yes_no_true_false", ("no", "yes", "false", "true")),
    ],
)
def test_candidates(kind: protocols.Candidates, expected: tuple[str, ...], example: Callable[[str], Example]) -> None:
    assert candidates(example("star"), Phrase(user="x", candidates=kind)) == expected


@pytest.mark.parametrize(
    ("cleaning", "question", "made"),
    [
        ("none", 'Is "A.B" (c)?  ', 'Is "A.B" (c)?  '),
        ("blip", 'Is "A.B" (c)?  ', "is ab c?"),
        ("blip-caption", 'Is "A.B"  (c)?', "is a b c ?"),
        ("blip", " ".join(["w"] * 60), " ".join(["w"] * 50)),
        ("blip-caption", " ".join(["w"] * 60), " ".join(["w"] * 50)),
    ],
)
def test_question_clean_up(asks: Asks, cleaning: str, question: str, made: str) -> None:
    phrase = Phrase(user="{question}", question=cleaning)  # type: ignore[arg-type]
    assert asks(phrase, question=question) == (PICTURE, made)


def test_a_protocol_file_is_read_strictly(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('summary = "x"\n[tasks.vqav2]\nuser = "{question}"\nbeams = 3\n', encoding="utf-8")
    with pytest.raises(BadDefinition, match="beams"):
        protocols.get("mine", [tmp_path])
    with pytest.raises(NotInCatalog, match="anymal-2023"):
        protocols.get("anymal-2024")
