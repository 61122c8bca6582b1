"""LLaVA's answers: JSON lines with ``question_id``, ``prompt`` and ``text``.

Seen in haotian-liu/LLaVA ``llava/eval/model_vqa_loader.py`` and ``model_vqa_science.py`` (Apache-2.0), which write
``{"question_id", "prompt", "text", "answer_id", "model_id", "metadata"}``. For TextVQA ``question_id`` is the picture's
id, and the prompt tells the questions about one picture apart (``llava/eval/eval_textvqa.py``).
"""

from anymal_eval.errors import BadData
from anymal_eval.models.replay.layouts import scalar, text_of
from anymal_eval.models.replay.records import Content, Layout, Options, RecordedAnswer


def recognises(content: Content) -> bool:
    """Whether the first row has LLaVA's keys."""
    return content.has("question_id", "text") and not content.has("answer")


def read(content: Content, options: Options) -> Layout:
    """The answers, in the file's order.

    Raises:
        BadData: a row has no id or no text.
    """
    del options
    answers = []
    for where, row in content.rows or ():
        name = scalar(row.get("question_id")) if isinstance(row, dict) else None
        if name is None or "text" not in row:
            raise BadData(f"{where}: a row of LLaVA's has question_id and text")
        answers.append(
            RecordedAnswer(
                id=name,
                answer=text_of(where, row["text"], "'text'"),
                keys={"question_id": name},
                question=str(row.get("prompt") or ""),
                where=where,
            )
        )
    return Layout(answers=tuple(answers), name="LLaVA")
