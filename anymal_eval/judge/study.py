"""A study on disk: what is judged, by whom, and by which design."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from anymal_eval.checksums import read_checked_json
from anymal_eval.codec import decode
from anymal_eval.errors import BadData, MissingData
from anymal_eval.judge.design import Design
from anymal_eval.paths import inside

FILE = "study.json"
HUMAN = "human"  # the name of the references as a system
Mode = Literal["pairwise", "rating"]
SHOWN: Mapping[Mode, int] = {"pairwise": 2, "rating": 1}  # answers on a trial


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a rating is about.

    Attributes:
        name: as in the published table.
        question: what the annotator reads.
        levels: the label of each level and its value in [0, 1], from low to high.
    """

    name: str
    question: str
    levels: tuple[tuple[str, float], ...]


# The three scales of AnyMAL's table 3, in our words: the paper's own guideline text was not published.
SCALES = (
    Scale(
        name="response accuracy",
        question="Does the answer do what the prompt wants, and is it true of what is shown?",
        levels=(("no", 0.0), ("partly", 0.5), ("yes", 1.0)),
    ),
    Scale(
        name="object recognition accuracy",
        question="Are the things that the answer names there, and rightly named?",
        levels=(("no", 0.0), ("some", 0.5), ("all", 1.0)),
    ),
    Scale(
        name="integrity",
        question="Is the answer free of what is offensive, harmful or unfair to a person?",
        levels=(("no", 0.0), ("yes", 1.0)),
    ),
)


@dataclass(frozen=True, kw_only=True)
class System:
    """One whose answers are judged: a run, or the references.

    Attributes:
        name: shown in reports alone, and never to an annotator before the study has ended.
        run: the name of its run; empty for the references.
        fingerprint: of its model.
        signatures: of its answers, by task.
    """

    name: str
    run: str = ""
    fingerprint: str = ""
    signatures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Item:
    """What is answered, and the answers in the order of the systems.

    Attributes:
        media: for the page, as the report's tags.
        cluster: its image, clip or video; empty in studies of earlier versions.
        question: of the prompt, without options; this and what follows is for models as judges alone.
        context: further inputs of the example, on lines.
        references: the known answers.
        options, label: of a choice, and the number of the right one.
        choices: the option that each answer was read as, in the order of the systems; None for no option.
    """

    task: str
    id: str
    prompt: str
    media: tuple[Mapping[str, Any], ...]
    answers: tuple[str, ...]
    cluster: str = ""
    question: str = ""
    context: str = ""
    references: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    label: int | None = None
    choices: tuple[int | None, ...] = ()

    @property
    def key(self) -> str:
        """Its name in results."""
        return f"{self.task}/{self.id}"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """An item with a known judgement, shown as the others are; it measures who judges, and is in no result.

    Attributes:
        item: with two answers to compare, or one to rate, of no system.
        choice: ``left`` where the first answer is better, ``right``, ``tie`` or ``both bad``; empty for ratings.
        ratings: scale -> the right level in [0, 1].
    """

    item: Item
    choice: str = ""
    ratings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Study:
    """The content of ``study.json``; ``guideline`` and ``consent`` are shown before the first trial."""

    schema: int = 1
    name: str
    mode: Mode
    systems: tuple[System, ...]
    reference: str | None = None
    items: tuple[Item, ...]
    annotators: tuple[str, ...]
    seed: str
    quota: int | None = None
    repeats: float = 0.05
    scales: tuple[Scale, ...] = SCALES
    guideline: str = ""
    consent: str = ""
    is_demo: bool = False
    calibration: tuple[Calibration, ...] = ()

    @cached_property
    def all_items(self) -> Sequence[Item]:
        """The items, and after them those of the calibration, by the numbers of the design."""
        return [*self.items, *(one.item for one in self.calibration)]

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Whose items are judged."""
        return tuple(dict.fromkeys(item.task for item in self.items))

    @cached_property
    def _clusters(self) -> Mapping[str, str]:
        return {item.key: f"{item.task}/{item.cluster}" if item.cluster else item.key for item in self.items}

    def cluster_of(self, item: str) -> str:
        """The cluster of an item, by its key: items of one are statistically dependent."""
        return self._clusters[item]

    def is_calibration(self, item: int) -> bool:
        """Whether a number of the design is one of the calibration."""
        return item >= len(self.items)

    def pairs_of(self, item: int) -> Sequence[tuple[int, ...]]:
        """What stands together on an item's trials: systems by their numbers; of a calibration item, its answers."""
        if self.is_calibration(item):
            return [tuple(range(len(self.all_items[item].answers)))]
        return self.design.pairs

    @cached_property
    def names(self) -> Sequence[str]:
        """Of the systems, in their order."""
        return [system.name for system in self.systems]

    @cached_property
    def design(self) -> Design:
        """What the trials follow from."""
        return Design(
            seed=self.seed,
            mode=self.mode,
            items=len(self.items),
            systems=len(self.systems),
            reference=None if self.reference is None else self.names.index(self.reference),
            annotators=self.annotators,
            quota=self.quota,
            repeats=self.repeats,
            calibration=len(self.calibration),
        )


def read(folder: Path) -> Study:
    """The study in a folder.

    Raises:
        MissingData: there is none. BadData: it was changed, or names files outside its folder.
    """
    file = folder / FILE
    if not file.is_file():
        raise MissingData(
            f"{folder} holds no study (there is no {FILE}): anymal-eval judge RUN RUN --out {folder} makes one"
        )
    data, matches = read_checked_json(file)
    if matches is not True:
        raise BadData(f"{file}: its checksum differs: votes are on what it held")
    found = decode(Study, data, str(file))
    if any(len(item.answers) != len(found.systems) for item in found.items):
        raise BadData(f"{file}: an item has not one answer of each system")
    if any(len(one.item.answers) != SHOWN[found.mode] for one in found.calibration):
        raise BadData(f"{file}: a calibration item has not {SHOWN[found.mode]} answers")
    for item in found.all_items:
        for tag in item.media:
            for name in ("file", "thumb"):
                # It is served, and sent to judges: a study that someone else made must not name other files.
                inside(folder, *str(tag.get(name, FILE)).split("/"))
    return found
