"""The examples on which two runs differ, with both answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from anymal_eval.report.pairing import Pairs
from anymal_eval.store.score_rows import ScoreRows


@dataclass(frozen=True, kw_only=True)
class Flip:
    """One example whose score or answer changed; ``before`` and ``after`` are its scores, None where there are none."""

    id: str
    cluster: str
    answer_before: str
    answer_after: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float:
        """The score after minus the score before."""
        return (self.after or 0.0) - (self.before or 0.0)


def flips(pairs: Pairs, metric: str) -> tuple[Flip, ...]:
    """Every example whose score changed, the largest falls first.

    For a metric without per-example scores (an area under a curve): every example whose answer changed.

    Args:
        pairs: the matched rows.
        metric: the metric's id, as in ``scores.jsonl``.
    """
    found = []
    olds, news = (rows.within("scores", metric) for rows in pairs.rows)
    answers = [_answers(rows) for rows in pairs.rows]
    names, clusters = (pairs.rows[0].column(key) for key in ("id", "cluster"))
    for at, (old, new) in enumerate(zip(olds, news, strict=True)):
        if old is not None and new is not None and (old == new or abs(new - old) <= 1e-12):
            continue
        before, after = (answer(at) for answer in answers)
        if (old is None or new is None) and before == after:
            continue
        found.append(
            Flip(id=names[at], cluster=clusters[at], answer_before=before, answer_after=after, before=old, after=new)
        )
    return tuple(sorted(found, key=lambda flip: flip.change))


def _answers(rows: ScoreRows) -> Callable[[int], str]:
    """The answer of a row as text, by its place."""
    states, answers, raw, p_yes = (rows.column(key) for key in ("state", "answer", "raw", "p_yes"))

    def answer(at: int) -> str:
        if states[at] != "ok":
            return f"({states[at]}) {raw[at] if isinstance(raw[at], str) else answers[at]}".strip()
        text = str(answers[at])
        return text if p_yes[at] is None else f"{text} (P(yes) {p_yes[at]:.3f})".strip()

    return answer
