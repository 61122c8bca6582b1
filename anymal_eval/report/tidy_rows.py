"""The numbers of a run for programs: one value a cell, the bounds of an interval in columns of their own."""

from collections.abc import Iterator, Mapping, Sequence

from anymal_eval.report.samples import over_samples
from anymal_eval.store.results import AnswerProblem, DataNote, Measurement, Results

STATES = ("ok", "empty", "unparsable", "error")
SCALE = 100.0


def tidy_rows(results: Results, blind: Results | None, samples: Sequence[Results]) -> Iterator[Mapping[str, str]]:
    """A mapping for each number, all with the same keys, in this order: what it is, the number, its conditions.

    Args:
        results: the results of the run.
        blind: the results of the same run without media, if there is one.
        samples: the results of further samples of the same run.
    """
    name = results.run.name
    for item in results.measurements:
        row = _row(item, name, "chance" if results.run.is_chance else "measured")
        if item.headline:
            remarks: list[DataNote | AnswerProblem] = [*results.data_notes, *results.problems]
            row["notes"] = "; ".join(one.sentence for one in remarks if one.task == item.task)
        yield row
        if item.headline and (found := over_samples(item, samples)) is not None:
            mean: Mapping[str, float | str | None] = {
                "value": found.mean, "ci_low": found.low, "ci_high": found.high, "ci_method": "t over samples",
            }  # fmt: skip
            yield _row(item, name, f"mean of {len(found.values)} samples") | _numbers(mean)
    for item in blind.measurements if blind is not None else ():
        yield _row(item, name, "no media")
    for guess in results.chance:
        of = next(item for item in results.measurements if item.task == guess.task)
        yield _empty() | {
            "run": name, "kind": f"chance, {guess.how}", "task": guess.task, "split": of.split, "data": of.data,
            "metric": guess.metric, "output": guess.output,
        } | _numbers({"value": guess.value})  # fmt: skip
    for lacking in results.not_computed:
        yield _empty() | {
            "run": name, "kind": "not computed", "task": lacking.task, "metric": lacking.metric, "notes": lacking.why,
        }  # fmt: skip


def _empty() -> dict[str, str]:
    names = (
        "run", "kind", "task", "split", "data", "group", "metric", "output", "headline", "value_x100", "ci_low_x100",
        "ci_high_x100", "ci_method", "n", "n_requested", "n_expected", *STATES, "cut", "thinking", "template",
        "protocol", "signature", "notes",
    )  # fmt: skip
    return dict.fromkeys(names, "")


def _row(item: Measurement, name: str, kind: str) -> dict[str, str]:
    return (
        _empty()
        | {
            "run": name,
            "kind": kind,
            "task": item.task,
            "split": item.split,
            "data": item.data,
            "group": " ".join(f"{key}={value}" for key, value in (item.group or {}).items()),
            "metric": item.rule,
            "output": item.output,
            "headline": "yes" if item.headline else "no",
            "n": str(item.n),
            "n_requested": str(item.requested),
            "n_expected": "" if item.n_expected is None else str(item.n_expected),
            "cut": str(item.cut),
            "thinking": str(item.thinking),
            "template": str(item.template),
            "protocol": item.protocol,
            "signature": item.signature,
        }
        | {state: str(count) for state, count in item.states.items() if state in STATES}
        | _numbers(
            {"value": item.value, "ci_low": item.ci_low, "ci_high": item.ci_high, "ci_method": item.ci_method or None}
        )
    )


def _numbers(found: Mapping[str, float | str | None]) -> dict[str, str]:
    """Numbers x100, texts as they are; nothing for what there is not."""
    row = {}
    for name, value in found.items():
        if isinstance(value, str):
            row[name] = value
        elif value is not None:
            row[f"{name}_x100"] = f"{SCALE * value:.6g}"
    return row
