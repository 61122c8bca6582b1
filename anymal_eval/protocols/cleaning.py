"""The named cleanings of an answer before a metric scores it. The signature names the one that was used."""

import importlib.util
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from anymal_eval.errors import NeedsExtra
from anymal_eval.metrics import normalise_m4c

SPACY_MODEL = "en_core_web_sm"
_NEXT_TURN = re.compile("Question|Answer|Short")


def m4c_upload(text: str) -> str:
    """The TextVQA (m4c) normal form, which LLaVA and OpenFlamingo apply to the VQA answers they upload."""
    return normalise_m4c(text)


def openflamingo_vqa(text: str) -> str:
    """Cut at the start of a next question, then at the first comma followed by a space.

    Source:
        mlfoundations/open_flamingo ``open_flamingo/eval/vqa_metric.py``, ``postprocess_vqa_generation``.

    >>> openflamingo_vqa("red, blueQuestion: what"), openflamingo_vqa("1,000 Short answer: 3")
    ('red', '1,000 ')
    """
    return _NEXT_TURN.split(text, maxsplit=1)[0].split(", ", maxsplit=1)[0]


def openflamingo_caption(text: str) -> str:
    """Cut at the start of a next caption, then remove double quotes.

    Source:
        mlfoundations/open_flamingo ``open_flamingo/eval/evaluate.py``, ``postprocess_captioning_generation``.

    >>> openflamingo_caption('a "big" dog Output: a cat')
    'a big dog '
    """
    return text.split("Output", maxsplit=1)[0].replace('"', "")


def lemmas(text: str) -> str:
    """Replace nouns and verbs by their lemmas and join all tokens by one space, as BLIP-2 does for OK-VQA.

    Source:
        salesforce/LAVIS ``lavis/models/blip2_models/blip2_t5.py``, ``_lemmatize`` (spaCy's ``en_core_web_sm``).

    Raises:
        NeedsExtra: spaCy or its model is not installed.
    """
    why = unavailable("lemmas")
    if why:
        raise NeedsExtra(f"the cleaning 'lemmas' cannot be used: {why}")
    words = (token.lemma_ if token.pos_ in ("NOUN", "VERB") else token.text for token in _language()(text))
    return " ".join(words)


CLEANING: Mapping[str, Callable[[str], str]] = {
    "none": lambda text: text,
    "strip": str.strip,
    "m4c-upload": m4c_upload,
    "openflamingo-vqa": openflamingo_vqa,
    "openflamingo-caption": openflamingo_caption,
    "lemmas": lemmas,
}


def unavailable(name: str) -> str:
    """The reason why a cleaning cannot be used here, and what to install; empty where it can.

    >>> unavailable("strip")
    ''
    """
    if name != "lemmas":
        return ""
    if importlib.util.find_spec("spacy") is None:
        return "spaCy is not installed: pip install 'anymal_eval[lemmas]'"
    if importlib.util.find_spec(SPACY_MODEL) is None:
        return f"spaCy's English model is not installed: python -m spacy download {SPACY_MODEL}"
    return ""


@cache
def _language() -> Any:
    spacy = importlib.import_module("spacy")
    return spacy.load(SPACY_MODEL)
