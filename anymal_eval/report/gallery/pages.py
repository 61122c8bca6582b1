"""The HTML pages, from Jinja2 templates that escape everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from anymal_eval.paths import inside
from anymal_eval.report.curve import curve_table
from anymal_eval.report.gallery import answer_plots, facts, overview, plots, sentences
from anymal_eval.report.gallery.content import Report, TaskPage
from anymal_eval.report.gallery.marks import key_svg
from anymal_eval.report.gallery.rows import axis_svg, row_svg
from anymal_eval.report.run_screen import usual_name
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.store.results import Measurement
from anymal_eval.visible import visible

HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
ASSETS = HERE / "assets"
# Only files of the folder: no inline script or style, no network, no frames, no forms.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; base-uri 'none'; "
    "form-action 'none'"
)


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """A metric in the table of a task: over what, and the measurement of each run; None where it has none."""

    name: str
    rule: str
    over: str
    headline: bool
    cells: Sequence[Measurement | None]

    @property
    def method(self) -> str:
        """How the intervals were computed, in the first run that has it."""
        return next((item.ci_method for item in self.cells if item is not None), "")

    @property
    def few(self) -> bool:
        """Whether a run has too few examples here for a result."""
        return any(item is not None and item.n < plots.FEWEST for item in self.cells)

    @property
    def signature(self) -> str:
        """Of the first run that has it."""
        return next((item.signature for item in self.cells if item is not None), "")


def write_pages(folder: Path, report: Report) -> None:
    """Write ``index.html`` and ``tasks/<task>.html``."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_visible,
    )  # fmt: skip
    environment.globals |= {
        "policy": POLICY, "report": report, "keys": overview.run_keys(report),
        "columns": overview.columns(report), "titles": sentences.titles(report), "words": overview.WORDS,
        "check_sentence": sentences.check_sentence,
    }  # fmt: skip
    environment.filters |= {
        "x100": x100, "signed": signed, "interval": interval, "metric": usual_name, "capital": plots.capital,
        "row": row_svg, "axis": axis_svg,
        "key": _key,
    }  # fmt: skip
    (folder / "tasks").mkdir()
    for page in report.pages:
        made = environment.get_template("task.html").render(root="../", page=page, **_task(report, page))
        _write(inside(folder, "tasks", f"{page.name}.html"), made)
    made = environment.get_template("index.html").render(root="", **_index(report))
    _write(folder / "index.html", made)


def _key(mark: tuple[int, int]) -> Markup:
    return Markup(key_svg(mark))  # noqa: S704  # numbers alone


def _visible(value: object) -> object:
    # The templates' own pieces of HTML, and the plots, are of a subclass of str.
    return visible(value) if type(value) is str else value


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _index(report: Report) -> Mapping[str, Any]:
    curve, series = answer_plots.curve(report)
    return {
        "sentence": sentences.report_sentence(report),
        "pair_sentences": [sentences.pair_sentence(report, at) for at in range(len(report.pairs))],
        "matrix": overview.matrix(report),
        "open_verdicts": overview.open_verdicts(report),
        "changes": plots.changes(report),
        "scores": plots.scores(report),
        "curve": curve,
        "curve_table": curve_table(series, "") if series else None,
        "facts": facts.fact_groups(report),
    }


def _task(report: Report, page: TaskPage) -> Mapping[str, Any]:
    measured, answers = plots.measured(report, page), answer_plots.answers(report, page)
    # A long plot beside a short one has a narrow one below the short one.
    tall = len(measured) == 2 and len(measured[1].rows) >= 2 * len(measured[0].rows)
    narrow = [replace(each, wide=len(each.panels) > (5 if tall and each.id == "lengths" else 2)) for each in answers]
    groups = plots.groups(report, page)
    halves = len(measured) + tall + len(groups) + sum(not each.wide for each in narrow)
    missing: dict[tuple[str, str], list[str]] = {}
    for side in page.sides:
        for item in side.not_computed:
            missing.setdefault((item.metric, item.why), []).append(side.label)
    return {
        "measured": measured,
        "tall": tall,
        "groups": groups,
        "answers": narrow,
        "odd": halves % 2 == 1,
        "missing": [(metric, why, labels) for (metric, why), labels in missing.items()],
        "rows": metric_rows(page),
        "chances": _chances(page),
        "fewest": plots.FEWEST,
    }


def _chances(page: TaskPage) -> list[tuple[str, str, list[float | None]]]:
    """(how it guesses, over what, the value under each run's rules) of each way of guessing."""
    found: dict[tuple[str, str], list[float | None]] = {}
    for at, side in enumerate(page.sides):
        for item in side.chance:
            key = (f"guessing, {item.how}", f"always {item.says}" if item.says else "all")
            found.setdefault(key, [None] * len(page.sides))[at] = item.value
    return [(how, over, values) for (how, over), values in found.items()]


def metric_rows(page: TaskPage) -> list[MetricRow]:
    """Every measurement of every run: the headline, the metrics over all examples, the groups."""
    by_side = [{(item.label, group_text(item)): item for item in side.measurements} for side in page.sides]
    keys: dict[tuple[str, str], Measurement] = {}
    for found in by_side:
        for key, item in found.items():
            keys.setdefault(key, item)
    ordered = sorted(keys.items(), key=lambda each: (not each[1].headline, each[1].group is not None))
    whole = [item for _, item in ordered if item.group is None or item.headline]
    names = {item.label: name for (_, name), item in zip(plots.metric_names(whole).items(), whole, strict=True)}
    return [
        MetricRow(
            name=names.get(item.label, item.label).partition(", ")[0],
            rule=item.label,
            over=key[1],
            headline=item.headline,
            cells=[found.get(key) for found in by_side],
        )
        for key, item in ordered
    ]


def x100(value: float | None) -> str:
    """A value x100, as in the tables.

    >>> x100(0.4725), x100(None)
    ('47.25', '')
    """
    return "" if value is None else f"{SCALE * value:.2f}"


def signed(value: float) -> str:
    """A difference, x100.

    >>> signed(-0.013)
    '-1.30'
    """
    return f"{SCALE * value:+.2f}"


def interval(item: Any) -> str:
    """The interval of a measurement or of a comparison's difference, x100."""
    low, high = (item.ci_low, item.ci_high) if isinstance(item, Measurement) else (item.low, item.high)
    return interval_text(low, high)


def group_text(item: Measurement) -> str:
    """A measurement's group in words; ``all`` for one over all examples."""
    return ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in (item.group or {}).items()) or "all"
