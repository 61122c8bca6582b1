"""How a model is made to judge: one TOML file each, pinned by the hash of all that the judge's answer depends on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anymal_eval import catalog, fingerprint
from anymal_eval.codec import encode, read_toml
from anymal_eval.errors import BadDefinition, MissingData
from anymal_eval.judge.study import Mode

# What the judge's answer is: a side; a score of each side; a level of each scale; a grade from 0 to 1; an option.
VerdictKind = Literal["side", "scores", "levels", "grade", "option"]
MODES: Mapping[VerdictKind, Mode] = {
    "side": "pairwise", "scores": "pairwise", "levels": "rating", "grade": "rating", "option": "rating",
}  # fmt: skip
DEFAULTS: Mapping[Mode, str] = {"pairwise": "pairwise", "rating": "anymal-ratings"}
_COMMON = frozenset({"prompt", "question", "context", "reference", "options", "guideline"})
FIELDS: Mapping[Mode, frozenset[str]] = {
    "pairwise": _COMMON | {"first", "second"},
    "rating": _COMMON | {"answer", "scales"},
}
_FIELD = re.compile(r"\{([a-z]+)\}")
_ABOUT = ("summary", "source", "licence", "notes")  # what no answer depends on


@dataclass(frozen=True, kw_only=True)
class JudgeProtocol:
    """The content of a judge protocol's TOML file.

    Attributes:
        summary: one line, for lists.
        source: where the words were published, with the commit; or that they are ours.
        licence: of the source.
        notes: what differs from the source, and why.
        verdict: what the judge's answer is, and so how it is read.
        system, user: the messages; ``{prompt}``, ``{question}`` (without options), ``{context}``, ``{reference}``,
            ``{options}`` and ``{guideline}`` of the item are replaced, and ``{first}`` and ``{second}``, or
            ``{answer}`` and ``{scales}``.
        media: whether the judge gets the media.
        runs: how often each question is put; the mean counts.
        max_new_tokens, temperature: of the judge's answer.
    """

    name: str
    summary: str
    source: str
    licence: str
    notes: str = ""
    verdict: VerdictKind
    system: str = ""
    user: str
    media: bool = False
    runs: int = 1
    max_new_tokens: int = 1024
    temperature: float = 0.0

    @property
    def mode(self) -> Mode:
        """Of the studies that it judges."""
        return MODES[self.verdict]

    @property
    def prompt_hash(self) -> str:
        """The fingerprint of all that the judge's answer, and its reading, depend on."""
        return fingerprint.of({key: value for key, value in encode(self).items() if key not in _ABOUT})

    def filled(self, values: Mapping[str, str]) -> str:
        """The user's message; what a value holds is not replaced again.

        >>> values = {"prompt": "{first}", "first": "a", "second": "b", "guideline": ""}
        >>> find("pairwise").filled(values).count("{first}")
        1
        """
        return _FIELD.sub(lambda found: values[found[1]], self.user)

    @property
    def fields(self) -> frozenset[str]:
        """What the user's message names."""
        return frozenset(_FIELD.findall(self.user))


def find(named: str) -> JudgeProtocol:
    """A protocol by its name, or by the path of a TOML file.

    Raises:
        NotInCatalog: no file has that name. MissingData: there is no such file. BadDefinition: it is invalid.
    """
    file = Path(named) if named.endswith(".toml") else catalog.judge_protocols().file(named)
    if not file.is_file():
        raise MissingData(f"--judge-protocol {named}: there is no such file")
    found = read_toml(JudgeProtocol, file)
    if found.name != file.stem:
        raise BadDefinition(f"{file}: name must be {file.stem!r}, as the file's")
    unknown = found.fields - FIELDS[found.mode]
    if unknown:
        known = ", ".join(sorted(FIELDS[found.mode]))
        raise BadDefinition(f"{file}: user: {{{sorted(unknown)[0]}}} is nothing; there are {known}")
    needed = {"first", "second"} if found.mode == "pairwise" else {"answer"}
    if not needed <= found.fields:
        raise BadDefinition(
            f"{file}: user: it lacks {', '.join(f'{{{one}}}' for one in sorted(needed - found.fields))}"
        )
    if found.runs != 1 and found.mode == "pairwise":
        raise BadDefinition(f"{file}: runs: a comparison is put once in each order; only ratings have runs")
    if found.runs < 1 or found.max_new_tokens < 1 or not 0 <= found.temperature <= 2:
        raise BadDefinition(f"{file}: runs and max_new_tokens must be at least 1, temperature from 0 to 2")
    return found


def default(mode: Mode) -> JudgeProtocol:
    """The protocol of a study where none is named."""
    return find(DEFAULTS[mode])
