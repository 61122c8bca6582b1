"""VLMEvalKit's predictions: ``MODEL_DATASET.xlsx`` (or tsv), with ``index``, ``question`` and ``prediction``.

Seen in open-compass/VLMEvalKit ``vlmeval/inference.py`` (Apache-2.0), ``infer_data_job``: the data's own table without
its pictures (choices in the columns A, B, C ...), and a column ``prediction``; ``index`` is the number of a row in
VLMEvalKit's table, which is no id of the benchmark. A failed request is the text ``Failed to obtain answer``.
"""

import itertools
import string
from typing import Any

from anymal_eval.errors import BadData
from anymal_eval.models.replay.layouts import scalar, text_of
from anymal_eval.models.replay.records import Content, Layout, Options, RecordedAnswer

FAILED = "Failed to obtain answer"
IDS = ("question_id", "id", "image_id", "image_path", "qid", "video", "index")


def recognises(content: Content) -> bool:
    """Whether the first row has VLMEvalKit's columns."""
    return content.has("index", "prediction")


def read(content: Content, options: Options) -> Layout:
    """The answers, in the file's order; failed requests are failures.

    Raises:
        BadData: a row has no index.
    """
    del options
    return Layout(answers=tuple(_answer(where, row) for where, row in content.rows or ()), name="VLMEvalKit")


def _answer(where: str, row: Any) -> RecordedAnswer:
    name = scalar(row.get("index")) if isinstance(row, dict) else None
    if name is None or "prediction" not in row:
        raise BadData(f"{where}: a row of VLMEvalKit's has index and prediction")
    answer = text_of(where, row["prediction"], "'prediction'")
    failed = answer.startswith(FAILED)
    return RecordedAnswer(
        id=name,
        answer=None if failed else answer,
        failure=answer if failed else "",
        keys={key: found for key in IDS if (found := scalar(row.get(key))) is not None},
        question=str(row.get("question") or ""),
        options=tuple(itertools.takewhile(bool, (text_of(where, row.get(one), one) for one in string.ascii_uppercase))),
        where=where,
    )
