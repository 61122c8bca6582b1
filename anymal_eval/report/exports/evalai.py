"""EvalAI's upload files: VQAv2 with every test2015 id, VizWiz by image."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anymal_eval.codec import read_json
from anymal_eval.errors import BadData, MissingData, WrongUse, listed
from anymal_eval.report.exports import Exported

TASKS = ("vqav2", "vizwiz")
QUESTIONS = "v2_OpenEnded_mscoco_test2015_questions.json"
TEST2015 = 447_793


def evalai(exported: Exported, data_root: Path) -> tuple[dict[str, str], list[str]]:
    """The upload files, one per task, and messages for the user.

    Answers are as the protocol reads them, with its cleaning.

    Args:
        exported: the run.
        data_root: ``DIR``; the ids of VQAv2 are those of ``DIR/vqav2/v2_OpenEnded_mscoco_test2015_questions.json``.

    Raises:
        WrongUse: no task has such an upload, or the run is over the demo world or another split.
        IncompleteRun: the run has errors.
        MissingData, BadData: the questions file is missing or invalid.
    """
    tasks = [task for task in exported.tasks if task in TASKS]
    if not tasks:
        raise WrongUse(f"EvalAI takes {' and '.join(TASKS)}; this run holds {', '.join(exported.tasks)}")
    files, messages = {}, []
    for task in tasks:
        entry = exported.entry(task)
        if entry.data == "demo":
            raise WrongUse(f"{task}: the demo world's answers are for no test server")
        answers = {row["id"]: str(row["answer"]) for row in exported.rows(task, whole=True)}
        if task == "vqav2":
            ids = test_ids(data_root / "vqav2" / QUESTIONS)
            rows, notes = _vqav2(answers, ids)
            messages += notes
        else:
            rows = [{"image": name, "answer": answer} for name, answer in answers.items()]
        files[f"evalai/{task}_{entry.split}_{exported.slug}.json"] = _one_a_line(rows)
        if entry.labelled:
            messages.append(f"{task}: split {entry.split} has public labels; the test server takes the test split")
        if entry.reading.get("clean", "none") == "none":
            messages.append(f"{task}: protocol {entry.protocol} cleans no answer; published uploads use m4c-upload")
    return files, messages


def test_ids(file: Path) -> list[int]:
    """The ids of all test2015 questions, in the order of the file.

    Raises:
        MissingData: the file is missing.
        BadData: the file is invalid.
    """
    if not file.is_file():
        raise MissingData(
            f"not in {file.parent}: {file.name}; EvalAI wants all {TEST2015:,} ids of it, for test-dev too"
        )
    data = read_json(file)
    try:
        ids = [int(row["question_id"]) for row in data["questions"]]
    except (TypeError, KeyError, ValueError) as error:
        raise BadData(f"{file}: questions must be a list of rows with a question_id ({error!r})") from None
    if len(set(ids)) != len(ids):
        raise BadData(f"{file}: a question_id occurs twice")
    return ids


def _vqav2(answers: Mapping[str, str], ids: Sequence[int]) -> tuple[list[dict[str, Any]], list[str]]:
    known = {str(name) for name in ids}
    unknown = [name for name in answers if name not in known]
    if unknown:
        raise WrongUse(
            f"vqav2: {len(unknown):,} answers are to no test2015 question: {listed(unknown)}; "
            "run with --split test-dev or --split test"
        )
    rows = [{"question_id": name, "answer": answers.get(str(name), "")} for name in ids]
    notes = [f"vqav2: {len(answers):,} answers, {len(ids) - len(answers):,} ids filled with an empty one"]
    if len(ids) != TEST2015:
        notes.append(f"vqav2: the questions file holds {len(ids):,} ids and not {TEST2015:,}: EvalAI will refuse this")
    return rows, notes


def _one_a_line(rows: Iterable[Mapping[str, Any]]) -> str:
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"
