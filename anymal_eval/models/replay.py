"""Answers from a file: recorded answers of a system, scored like those of a model."""

import json
import os
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from anymal_eval.checksums import CRC, read_checked_lines
from anymal_eval.codec import read_json, read_json_lines
from anymal_eval.errors import BadData, MissingData, listed
from anymal_eval.models._protocols import PLAIN_WORDING, Model, PlainText, Prepared
from anymal_eval.paths import expanded
from anymal_eval.protocols import Phrase, Wording
from anymal_eval.records import ALL_MEDIA, Failure, MediaKind, Request, Response


@dataclass(frozen=True, kw_only=True)
class Options:
    """What ``-o name=value`` may set.

    Attributes:
        checkpoint: the file (``--model replay:FILE``).
        field: the part of a ScienceQA result file to read.
        subset: ``answered`` leaves out examples without an answer in the file, which are errors otherwise.
        extract: the rule that reads a choice from text; empty for the rule of the file's layout.
    """

    checkpoint: str
    field: Literal["results", "outputs"] = "results"
    subset: Literal["", "answered"] = ""
    extract: str = ""


@dataclass(frozen=True, kw_only=True)
class RecordedAnswer:
    """The answer to one example: a text, or option scores."""

    id: str
    answer: str | None = None
    option_scores: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The contents of a file.

    Attributes:
        answers: in the file's order.
        extract: the layout's rule for reading a choice from text.
        where: the file's name.
    """

    answers: tuple[RecordedAnswer, ...]
    extract: str = ""
    where: str = field(default="")


opens_media = False  # answers without looking


def accepts(options: Options) -> frozenset[MediaKind]:
    """Every kind of medium: none is opened."""
    del options
    return ALL_MEDIA


def load(options: Options) -> Model:
    """Read the whole file.

    Raises:
        MissingData: there is no such file.
        BadData: it is truncated, of no known layout, or has an id twice.
    """
    return _Replay(read(expanded(options.checkpoint), options), options)


def read(file: Path, options: Options) -> Layout:
    """Read a file in any of the known layouts.

    JSON lines with ``id`` and ``answer`` or ``option_scores``; VQA results; VizWiz results; COCO results; ScienceQA's
    ``results``/``outputs``; NExT-QA's ``{id: {"prediction": index}}``; How2QA's ``{id: index}``.
    """
    if not os.path.isfile(file):  # not Path.is_file, which raises where a name is longer than the file system takes
        raise MissingData(f"--model replay:{file}: there is no such file")
    if file.suffix in (".jsonl", ".jsonlines"):
        rows = [(f"{file}: line {number}", row) for number, row in read_json_lines(file)]
        if any(isinstance(row, dict) and isinstance(row.get(CRC), str) for _, row in rows):  # the responses of a run
            checked = read_checked_lines(file, then="their examples have no answer")
            rows = [(f"{file}: line {number}", row) for number, _, row in checked]
    else:
        data = _read_whole(file)
        if isinstance(data, dict) and "id" in data and data.keys() & {"answer", "option_scores"}:
            data = [data]  # JSON lines of one line
        if isinstance(data, dict):
            return _unique(_read_mapping(file, data, options), file)
        if not isinstance(data, list):
            raise BadData(f"{file}: expected a list or an object of answers, found {type(data).__name__}")
        rows = [(f"{file}: row {number}", row) for number, row in enumerate(data, 1)]
    answers = tuple(_read_row(where, row) for where, row in rows)
    return _unique(Layout(answers=answers, extract=_rule(answers)), file)


def _read_whole(file: Path) -> Any:
    # JSON lines may be in a file named .json: its first line is then an object, and more lines follow.
    try:
        return read_json(file, ids_as_keys=True)
    except BadData as error:
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            first, second = lines.readline(), lines.readline()
        try:
            is_lines = isinstance(json.loads(first), dict) and bool(second.strip())
        except (ValueError, RecursionError):
            is_lines = False
        if not is_lines:
            raise error from None
        return [row for _, row in read_json_lines(file)]


def _rule(answers: Sequence[RecordedAnswer]) -> str:
    """The rule for choices in layouts without one of their own: ``index`` if most answers are whole numbers."""
    texts = [item.answer.strip() for item in answers if item.answer is not None and item.answer.strip()]
    whole = sum(text.removeprefix("-").isdecimal() for text in texts)
    return "index" if whole * 2 > len(texts) else ""


def _read_row(where: str, row: object) -> RecordedAnswer:
    if not isinstance(row, dict):
        raise BadData(f"{where}: expected an object, found {type(row).__name__}")
    for id_key, answer_key in LAYOUTS:
        if id_key in row and (answer_key in row or (id_key == "id" and "option_scores" in row)):
            return _answer(where, row[id_key], row.get(answer_key), row.get("option_scores"))
    known = "; ".join(f"{id_key}, {answer_key}" for id_key, answer_key in LAYOUTS)
    raise BadData(f"{where}: keys {', '.join(sorted(map(str, row)))} are no known layout; known are: {known}")


LAYOUTS = (("id", "answer"), ("question_id", "answer"), ("image", "answer"), ("image_id", "caption"))


def _answer(where: str, name: object, answer: object, scores: object = None) -> RecordedAnswer:
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise BadData(f"{where}: the id must be text or a whole number, not {name!r:.80}")
    if scores is not None:
        return RecordedAnswer(id=str(name), option_scores=_scores(where, scores))
    if isinstance(answer, bool) or not isinstance(answer, str | int):
        raise BadData(f"{where}: the answer of {name} must be text or an index, not {answer!r:.80}")
    return RecordedAnswer(id=str(name), answer=str(answer))


def _scores(where: str, scores: object) -> tuple[float, ...]:
    if not isinstance(scores, list) or not scores:
        raise BadData(f"{where}: option_scores must be a list of numbers")
    for score in scores:
        # Python integers can be larger than every float, so that math.isfinite would overflow.
        if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= sys.float_info.max:
            raise BadData(f"{where}: option score {score!r:.80} is not a finite number")
    return tuple(float(score) for score in scores)


def _read_mapping(file: Path, data: Mapping[str, Any], options: Options) -> Layout:
    if "results" in data or "outputs" in data:
        if options.field not in data:
            raise BadData(f"{file}: it has no {options.field!r}; try -o field=results or -o field=outputs")
        data = data[options.field]
        if not isinstance(data, dict):
            raise BadData(f"{file}: {options.field} must be an object of id to answer")
        answers = [_answer(f"{file}: {options.field}", key, value) for key, value in data.items()]
        # LLaVA's rule reads all that the benchmark's own reads, and the bare letters of later models.
        return Layout(answers=tuple(answers), extract=_rule(answers) if options.field == "results" else "llava-2023")
    answers = []
    for key, value in data.items():
        if isinstance(value, dict):
            if "prediction" not in value:
                raise BadData(f"{file}: {key}: expected a key 'prediction'")
            value = value["prediction"]
        answers.append(_answer(f"{file}: {key}", key, value))
    return Layout(answers=tuple(answers), extract=_rule(answers))


def _unique(layout: Layout, file: Path) -> Layout:
    double = [name for name, count in Counter(item.id for item in layout.answers).items() if count > 1]
    if double:
        raise BadData(f"{file}: {len(double)} ids stand in it more than once: {listed(double)}")
    return Layout(answers=layout.answers, extract=layout.extract, where=str(file))


class _Replay:
    def __init__(self, layout: Layout, options: Options) -> None:
        from anymal_eval import fingerprint

        self._answers = {item.id: item for item in layout.answers}
        self._where = layout.where
        self._subset = options.subset
        self.fingerprint = f"replay:{fingerprint.of_file(Path(layout.where))}"
        self.accepts = ALL_MEDIA
        extract = options.extract or layout.extract
        self.wording: Wording = {
            kind: _read_by(phrase, extract if kind == "choice" else "") for kind, phrase in PLAIN_WORDING.items()
        }

    def expect(self, ids: Collection[str]) -> Collection[str]:
        """Refuse a file with ids that are not in the data: it belongs to another benchmark, split or release."""
        self._answers = _by_data_id(self._answers, ids, self._where)
        unknown = [name for name in self._answers if name not in ids]
        if unknown:
            raise BadData(
                f"{self._where}: {len(unknown)} of its {len(self._answers)} ids are not in the data: {listed(unknown)}"
            )

        return self._answers.keys() if self._subset == "answered" else ids

    def prepare(self, request: Request) -> PlainText:
        return PlainText(request)

    def answer(self, batch: Sequence[Prepared]) -> Sequence[Response]:
        return [self._respond(item.request) for item in batch]

    def close(self) -> None:
        pass

    def _respond(self, request: Request) -> Response:
        found = self._answers.get(request.id)
        if found is None:
            failure = Failure(kind="missing", message=f"{self._where} has no answer to {request.id}")
            return Response(id=request.id, failure=failure)
        if found.option_scores is None:
            return Response(id=request.id, answer=found.answer, finish="stop")
        count = len(request.candidates)
        if count and len(found.option_scores) != count:
            message = f"{self._where}: {request.id} has {len(found.option_scores)} option scores for {count} options"
            raise BadData(message)
        return Response(id=request.id, option_scores=found.option_scores, finish="ranked")


def _by_data_id(answers: Mapping[str, RecordedAnswer], ids: Collection[str], where: str) -> dict[str, RecordedAnswer]:
    """Answers by the data's ids: copies of some benchmarks write ``08291`` where others write ``8291``."""
    found: dict[str, RecordedAnswer] = {}
    for name, item in answers.items():
        bare = name.lstrip("0")
        known = bare if name not in ids and name.isdigit() and bare in ids else name
        if known in found:
            raise BadData(f"{where}: {known} stands in it twice, once with leading zeros")
        found[known] = item
    return found


def _read_by(phrase: Phrase, extract: str) -> Phrase:
    # A file does not hold how many tokens its options have, so their scores are compared as they are.
    return replace(phrase, extract=extract, length_normalise=False)
