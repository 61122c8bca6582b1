"""What a model is given to judge: each pair in both orders, each answer as often as the protocol says."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from anymal_eval import fingerprint
from anymal_eval.judge.judge_protocol import JudgeProtocol
from anymal_eval.judge.study import HUMAN, Item, Study
from anymal_eval.judge.verdicts import read_grade, read_levels, read_option, read_scores, read_side
from anymal_eval.records import Decoding, Media, MediaKind, Message, Request

Verdict = str | tuple[float, float] | dict[str, float] | float | int


@dataclass(frozen=True, kw_only=True)
class Question:
    """One thing that the judge answers.

    Attributes:
        item: the number among the study's items, calibration items after the others.
        shown: the answers, in their order.
        run: of the protocol's runs.
        rotation: by how many places the options are turned.
    """

    item: int
    shown: tuple[int, ...]
    run: int = 0
    rotation: int = 0

    @property
    def id(self) -> str:
        """The same in every process."""
        return f"{self.item}:{'-'.join(map(str, self.shown))}:{self.run}:{self.rotation}"


def questions(study: Study, protocol: JudgeProtocol) -> list[Question]:
    """All questions of a study, in the order of its items."""
    made = []
    for number, item in enumerate(study.all_items):
        if not is_judged(study, protocol, number):
            continue
        for systems in study.pairs_of(number):
            orders = [systems, systems[::-1]] if protocol.mode == "pairwise" else [systems]
            rotations = len(item.options) if protocol.verdict == "option" else 1
            made += [
                Question(item=number, shown=shown, run=run, rotation=rotation)
                for shown, run, rotation in product(orders, range(protocol.runs), range(rotations))
            ]
    return made


def is_judged(study: Study, protocol: JudgeProtocol, item: int) -> bool:
    """Whether a protocol is for an item: a calibration item has no references and no options."""
    by_references = protocol.verdict in ("grade", "option") or bool(protocol.fields & {"reference", "context"})
    return not (study.is_calibration(item) and by_references)


def request(study: Study, folder: Path, protocol: JudgeProtocol, question: Question) -> Request:
    """The request of a question; media are files of the study's folder."""
    item = study.all_items[question.item]
    answers, references = [item.answers[system] for system in question.shown], _references(study, item)
    values = {
        "prompt": item.prompt,
        "question": item.question or item.prompt,
        "context": item.context or "\n".join(references),
        "reference": (" <OR> " if protocol.verdict == "grade" else "\n").join(references),
        "options": " ".join(f"{chr(ord('A') + at)}. {item.options[at]}" for at in _turned(item, question.rotation)),
        **_texts(study),
        **dict(zip(("first", "second") if protocol.mode == "pairwise" else ("answer",), answers, strict=True)),
    }
    media = _media(item, folder) if protocol.media else ()
    system = (Message(role="system", parts=(protocol.system,)),) if protocol.system else ()
    return Request(
        id=question.id,
        messages=(*system, Message(role="user", parts=(*media, protocol.filled(values)))),
        decoding=Decoding(max_new_tokens=protocol.max_new_tokens, temperature=protocol.temperature, seed=question.run),
    )


def read(study: Study, protocol: JudgeProtocol, question: Question, text: str) -> Verdict | None:
    """What an answer of the judge says; None where it cannot be read."""
    match protocol.verdict:
        case "side":
            return read_side(text)
        case "scores":
            return read_scores(text)
        case "levels":
            levels = read_levels(text, study.scales)
            return None if levels is None else dict(levels)
        case "grade":
            return read_grade(text)
        case "option":
            # Options keep their letters, whatever their order.
            return read_option(text, len(study.all_items[question.item].options))


def kinds(study: Study, protocol: JudgeProtocol) -> Sequence[MediaKind]:
    """The kinds of media that the judge gets."""
    found = {tag["kind"] for item in study.all_items for tag in item.media} if protocol.media else set()
    return sorted(found)


def study_texts(study: Study, protocol: JudgeProtocol) -> str:
    """The fingerprint of the study's own texts in the prompts; empty where these hold none."""
    used = {name: text for name, text in _texts(study).items() if name in protocol.fields}
    return fingerprint.of(used) if used else ""


def _texts(study: Study) -> dict[str, str]:
    scales = "\n".join(
        f"{scale.name}: {scale.question} Levels: {', '.join(label for label, _ in scale.levels)}."
        for scale in study.scales
    )
    return {"guideline": study.guideline, "scales": scales}


def lacking(study: Study, protocol: JudgeProtocol) -> str:
    """Why a study cannot be judged by a protocol; empty where it can."""
    if protocol.mode != study.mode:
        return f"{protocol.name} judges studies of --mode {protocol.mode}, and this one is {study.mode}"
    items = study.items
    if protocol.verdict == "option" and not all(item.options and item.label is not None for item in items):
        return f"{protocol.name} needs items with options and a known right one"
    if "reference" in protocol.fields and not all(_references(study, item) for item in items):
        return f"{protocol.name} needs reference answers that are not judged themselves, and an item has none"
    if "context" in protocol.fields and not all(item.context or _references(study, item) for item in items):
        return f"{protocol.name} needs a text on what is shown: an item has neither context nor further references"
    return ""


def _references(study: Study, item: Item) -> list[str]:
    """The reference answers without the one that is judged as a system: it would be compared with itself."""
    if HUMAN not in study.names or not item.references:
        return list(item.references)
    judged = item.answers[study.names.index(HUMAN)]
    return [text for text in item.references if text.strip() != judged]


def _turned(item: Item, places: int) -> list[int]:
    order = list(range(len(item.options)))
    return order[places:] + order[:places]


def _media(item: Item, folder: Path) -> tuple[Media, ...]:
    made = []
    for tag in item.media:
        # A clip that was drawn again holds its window alone; another one is the whole file.
        is_part = tag["kind"] == "video" and tag.get("window") and not tag.get("whole")
        start, end = tag["window"] if is_part else (None, None)
        made.append(Media(kind=tag["kind"], uri=str(folder / tag.get("file", "")), start_s=start, end_s=end))
    return tuple(made)
