"""The HTML pages, from Jinja2 templates that escape everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anymal_eval.paths import inside
from anymal_eval.report.gallery import plots
from anymal_eval.report.gallery.content import Report, TaskPage
from anymal_eval.report.gallery.drawing import Plot, Words
from anymal_eval.report.regression import TaskCheck
from anymal_eval.report.run_screen import usual_name
from anymal_eval.report.run_table import SCALE, interval_text
from anymal_eval.store.results import Chance, Measurement
from anymal_eval.visible import visible

UNITS = {"fraction": "fractions x100", "cider": "CIDEr x100"}
HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
ASSETS = HERE / "assets"
# Only files of the folder: no inline script or style, no network, no frames, no forms.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; base-uri 'none'; "
    "form-action 'none'"
)


def write_pages(folder: Path, report: Report) -> None:
    """Write ``index.html``, ``tasks/<task>.html`` and their plots."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_visible,
    )  # fmt: skip
    environment.globals |= {"policy": POLICY, "report": report}
    environment.filters |= {"x100": x100, "signed": signed, "interval": interval, "group": group_text,
                            "metric": usual_name}  # fmt: skip
    (folder / "tasks").mkdir()
    for page in report.pages:
        made = environment.get_template("task.html").render(
            root="../", page=page, plots=_task_plots(folder, page), states=_states(page), rows=_ordered(page)
        )
        _write(inside(folder, "tasks", f"{page.name}.html"), made)
    made = environment.get_template("index.html").render(
        root="", plots=_index_plots(folder, report), facts=_facts(report), rows=_summary(report)
    )
    _write(folder / "index.html", made)


def _visible(value: object) -> object:
    # The templates' own pieces of HTML are of a subclass of str.
    return visible(value) if type(value) is str else value


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _index_plots(folder: Path, report: Report) -> list[Plot]:
    """Plots of the headlines and the differences; fractions and CIDEr apart, because their scales differ."""
    made = []
    for unit, what in UNITS.items():
        rows = []
        for page in report.pages:
            if page.headline is not None and page.headline.unit == unit:
                bars = [plots.bar_of(side.headline, f"{page.name}  {page.headline.metric}", at, _uniform(page, at))
                        for at, side in enumerate(page.sides) if side.headline is not None]  # fmt: skip
                rows.append(bars)
        if rows:
            values = "; ".join(f"{bars[0].label} {bars[0].value:.1f}" for bars in rows)
            runs = "; ".join(["Circle: this run", *(f"square: {base}" for base in report.names[1:])])
            words = Words(alt=f"Headlines, {what}: {values}.",
                          caption=f"Headlines, {what}, with 95 % intervals. {runs}; dashed: chance.")  # fmt: skip
            made.append(plots.forest(folder, f"summary-{unit}", rows, words))
    for at, check in enumerate((pair.check for pair in report.pairs), start=1):
        for unit, what in UNITS.items():
            compared = [item for item in check.tasks if item.comparison is not None and item.unit == unit]
            if compared:
                made.append(_differences(folder, f"difference-{at}-{unit}", (check.against, what), compared))
    return made


def _differences(folder: Path, name: str, names: tuple[str, str], compared: Sequence[TaskCheck]) -> Plot:
    against, what = names
    rows = [[plots.Bar(label=item.task, value=SCALE * item.comparison.difference, low=SCALE * item.comparison.low,
                       high=SCALE * item.comparison.high)]
            for item in compared if item.comparison is not None]  # fmt: skip
    values = "; ".join(f"{bars[0].label} {bars[0].value:+.1f}" for bars in rows)
    words = Words(
        alt=f"Difference to {against}, {what}: {values}.",
        caption=f"This run less {against}, {what}, over the examples of both, with 95 % intervals.",
    )
    return plots.forest(folder, name, rows, words, zero="difference x100")


def _task_plots(folder: Path, page: TaskPage) -> Mapping[str, list[Plot]]:
    whole = [item for item in page.measurements if item.group is None or item.headline]
    rows = []
    for item in whole:
        bars = [plots.bar_of(item, item.label, 0, _uniform(page) if item.headline else None)]
        bars += [plots.bar_of(side.headline, item.label, at)
                 for at, side in enumerate(page.sides) if at and item.headline and side.headline]  # fmt: skip
        rows.append(bars)
    values = "; ".join(f"{item.label} {SCALE * item.value:.1f}" for item in whole)
    words = Words(
        alt=f"Measurements: {values}.",
        caption=f"Measurements with 95 % intervals. Dashed: chance. {plots.legend(page)}",
    )
    groups = plots.by_group(folder, page)
    return {
        "forest": [plots.forest(folder, f"{page.name}-forest", rows, words)] if rows else [],
        "groups": [groups] if groups is not None else [],
        "more": [*plots.yes_no(folder, page), *plots.captions(folder, page)],
    }


def _ordered(page: TaskPage) -> list[Measurement]:
    return sorted(page.measurements, key=lambda item: (not item.headline, item.group is not None))


def _uniform(page: TaskPage, side: int = 0) -> float | None:
    # The chance level is over the run's examples; it is drawn for the run only.
    found: Sequence[Chance] = page.chance
    return next((item.value for item in found if item.how == "uniform"), None) if side == 0 else None


def _states(page: TaskPage) -> list[Mapping[str, Any]]:
    """The number of answers in each state, for every run, over all its examples."""
    return [{"label": side.label, "counts": side.counts} for side in page.sides]


def _summary(report: Report) -> list[Mapping[str, Any]]:
    return [
        {
            "page": page,
            "headline": page.headline,
            "chance": _uniform(page),
            "why": next((item.why for item in page.not_computed), ""),
            "checks": page.checks,
        }
        for page in report.pages
    ]


def _facts(report: Report) -> list[tuple[str, str]]:
    manifest = report.runs[0].manifests[0]
    identity, environment = manifest.identity, manifest.environment
    facts = [
        ("run", manifest.run),
        ("model", report.runs[0].model),
        ("fingerprint", str(identity.get("fingerprint", ""))),
        ("protocol", str(identity.get("protocol", ""))),
        ("data", str(identity.get("data", "")) + (f", limit {identity['limit']}" if identity.get("limit") else "")),
        ("media", {"none": "as they are", "no-media": "none were shown", "shuffled-media": "those of others"}.get(
            str(identity.get("ablate")), str(identity.get("ablate")))),
        ("device", str(environment.get("device", ""))),
        ("anymal_eval", f"{environment.get('anymal_eval', '')} ({environment.get('git', '')})"),
    ]  # fmt: skip
    return [(name, value) for name, value in facts if value]


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
    """A measurement's group; ``all`` for one over all examples."""
    return ", ".join(f"{name} = {value}" for name, value in (item.group or {}).items()) or "all"
