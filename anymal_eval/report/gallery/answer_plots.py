"""What the small plots show: single answers over all examples of each run, and scores over checkpoints."""

from __future__ import annotations

from dataclasses import replace

from anymal_eval.report.curve import Point, Series
from anymal_eval.report.curve_drawing import step_domain
from anymal_eval.report.gallery import panels
from anymal_eval.report.gallery.content import Report, TaskPage, Training
from anymal_eval.report.gallery.marks import mark_of, short_names
from anymal_eval.report.gallery.panels import Answers, Curve, Panels
from anymal_eval.report.gallery.plots import is_drawn, provisional
from anymal_eval.report.gallery.sentences import titles
from anymal_eval.report.gallery.spread import SMALLEST
from anymal_eval.report.run_screen import usual_name
from anymal_eval.report.run_table import SCALE
from anymal_eval.store.results import Measurement

_RELIABILITY = (
    "Answers by the probability that the run gives them: on the dashed line it is as often true as it is sure. "
    f"A hollow mark has under {panels.FEWEST} answers; lines are 95 % intervals."
)


def answers(report: Report, page: TaskPage) -> list[Panels]:
    """ROC, reliability, lengths and scores of single answers, over all examples; each where it means something."""
    kinds: list[Panels] = []
    sides = [(at, side) for at, side in enumerate(page.sides)]
    short = short_names(report.names)

    def runs(truth: str, p: str) -> list[Answers]:
        return [
            Answers(name=short[at], mark=mark_of(at, report.reported), truth=getattr(side.spread, truth),
                    p=getattr(side.spread, p))
            for at, side in sides
            if len(getattr(side.spread, p)) >= SMALLEST and len(set(getattr(side.spread, p))) > 1
        ]  # fmt: skip

    binary = [run for run in runs("truth", "p_yes") if len(set(run.truth)) == 2]
    if binary:
        about = "All thresholds; the mark is where the run answers yes from a probability of 0.5 on. Dashed: guessing."
        kinds.append(Panels(id="roc", title="ROC", about=about, panels=[panels.roc(binary)]))
        made = [panels.reliability(run, "probability of yes", "share that is yes") for run in binary]
        kinds.append(Panels(id="reliability", title="Reliability", about=_RELIABILITY, panels=made))
    chosen = runs("right", "confidence")
    if chosen:
        made = [panels.reliability(run, "probability of the option chosen", "share that is right") for run in chosen]
        kinds.append(Panels(id="reliability", title="Reliability", about=_RELIABILITY, panels=made))
    kinds += _distributions(report, page)
    return kinds


def curve(report: Report) -> tuple[Panels | None, tuple[Series, ...]]:
    """The headlines against training steps, and their series; None where fewer than two runs have different steps.

    Trainings with the same steps have a panel each, on one scale.
    """
    logged = [one for training in report.trainings for one in _logged(report, training)]
    made = [*(one for page in report.pages for one in _curves(report, page)), *logged]
    if not made:
        return None, ()
    series = tuple(one.series for one in made)
    domain = step_domain(series)
    about = "Headlines x100 against training steps"
    about += ", with 95 % intervals." if len(made) > len(logged) else "."
    if logged:
        about += " Log: scores of --eval-every on some examples, without intervals."
    if any(one.level is not None for one in made):
        about += f" Dashed: {report.names[report.reported]}, which has no step."
    drawn = [panels.checkpoints(one, domain) for one in made]
    return Panels(id="checkpoints", title="Checkpoints", about=about, panels=drawn), series


def _logged(report: Report, training: Training) -> list[Curve]:
    several = len(report.trainings) > 1
    return [
        Curve(series=replace(one, name=f"{one.name}, log{f' of {training.name}' if several else ''}"),
              marks=(), level=None, scale=())
        for one in training.series
    ]  # fmt: skip


def _curves(report: Report, page: TaskPage) -> list[Curve]:
    with_step = [
        (run.step, at, side.headline)
        for at, (run, side) in enumerate(zip(report.runs, page.sides, strict=True))
        if run.step is not None and side.headline is not None and is_drawn(side.headline)
    ]
    # Scores under other conditions are no points of one curve.
    same = [each for each in with_step if each[2].signature == with_step[0][2].signature]
    trainings: dict[str, list[tuple[int, int, Measurement]]] = {}
    once = len({step for step, _, _ in same}) == len(same)
    for step, at, item in sorted(same, key=lambda each: each[:2]):
        trainings.setdefault("" if once else report.runs[at].training, []).append((step, at, item))
    whole = {name: each for name, each in trainings.items() if 1 < len(each) == len({step for step, _, _ in each})}
    ends = [end for each in whole.values() for _, at, item in each for point in (_point(0, item, ""),)
            for end in (point.value, point.low, point.high) if end is not None]  # fmt: skip
    level = _level(report, page)
    return [
        Curve(
            series=Series(
                name=f"{titles(report)[page.name]}, {usual_name(each[0][2])}{f', {name}' if len(whole) > 1 else ''}",
                conditions=each[0][2].signature,
                points=tuple(_point(step, item, report.names[at]) for step, at, item in each),
            ),
            marks=[(mark_of(at, report.reported), bool(provisional(page, item))) for _, at, item in each],
            level=level,
            scale=[*ends, *([] if level is None else [level])],
        )
        for name, each in whole.items()
    ]


def _distributions(report: Report, page: TaskPage) -> list[Panels]:
    short = short_names(report.names)
    made = []
    for what, title, field, scale in (
        ("words", "Length of captions", "lengths", 1.0), ("CIDEr x100", "CIDEr of single captions", "scores", SCALE),
    ):  # fmt: skip
        series: list[tuple[str, tuple[int, int] | None, list[float]]] = [
            (short[at], mark_of(at, report.reported), [scale * value for value in getattr(side.spread, field)])
            for at, side in enumerate(page.sides)
            if len(getattr(side.spread, field)) >= SMALLEST
        ]
        if series and field == "lengths" and len(page.reference_lengths) >= SMALLEST:
            series.append(("references", None, list(map(float, page.reference_lengths))))
        if not any(mark for _, mark, _ in series):
            continue
        domain = panels.distribution_domain([values for _, _, values in series])
        drawn = [panels.distribution(name, mark, values, domain, what) for name, mark, values in series]
        about = "Percent of the captions, on one axis for all; the line is the median."
        made.append(Panels(id=field, title=title, about=about, panels=drawn))
    return made


def _level(report: Report, page: TaskPage) -> float | None:
    """The first baseline's headline, where it has no step."""
    if not page.base or report.runs[page.base].step is not None:
        return None
    headline = page.sides[page.base].headline
    return None if headline is None else SCALE * headline.value


def _point(step: int, item: Measurement, source: str) -> Point:
    low, high = (None if end is None else SCALE * end for end in (item.ci_low, item.ci_high))
    return Point(step=step, value=SCALE * item.value, low=low, high=high, n=item.n, source=source)
