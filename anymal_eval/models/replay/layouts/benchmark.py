"""The project's own lines and the benchmarks' submission files, whose ids are those of the data.

JSON lines (or a list) with ``id`` and ``answer`` or ``option_scores``; VQA results; VizWiz results; COCO results;
ScienceQA's ``results``/``outputs``; NExT-QA's ``{id: {"prediction": index}}``; How2QA's ``{id: index}``.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from anymal_eval.errors import BadData
from anymal_eval.models.replay.records import Content, Layout, Options, RecordedAnswer

LAYOUTS = (("id", "answer"), ("question_id", "answer"), ("image", "answer"), ("image_id", "caption"))


def recognises(content: Content) -> bool:
    """Whether a row has one of the pairs of keys, or it is an object."""
    return content.rows is None or any(content.has(*pair) for pair in LAYOUTS)


def read(content: Content, options: Options) -> Layout:
    """The answers, in the file's order.

    Raises:
        BadData: a row is of no known layout.
    """
    if content.rows is None:
        return _read_mapping(str(content.file), content.data, options)
    answers = tuple(_read_row(where, row) for where, row in content.rows)
    return Layout(answers=answers, extract=_rule(answers))


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
    raise BadData(
        f"{where}: keys {', '.join(sorted(map(str, row)))} are no known layout; known are: {known}; and the files of "
        "LLaVA, lm-eval, lmms-eval, VLMEvalKit, inspect and HELM"
    )


def _answer(where: str, name: object, answer: object, scores: object = None) -> RecordedAnswer:
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise BadData(f"{where}: the id must be text or a whole number, not {name!r:.80}")
    if scores is not None:
        return RecordedAnswer(id=str(name), option_scores=_scores(where, scores), where=where)
    if isinstance(answer, bool) or not isinstance(answer, str | int):
        raise BadData(f"{where}: the answer of {name} must be text or an index, not {answer!r:.80}")
    return RecordedAnswer(id=str(name), answer=str(answer), where=where)


def _scores(where: str, scores: object) -> tuple[float, ...]:
    if not isinstance(scores, list) or not scores:
        raise BadData(f"{where}: option_scores must be a list of numbers")
    for score in scores:
        # Python integers can be larger than every float, so that math.isfinite would overflow.
        if isinstance(score, bool) or not isinstance(score, int | float) or not abs(score) <= sys.float_info.max:
            raise BadData(f"{where}: option score {score!r:.80} is not a finite number")
    return tuple(float(score) for score in scores)


def _read_mapping(file: str, data: Mapping[str, Any], options: Options) -> Layout:
    if "results" in data or "outputs" in data:
        if options.field not in data:
            raise BadData(f"{file}: it has no {options.field!r}; try -o field=results or -o field=outputs")
        data = data[options.field]
        if not isinstance(data, dict):
            raise BadData(f"{file}: {options.field} must be an object of id to answer")
        answers = [_answer(f"{file}: {options.field}", key, value) for key, value in data.items()]
        # LLaVA's rule reads all that the benchmark's own reads, and the bare letters of later models.
        rule = _rule(answers) if options.field == "results" else "llava-2023"
        return Layout(answers=tuple(answers), extract=rule)
    answers = []
    for key, value in data.items():
        if isinstance(value, dict):
            if "prediction" not in value:
                raise BadData(f"{file}: {key}: expected a key 'prediction'")
            value = value["prediction"]
        answers.append(_answer(f"{file}: {key}", key, value))
    return Layout(answers=tuple(answers), extract=_rule(answers))
