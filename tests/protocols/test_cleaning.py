"""The named cleanings."""

from types import SimpleNamespace

import pytest

from anymal_eval.errors import NeedsExtra
from anymal_eval.protocols import cleaning
from anymal_eval.protocols.cleaning import CLEANING, openflamingo_caption, openflamingo_vqa


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("red", "red"),
        (" red, green", " red"),
        ("1,000", "1,000"),
        ("redQuestion: why", "red"),
        ("red Short answer: blue", "red "),
        ("yesAnswer", "yes"),
        ("a, bQuestion", "a"),
        ("question", "question"),
    ],
)
def test_openflamingo_answers(text: str, cleaned: str) -> None:
    assert openflamingo_vqa(text) == cleaned


def test_openflamingo_captions() -> None:
    assert openflamingo_caption('a "cat" on a mat.Output:a dog') == "a cat on a mat."
    assert openflamingo_caption("output") == "output"


def test_m4c_upload_is_the_textvqa_form() -> None:
    assert CLEANING["m4c-upload"]("The Dogs.") == "dogs"
    assert CLEANING["m4c-upload"]("Two, please?") == "2 please"


def test_plain_cleanings() -> None:
    assert CLEANING["none"](" a ") == " a "
    assert CLEANING["strip"](" a ") == "a"


@pytest.mark.parametrize(("there", "says"), [((), "pip install"), (("spacy",), "python -m spacy download")])
def test_lemmas_say_what_to_install(there: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "anymal_eval.protocols.cleaning.importlib.util.find_spec", lambda name: object() if name in there else None
    )
    with pytest.raises(NeedsExtra, match=says):
        CLEANING["lemmas"]("racing")


def test_lemmas_change_nouns_and_verbs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def language(text: str) -> list[SimpleNamespace]:
        kinds = {"dogs": ("NOUN", "dog"), "running": ("VERB", "run"), "better": ("ADJ", "good")}
        return [SimpleNamespace(text=word, pos_=kinds[word][0], lemma_=kinds[word][1]) for word in text.split()]

    monkeypatch.setattr(cleaning, "unavailable", lambda name: "")
    monkeypatch.setattr(cleaning, "_language", lambda: language)
    assert CLEANING["lemmas"]("better dogs running") == "better dog run"
