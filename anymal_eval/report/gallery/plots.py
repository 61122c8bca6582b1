"""The figures of a report: forest plots, groups, ROC and calibration, caption lengths and CIDEr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anymal_eval.report.gallery.content import TaskPage
from anymal_eval.report.gallery.drawing import CHANCE, INK, LINE, MUTED, SIDES, Plot, Words, canvas, save
from anymal_eval.report.run_table import SCALE
from anymal_eval.visible import visible_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from anymal_eval.store.results import Measurement

MOST_GROUPS = 24
LONGEST_LABEL = 34
FOREST_WIDTH = 5.8  # inches: two fit side by side on a laptop
CALIBRATION_BINS = 10


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A value with its interval, x100; ``side`` selects the colour."""

    label: str
    value: float
    low: float | None
    high: float | None
    side: int = 0
    chance: float | None = None


def forest(folder: Path, name: str, rows: Sequence[Sequence[Bar]], words: Words, zero: str = "") -> Plot:
    """A forest plot: values with intervals, one label per row.

    Args:
        folder: the report's folder.
        name: the file's name.
        rows: the bars of each label, the run's first.
        words: caption and alternative text.
        zero: for differences, the label of the x axis, with a line at 0; empty: no line.
    """
    figure, axes = canvas(FOREST_WIDTH, 0.75 + 0.36 * len(rows))
    for at, bars in enumerate(rows):
        for number, bar in enumerate(bars):
            offset = (number - (len(bars) - 1) / 2) * 0.26
            _bar(axes, bar, at + offset)
    axes.set_yticks(range(len(rows)), [_short(bars[0].label) for bars in rows], color=INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    if zero:
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_xlabel(zero)
    else:
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        axes.set_xlabel("x100, with 95 % intervals")
    return save(folder, name, figure, words)


def _bar(axes: Axes, bar: Bar, at: float) -> None:
    colour = SIDES[bar.side % len(SIDES)]
    if bar.chance is not None:
        axes.plot([bar.chance] * 2, [at - 0.28, at + 0.28], color=CHANCE, linewidth=1.6, linestyle=(0, (2, 1.4)))
    if bar.low is not None and bar.high is not None:
        axes.plot([bar.low, bar.high], [at, at], color=colour, linewidth=2.2, solid_capstyle="round")
    axes.plot([bar.value], [at], marker="o" if bar.side == 0 else "s", markersize=6.5, color=colour)


def legend(page: TaskPage) -> str:
    """The marker of each run, where there are several."""
    run, *bases = (side.label for side in page.sides)
    return "; ".join([f"Circle: {run}", *(f"square: {base}" for base in bases)]) + "." if bases else ""


def bar_of(item: Measurement, label: str, side: int = 0, chance: float | None = None) -> Bar:
    """A measurement as a bar."""
    low, high = (None if edge is None else SCALE * edge for edge in (item.ci_low, item.ci_high))
    return Bar(label=label, value=SCALE * item.value, low=low, high=high, side=side,
               chance=None if chance is None else SCALE * chance)  # fmt: skip


def by_group(folder: Path, page: TaskPage) -> Plot | None:
    """The headline in its largest groups; None without groups."""
    headline = page.headline
    if headline is None:
        return None
    # A group of all examples would repeat the headline.
    groups = [item for item in page.sides[0].groups if item.requested < page.total]
    largest = sorted(groups, key=lambda item: -item.n)[:MOST_GROUPS]
    shown = [item for item in groups if item in largest]
    if not shown:
        return None
    rows = []
    for item in shown:
        bars = [bar_of(item, f"{_group(item)}  (n {item.n:,})")]
        bars += [bar_of(other, "", at) for at, side in enumerate(page.sides) if at
                 for other in side.groups if other.group == item.group]  # fmt: skip
        rows.append(bars)
    number = f"The {len(shown)} largest of {len(groups)} groups" if len(shown) < len(groups) else "All groups"
    values = "; ".join(f"{_group(item)} {SCALE * item.value:.1f}" for item in shown)
    words = Words(
        alt=f"{headline.label} by group: {values}.", caption=f"{headline.label} by group. {number}. {legend(page)}"
    )
    return forest(folder, f"{page.name}-groups", rows, words)


def yes_no(folder: Path, page: TaskPage) -> list[Plot]:
    """ROC and calibration of every run with probabilities; empty without such a run."""
    found = [(side.label, *_probabilities(page, at)) for at, side in enumerate(page.sides)]
    curves = [(label, truth, p) for label, truth, p in found if len(set(truth)) == 2]
    if not curves:
        return []
    return [_roc(folder, page, curves), _calibration(folder, page, curves)]


def _probabilities(page: TaskPage, side: int) -> tuple[list[int], list[float]]:
    rows = page.sides[side].rows
    pairs = [(int(example.label), float(row["p_yes"])) for example in page.examples
             if (row := rows.get(example.id)) is not None and example.label is not None
             and row["state"] != "error" and row.get("p_yes") is not None]  # fmt: skip
    return [label for label, _ in pairs], [p for _, p in pairs]


def _roc(folder: Path, page: TaskPage, curves: Sequence[tuple[str, list[int], list[float]]]) -> Plot:
    import numpy as np

    figure, axes = canvas(3.9, 3.7)
    axes.plot([0, 1], [0, 1], color=CHANCE, linewidth=1.2, linestyle=(0, (3, 2)))
    areas = []
    for at, (label, truth, scores) in enumerate(curves):
        # One step for all examples of equal score: their order is arbitrary.
        values, place = np.unique(-np.asarray(scores), return_inverse=True)
        hits = np.bincount(place, weights=np.asarray(truth), minlength=len(values)).cumsum()
        false = np.bincount(place, weights=1 - np.asarray(truth), minlength=len(values)).cumsum()
        x, y = np.r_[0, false / false[-1]], np.r_[0, hits / hits[-1]]
        area = float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
        areas.append(f"{label} {area:.3f}")
        axes.plot(x, y, color=SIDES[at % len(SIDES)], linewidth=2, label=f"{_short(label, 24)}  {area:.3f}")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower right", fontsize=9)
    axes.set_aspect("equal")
    words = Words(alt=f"ROC curves; area under the curve: {'; '.join(areas)}.",
                  caption="ROC, area under the curve. Dashed: chance.")  # fmt: skip
    return save(folder, f"{page.name}-roc", figure, words)


def _calibration(folder: Path, page: TaskPage, curves: Sequence[tuple[str, list[int], list[float]]]) -> Plot:
    import numpy as np

    figure, axes = canvas(3.9, 3.7)
    axes.plot([0, 1], [0, 1], color=CHANCE, linewidth=1.2, linestyle=(0, (3, 2)))
    gaps = []
    for at, (label, truth, scores) in enumerate(curves):
        bins = np.minimum((np.asarray(scores) * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        count = np.bincount(bins, minlength=CALIBRATION_BINS)
        full = count > 0
        mean = np.bincount(bins, weights=scores, minlength=CALIBRATION_BINS)[full] / count[full]
        share = np.bincount(bins, weights=truth, minlength=CALIBRATION_BINS)[full] / count[full]
        gap = float(np.sum(count[full] * np.abs(mean - share)) / count.sum())
        gaps.append(f"{label} {gap:.3f}")
        colour = SIDES[at % len(SIDES)]
        axes.plot(mean, share, color=colour, linewidth=1.4, label=f"{_short(label, 22)}  gap {gap:.3f}")
        axes.scatter(mean, share, s=14 + 120 * count[full] / count.max(), color=colour, alpha=0.75, linewidths=0)
    axes.set(xlabel="P(yes) given", ylabel="share that is yes", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="upper left", fontsize=9)
    axes.set_aspect("equal")
    words = Words(alt=f"Calibration; mean gap between probability and share: {'; '.join(gaps)}.",
                  caption="Calibration in ten bins, a dot's area its examples; gap: their mean distance "
                          "from the diagonal.")  # fmt: skip
    return save(folder, f"{page.name}-calibration", figure, words)


def captions(folder: Path, page: TaskPage) -> list[Plot]:
    """Lengths of captions and references, and CIDEr by example; empty for other kinds of answers."""
    examples = [example for example in page.examples if example.kind == "caption"]
    if not examples:
        return []
    references = [len(text.split()) for example in examples for text in example.references or ()]
    lengths: list[tuple[str, Any]] = [("references", references)] if references else []
    scores = []
    for side in page.sides:
        rows = [row for example in examples if (row := side.rows.get(example.id)) and row["state"] != "error"]
        if rows:
            lengths.append((side.label, [len(str(row["answer"]).split()) for row in rows]))
        cider = [SCALE * row["scores"]["cider@1"] for row in rows if "cider@1" in row["scores"]]
        if cider:
            scores.append((side.label, cider))
    made = []
    if lengths:
        made.append(_histogram(folder, f"{page.name}-lengths", lengths, "words in a caption", whole=True))
    if scores:
        made.append(_histogram(folder, f"{page.name}-cider", scores, "CIDEr of an example x100"))
    return made


def _histogram(
    folder: Path, name: str, series: Sequence[tuple[str, Sequence[float]]], what: str, *, whole: bool = False
) -> Plot:
    import numpy as np

    figure, axes = canvas(3.9, 3.0)
    everything = np.concatenate([np.asarray(values, dtype=float) for _, values in series])
    top = max(float(np.percentile(everything, 99.5)), 1.0)
    edges = (np.arange(0, top + 2) - 0.5 if whole and top <= 40 else np.linspace(0, top, 31)).tolist()
    averages = []
    for label, values in series:
        at = [label for label, _ in series if label != "references"].index(label) if label != "references" else -1
        colour = CHANCE if at < 0 else SIDES[at % len(SIDES)]
        weights = np.full(len(values), 100 / len(values))
        clipped = np.clip(np.asarray(values, dtype=float), edges[0], edges[-1])
        axes.hist(clipped, bins=edges, weights=weights, histtype="stepfilled", color=colour, alpha=0.22)
        axes.hist(clipped, bins=edges, weights=weights, histtype="step", color=colour, linewidth=1.6,
                  label=f"{_short(label, 20)}, mean {np.mean(values):.1f}")  # fmt: skip
        averages.append(f"{label} mean {np.mean(values):.1f}, median {np.median(values):.1f}")
    axes.set(xlabel=what, ylabel="% of them")
    axes.grid(axis="y", linewidth=0.6, color=LINE)
    axes.set_axisbelow(True)
    # Above the axes, where the legend covers no bar.
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=9)
    return save(folder, name, figure, Words(alt=f"Distribution of {what}: {'; '.join(averages)}.",
                                            caption=f"Distribution of {what}."))  # fmt: skip


def _group(item: Measurement) -> str:
    return ", ".join(f"{name} {value}" for name, value in (item.group or {}).items())


def _short(text: str, most: int = LONGEST_LABEL) -> str:
    plain = visible_line(text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
