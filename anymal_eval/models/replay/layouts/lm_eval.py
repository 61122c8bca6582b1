"""The samples of lm-eval and of lmms-eval: ``samples_TASK_DATE.jsonl``, ``DATE_samples_TASK.jsonl``.

Seen in EleutherAI/lm-evaluation-harness ``lm_eval/loggers/evaluation_tracker.py`` (MIT) and
EvolvingLMMs-Lab/lmms-eval ``lmms_eval/loggers/evaluation_tracker.py`` (MIT and Apache-2.0), ``save_results_samples``:
a row has ``doc_id`` (the number of the row in the copy on the hub), ``target``, ``filtered_resps`` and, unless it is
the same, ``resps``; lm-eval keeps ``doc`` and ``arguments`` and names a ``filter``; lmms-eval keeps the prompt alone,
as ``input``. Metrics may hold ids, as in ``"submission": {"question_id": 7, "answer": "red"}``. Generated text is
``["red"]``; ranked options are ``[["-3.0", "False"], ["-4.0", "True"]]``: the sum of log p, and whether it is greedy.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from anymal_eval.errors import BadData, WrongUse
from anymal_eval.models.replay.layouts import LONGEST_NUMBER, scalar, text_of
from anymal_eval.models.replay.records import Content, Layout, Options, RecordedAnswer

IDS = ("question_id", "qid", "id", "image_id", "image", "pid", "video_id", "youtube_id", "audiocap_id")
QUESTIONS = ("question", "query", "prompt")


def recognises(content: Content) -> bool:
    """Whether the first row has their keys."""
    return content.has("doc_id", "filtered_resps") or content.has("doc_id", "resps")


def read(content: Content, options: Options) -> Layout:
    """The answers of one filter, in the file's order.

    Raises:
        BadData: a row has no answer.
        WrongUse: there is no such filter.
    """
    filters = list(dict.fromkeys(str(row.get("filter", "")) for _, row in content.rows or () if isinstance(row, dict)))
    chosen = options.filter or (filters[0] if filters else "")
    if options.filter and options.filter not in filters:
        raise WrongUse(f"-o filter={options.filter}: {content.file} has {', '.join(filters) or 'no filter'}")
    notes = (f"the rows of the filter {chosen} are read, of {', '.join(filters)}",) if len(filters) > 1 else ()
    answers = [
        _answer(where, row)
        for where, row in content.rows or ()
        if not isinstance(row, dict) or str(row.get("filter", "")) == chosen
    ]
    return Layout(answers=tuple(answers), name="lm-eval or lmms-eval", notes=notes)


def _answer(where: str, row: Any) -> RecordedAnswer:
    number = scalar(row.get("doc_id")) if isinstance(row, dict) else None
    if number is None:
        raise BadData(f"{where}: a sample has doc_id and filtered_resps")
    doc = row.get("doc") if isinstance(row.get("doc"), dict) else {}
    held: dict[str, Any] = {
        "id": number,
        "keys": dict(_keys(row, doc)),
        "question": _question(row, doc),
        "position": int(number) if number.isdecimal() and len(number) <= LONGEST_NUMBER else None,
        "where": where,
    }
    found = row.get("filtered_resps", row.get("resps"))
    while isinstance(found, list) and len(found) == 1 and isinstance(found[0], list) and not _is_score(found[0]):
        found = found[0]
    if isinstance(found, list) and found and all(_is_score(each) for each in found):
        return RecordedAnswer(**held, option_scores=tuple(float(each[0]) for each in found))
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, list) or found is None:
        what = "no answer" if not found else f"{len(found)} answers"
        raise BadData(f"{where}: {what} under 'filtered_resps', where one text was due; name another -o filter=")
    return RecordedAnswer(**held, answer=text_of(where, found, "the answer"))


def _is_score(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2 or str(value[1]) not in ("True", "False", "true", "false"):
        return False
    try:
        return abs(float(value[0])) < float("inf")
    except (TypeError, ValueError):
        return False


def _keys(row: Mapping[str, Any], doc: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for place, held in (("doc", doc), *((key, value) for key, value in row.items() if isinstance(value, dict))):
        for name in IDS:
            if (found := scalar(held.get(name))) is not None:
                yield f"{place}.{name}", found


def _question(row: Mapping[str, Any], doc: Mapping[str, Any]) -> str:
    if isinstance(row.get("input"), str):
        return str(row["input"])
    found = next((doc[name] for name in QUESTIONS if isinstance(doc.get(name), str)), "")
    return str(found)
