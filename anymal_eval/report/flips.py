"""The examples on which two runs differ, with both answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anymal_eval.report.pairing import Pairs


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
    both = zip(*(rows.column("scores") for rows in pairs.rows), strict=True)
    for at, scores in enumerate(both):
        old, new = (own.get(metric) for own in scores)
        if old is not None and new is not None and (old == new or abs(new - old) <= 1e-12):
            continue
        before, after = (rows[at] for rows in pairs.rows)
        if (old is None or new is None) and _answer(before) == _answer(after):
            continue
        found.append(
            Flip(
                id=before["id"],
                cluster=before["cluster"],
                answer_before=_answer(before),
                answer_after=_answer(after),
                before=old,
                after=new,
            )
        )
    return tuple(sorted(found, key=lambda flip: flip.change))


def _answer(row: Mapping[str, Any]) -> str:
    if row["state"] != "ok":
        return f"({row['state']}) {row['raw'] if isinstance(row['raw'], str) else row['answer']}".strip()
    text = str(row["answer"])
    return f"{text} (P(yes) {row['p_yes']:.3f})".strip() if "p_yes" in row else text
