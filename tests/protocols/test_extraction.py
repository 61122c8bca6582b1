"""Rules that read a choice from a chat model's text: what they read, and that nothing is guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anymal_eval import protocols
from anymal_eval.errors import WrongUse
from anymal_eval.protocols.extraction import NAMES, READ_YES_NO, extract, yes_or_no
from anymal_eval.protocols.reading import read_response, reading_for
from anymal_eval.records import Example, Response
from anymal_eval.task import Task
from tests.protocols.conftest import task_of

OPTIONS = ("a cat", "a dog", "A bird.", "B or C")


@pytest.mark.parametrize("text", ["(B) a dog", "B. A dog.", "b) a dog", "B: a dog", "B", "(b)", "B.", " B\n"])
@pytest.mark.parametrize("rule", ["letter-text", "stated-letter", "bold-letter", "chat"])
def test_a_letter_before_its_own_option(rule: str, text: str) -> None:
    assert extract(rule, text, OPTIONS) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Answer: B", "answer: (b)", "The answer is B", "The answer is B.", "The correct answer is: B",
        "Final answer: B",
        "It barks, so the answer is (B).", "The best option is B", "Answer: B. a dog", "Answer:\nB",
        "The answer is B.\nAnswer: B",
    ],
)  # fmt: skip
@pytest.mark.parametrize("rule", ["stated-letter", "chat"])
def test_a_letter_that_is_stated(rule: str, text: str) -> None:
    assert extract(rule, text, OPTIONS) == 1


@pytest.mark.parametrize(
    "text", ["**B**", "**B.**", "**(B)** a dog", "*B*", "`B`", r"$\boxed{B}$", r"\boxed{\text{B}}"]
)
@pytest.mark.parametrize("rule", ["bold-letter", "chat"])
def test_a_letter_in_markdown(rule: str, text: str) -> None:
    assert extract(rule, text, OPTIONS) == 1


@pytest.mark.parametrize(
    "text", ["The answer is **B**.", "**Answer:** B", "**Answer: B**", "**The answer is (B) a dog.**"]
)
def test_a_stated_letter_in_markdown(text: str) -> None:
    assert extract("chat", text, OPTIONS) == 1
    assert extract("letter", text, OPTIONS) is None


@pytest.mark.parametrize(
    "text",
    [
        "A or B", "A, B", "(A) or (B)", "**A** or **B**", "Answer: A or B", "Answer: A/B", "The answer is A and B",
        "The answer is A. Answer: B", "Answer: A\nAnswer: B", "(B) a cat", "B. a cat", "Answer: B. a cat",
        "The answer is not B", "Answer: A dog", "The answer is a dog", "a dog", "E", "(E) a dog", "Answer: E",
        "I cannot tell", "", "B a dog", "Is the answer B or A?", "Answer: Between A and B", "(A)(B)", "A B",
    ],
)  # fmt: skip
@pytest.mark.parametrize("rule", ["letter", "letter-text", "stated-letter", "bold-letter", "chat"])
def test_what_names_no_one_option_is_not_read(rule: str, text: str) -> None:
    assert extract(rule, text, OPTIONS) is None


PARTS = ["A", "B", "C", " or ", " ", "Answer: ", "The answer is ", "**", "(", ")", ".", "\n", "a dog", "a cat", "not "]


@given(text=st.lists(st.sampled_from(PARTS), max_size=8).map("".join))
def test_two_letters_are_never_read_as_one(text: str) -> None:
    letters = {letter for letter in "ABC" if letter in text.replace("Answer", "").replace("The answer", "")}
    for rule in NAMES:
        chosen = extract(rule, text, OPTIONS)
        if chosen is not None and rule in ("letter", "letter-text", "bold-letter"):
            assert len(letters) <= 1
        if chosen is not None and rule in ("stated-letter", "chat") and len(letters) > 1:
            # Another letter may stand in a reason; it may not be stated.
            assert f"answer is {'ABC'[1 - chosen]}." not in text or chosen == 2


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Answer: Yes", "yes"),
        ("**No**", "no"),
        ("The answer is no.", "no"),
        ("**Answer:** yes.", "yes"),
        ("Yes.", "yes"),
    ],
)
def test_yes_and_no_in_the_same_forms(text: str, word: str) -> None:
    assert yes_or_no("chat", text) == word
    assert yes_or_no("chat", f"{text} or {'no' if word == 'yes' else 'yes'}") not in ("yes", "no")
    assert {"letter", "letter-text"}.isdisjoint(READ_YES_NO)


def test_the_users_rule_goes_first_and_is_checked() -> None:
    task: Task = task_of("scienceqa")
    protocol = protocols.with_extract(protocols.get("plain"), "chat")
    example = Example(id="1", cluster="1", kind="choice", options=OPTIONS)
    reading = reading_for(task, {"choice": protocols.Phrase(user="x", extract="letter")}, protocol)
    assert reading.extract == "chat"
    assert read_response(Response(id="1", answer="The answer is **B**."), example, reading).choice == 1
    assert read_response(Response(id="1", answer="A or B"), example, reading).state == "unparsable"
    with pytest.raises(WrongUse, match=r"^--extract leter: there is no such rule; there are index, letter, "):
        protocols.with_extract(protocol, "leter")
