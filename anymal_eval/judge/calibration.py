"""Items with a known judgement, from the user's JSON lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from anymal_eval.codec import decode, read_json_lines
from anymal_eval.errors import BadData, MissingData
from anymal_eval.judge.study import SHOWN, Calibration, Item, Mode, Scale
from anymal_eval.records import Media, MediaKind
from anymal_eval.report.gallery.media_files import key

TASK = "calibration"
CHOICES = {"first": "left", "second": "right", "tie": "tie", "both bad": "both bad"}


@dataclass(frozen=True, kw_only=True)
class Known:
    """One line: a prompt, at most one medium, the answers, and the judgement that is right.

    Attributes:
        image, audio, video, imu: a file, relative to that of the lines.
        answers: two to compare, or one to rate.
        choice: of a comparison.
        ratings: scale -> the label of the right level; scales that are left out measure nothing.
    """

    prompt: str
    image: str = ""
    audio: str = ""
    video: str = ""
    imu: str = ""
    answers: tuple[str, ...]
    choice: Literal["", "first", "second", "tie", "both bad"] = ""
    ratings: Mapping[str, str] = field(default_factory=dict)

    def media(self, folder: Path) -> list[Media]:
        """The medium, if there is one."""
        named: list[tuple[MediaKind, str]] = [(kind, getattr(self, kind)) for kind in get_args(MediaKind)]
        return [Media(kind=kind, uri=str(folder / file)) for kind, file in named if file]


def read(file: Path, mode: Mode, scales: Sequence[Scale]) -> list[Known]:
    """The lines of a file, for studies of a mode.

    Raises:
        BadData: a line has no known judgement of that mode, or more than one medium; the message names it.
        MissingData: a medium is not there, or there is no line.
    """
    found = []
    for number, row in read_json_lines(file):
        where = f"{file}: line {number}"
        known = decode(Known, row, where)
        _check(known, where, mode, {scale.name: dict(scale.levels) for scale in scales})
        media = known.media(file.parent)
        if len(media) > 1:
            raise BadData(f"{where}: it names {len(media)} media; one is shown")
        for one in media:
            if not Path(one.uri).is_file():
                raise MissingData(f"{where}: there is no {one.uri}")
        found.append(known)
    if not found:
        raise MissingData(f"{file} holds no line")
    return found


def calibration(
    known: Sequence[Known], folder: Path, scales: Sequence[Scale], tags: Mapping[Any, Any]
) -> list[Calibration]:
    """The lines as items of a study.

    Args:
        known: from ``read``.
        folder: of the file.
        scales: of the study.
        tags: by ``media_files.key``, of the media that were written.
    """
    levels = {scale.name: dict(scale.levels) for scale in scales}
    return [
        Calibration(
            item=Item(
                task=TASK,
                id=str(number),
                prompt=one.prompt,
                media=tuple(tags[key(medium)] for medium in one.media(folder)),
                answers=tuple(answer.strip() for answer in one.answers),
            ),
            choice=CHOICES.get(one.choice, ""),
            ratings={scale: levels[scale][label] for scale, label in one.ratings.items()},
        )
        for number, one in enumerate(known)
    ]


def _check(known: Known, where: str, mode: Mode, levels: Mapping[str, Mapping[str, float]]) -> None:
    if len(known.answers) != SHOWN[mode]:
        raise BadData(f"{where}: answers: --mode {mode} shows {SHOWN[mode]}, and there are {len(known.answers)}")
    if mode == "pairwise" and (not known.choice or known.ratings):
        raise BadData(f"{where}: choice: it must be {', '.join(CHOICES)}, without ratings")
    if mode == "rating" and (not known.ratings or known.choice):
        raise BadData(f"{where}: ratings: a level of {' or '.join(levels)} is needed, without choice")
    for scale, label in known.ratings.items():
        if label not in levels.get(scale, {}):
            offered = "; ".join(f"{name}: {', '.join(each)}" for name, each in levels.items())
            raise BadData(f"{where}: ratings: there is no {scale!r}: {label!r}; there are {offered}")
