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
    for before, after in zip(*pairs.rows, strict=True):
        old, new = before["scores"].get(metric), after["scores"].get(metric)
        if old is not None and new is not None:
            changed = old != new and abs(new - old) > 1e-12
        else:
            changed = _answer(before) != _answer(after)
        if changed:
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
