"""Captions by their parse: the complexity and the actions of the CAT filter (Radenovic et al. 2023, arXiv:2301.02280).

Complexity is the largest number of relations of one object. An object is a noun; its relations are its attributes
(adjectives, numbers, participles), the verbs of which it is subject or object, and the prepositions that join it to
another noun: "a black cat chases a small brown bird" has complexity 3, of the bird. A caption must have complexity 1 at
least, and one action: a verb that is not an attribute.
"""

import hashlib
import importlib.metadata
from dataclasses import dataclass
from typing import Any

from anymal_eval import fingerprint
from anymal_eval.errors import NeedsExtra, WrongUse

PIPELINE = "en_core_web_sm"
LEAST = 1
NOUNS = ("NOUN", "PROPN", "PRON")
ATTRIBUTES = ("amod", "nummod", "acomp", "acl")
ARGUMENTS = ("nsubj", "nsubjpass", "nsubj:pass", "dobj", "obj", "iobj", "dative", "agent", "obl")
PREPOSED = ("pobj", "pcomp")
MOST_CHARACTERS = 10_000  # that are parsed; spaCy refuses a million, and takes 1 GB for a tenth of that
_SENTENCE = "a dog runs"


@dataclass(frozen=True, kw_only=True)
class Parse:
    """What the filter needs of a caption: its complexity, and its actions by their words."""

    complexity: int
    actions: tuple[str, ...]


class CaptionParser:
    """A named spaCy pipeline with a tagger and a dependency parser.

    Attributes:
        description: the pipeline's name, version and :func:`_digest`, for the record: a name and a version are free
            to choose, and every pipeline that is trained anew starts with the same ones.
    """

    def __init__(self, pipeline: str = PIPELINE) -> None:
        """``pipeline``: an installed package, or the folder of one.

        Raises:
            NeedsExtra: spaCy is not installed.
            WrongUse: there is no such pipeline, or it does not parse.
        """
        try:
            import spacy
            from spacy.language import Language
        except ImportError:
            raise NeedsExtra("--cat needs spaCy: pip install 'anymal_eval[clean]'") from None
        try:
            self._nlp: Any = spacy.load(pipeline)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:  # packages load anyhow
            why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).rstrip(".")
            raise WrongUse(
                f"--spacy {pipeline}: {why}; install one (python -m spacy download {PIPELINE}), or give its folder"
            ) from None
        doc = self._nlp(_SENTENCE) if isinstance(self._nlp, Language) else None
        if doc is None or not (doc.has_annotation("DEP") and all(token.pos_ for token in doc)):
            raise WrongUse(f"--spacy {pipeline}: it has no parser and tagger; they find relations and actions")
        meta = self._nlp.meta
        self.description = (
            f"{meta['lang']}_{meta['name']} {meta['version']} ({_digest(self._nlp)}), "
            f"spaCy {importlib.metadata.version('spacy')}"
        )

    def __call__(self, caption: str) -> Parse:
        """Parse one caption, of which ``MOST_CHARACTERS`` count."""
        doc = self._nlp(caption[:MOST_CHARACTERS])
        counts = [len(_relations(token)) for token in doc if token.pos_ in NOUNS]
        actions = tuple(token.text for token in doc if token.pos_ == "VERB" and token.dep_ != "amod")
        return Parse(complexity=max(counts, default=0), actions=actions)


def _digest(nlp: Any) -> str:
    """Of the names and contents of a pipeline's files, wherever they are; of its content where it has none."""
    folder = nlp.path
    if folder is None or not folder.is_dir():
        return fingerprint.of(hashlib.sha256(nlp.to_bytes()).hexdigest())
    files = sorted(file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return fingerprint.of([[file.relative_to(folder).as_posix(), fingerprint.of_file(file)] for file in files])


def _relations(noun: Any) -> set[int]:
    """The tokens by which a noun is related: attributes, verbs, and prepositions."""
    found = {child.i for child in noun.children if child.dep_ in ATTRIBUTES}
    found |= {child.i for child in noun.children if child.dep_ in ("prep", "nmod")}
    if noun.dep_ in ARGUMENTS or noun.dep_ == "conj":
        verb = noun.head if noun.dep_ != "conj" else noun.head.head
        if verb.pos_ in ("VERB", "AUX"):
            found.add(verb.i)
            found |= {child.i for child in verb.children if child.dep_ == "acomp"}  # the cat is black
    if noun.dep_ in PREPOSED:
        found.add(noun.head.i)
    return found
