"""The first sentence of a report against sentences written by hand, and the names and marks of runs."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest

from anymal_eval.report.gallery.content import Report, RunPair, RunRecord, Side, TaskPage
from anymal_eval.report.gallery.marks import COLOURS, MOST, SHAPES, mark_of, short_names
from anymal_eval.report.gallery.sentences import check_sentence, pair_sentence, report_sentence
from anymal_eval.report.regression import Check, TaskCheck, Word
from anymal_eval.report.run_names import run_names
from anymal_eval.statistics.paired import Comparison
from anymal_eval.store.manifest import TaskEntry
from anymal_eval.store.results import Chance, Measurement

ENTRY = TaskEntry(version=1, split="test", data="official", examples="", n=9, n_split=9, n_expected=9, labelled=True,
                  protocol="plain", prompts="", reading={})  # fmt: skip


def compared(difference: float, low: float, high: float) -> Comparison:
    return Comparison(before=5.0, after=5.0 + difference, difference=difference, low=low, high=high,
                      error=(high - low) / 4, p=0.01, p_worse=0.01, better="higher", method="t", n=9, clusters=9,
                      changed=5, risen=2, fallen=3)  # fmt: skip


def checked(
    task: str, word: Word, metric: str = "cider@1", numbers: tuple[float, float, float] | None = None
) -> TaskCheck:
    comparison = None if numbers is None else compared(*numbers)
    return TaskCheck(task=task, tier="blocking", word=word, why="a reason", metric=metric, comparison=comparison)


def measured(value: float, low: float, high: float) -> Measurement:
    return Measurement(task="t", split="test", data="official", protocol="plain", metric="choice_accuracy", version="1",
                       output="choice_accuracy", signature="", value=value, unit="fraction", better="higher",
                       ci_low=low, ci_high=high, ci_method="t", n=9, n_expected=9, states={"ok": 9}, group=None,
                       headline=True)  # fmt: skip


def page_of(name: str, checks: list[TaskCheck | None], *sides: Side) -> TaskPage:
    own = sides or (Side(label="run", rows={}, headline=None, counts={"ok": 9}),)
    return TaskPage(name=name, title=name.title(), entry=ENTRY, examples=(), total=9, requests={}, sides=own,
                    checks=checks, measurements=(), chance=(), not_computed=(), ablate="none")  # fmt: skip


def report_of(*tasks: list[TaskCheck | None] | TaskPage, names: tuple[str, ...] = ("step 4000", "baseline")) -> Report:
    pages = [task if isinstance(task, TaskPage) else page_of(f"task{at}", task) for at, task in enumerate(tasks)]
    check = Check(run="", model="", against=names[-1], is_demo=False, alpha=0.05, tasks=(), also_differs=())
    pairs = [RunPair(run=at, base=len(names) - 1, check=check) for at in range(len(names) - 1)]
    runs = [RunRecord(name=name, step=None, model="hf:some", manifests=()) for name in names]
    return Report(title="", is_demo=False, pages=pages, runs=runs, reported=max(1, len(names) - 1), pairs=pairs)


WORSE = checked("audiocaps", "worse", numbers=(-3.34, -3.93, -2.75))
SAME = checked("other", "same", numbers=(0.0, -0.1, 0.1))
OPEN = checked("other", "cannot tell", numbers=(0.01, -0.2, 0.2))


def test_worse_on_one_task_the_others_counted() -> None:
    found = report_of(page_of("audiocaps", [WORSE]), [SAME], [SAME], [SAME], [SAME], [OPEN])
    assert report_sentence(found) == "Worse on Audiocaps (-334 CIDEr [-393, -275]); 4 the same; 1 undecided"


def test_the_clearest_three_are_named_worse_before_better() -> None:
    # In standard errors (a quarter of the interval): 2, 8, 4, 6; and one that is better.
    falls = [(-0.10, -0.20, 0.0), (-0.08, -0.10, -0.06), (-0.10, -0.15, -0.05), (-0.12, -0.16, -0.08)]
    tasks = [page_of(name, [checked(name, "worse", "choice_accuracy@1", numbers)])
             for name, numbers in zip("abcd", falls, strict=True)]  # fmt: skip
    better = page_of("e", [checked("e", "better", "vqa_accuracy@2021", (0.0004, 0.0002, 0.0006))])
    assert report_sentence(report_of(better, *tasks)) == (
        "Worse on B (-8.0 accuracy [-10.0, -6.0]), D (-12.0 accuracy [-16.0, -8.0]), C (-10.0 accuracy [-15.0, -5.0]) "
        "and 1 more; better on E (+0.04 VQA accuracy [+0.02, +0.06])"
    )


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ([SAME, SAME], "The same on all 2 tasks"),
        ([SAME], "The same on Task0"),
        ([checked("t", "refused"), checked("u", "refused")], "Not comparable on all 2 tasks: a reason"),
        ([OPEN, SAME], "No task is worse or better: 1 the same; 1 undecided"),
        ([checked("t", "refused"), OPEN, None], "No task is worse or better: 1 undecided; 1 not comparable; "
         "1 in one run alone"),
        ([checked("t", "better", numbers=(0.5, math.nan, math.nan))], "Better on Task0 (+50.0 CIDEr)"),
    ],
)  # fmt: skip
def test_other_sentences(checks: list[TaskCheck | None], words: str) -> None:
    assert report_sentence(report_of(*([check] for check in checks))) == words


def test_several_runs_are_named() -> None:
    better = checked("t", "better", numbers=(0.5, 0.4, 0.6))
    names = ("step 1000", "step 2000", "step 3000", "baseline")
    found = report_of([WORSE, better, SAME], [better, SAME, SAME], names=names)
    assert report_sentence(found) == (
        "Worse than baseline on some task: step 1000; better and nowhere worse: step 2000; "
        "no difference found: step 3000"
    )
    assert pair_sentence(found, 1) == "Better on Task0 (+50.0 CIDEr [+40.0, +60.0]); 1 the same"


def test_one_run_alone_is_compared_with_guessing() -> None:
    guess = Chance(task="t", metric="choice_accuracy@1", output="choice_accuracy", how="uniform", says="", value=0.5)
    sides = [
        Side(
            label="run", rows={}, headline=measured(value, low, high), chance=[guess], counts={"ok": 8, "error": errors}
        )
        for value, low, high, errors in ((0.7, 0.6, 0.8, 0), (0.55, 0.45, 0.65, 2))
    ]
    found = report_of(page_of("one", [], sides[0]), page_of("two", [], sides[1]), names=("run",))
    assert report_sentence(found) == "Better than guessing on 1 of 2 tasks (not on Two); 2 of 18 answers are errors"
    alone = report_of(page_of("two", [], sides[1]), names=("run",))
    assert report_sentence(alone) == "Not shown to be better than guessing; 2 of 10 answers are errors"
    floor = replace(alone, runs=[replace(alone.runs[0], model="constant (chance)")])
    assert report_sentence(floor).startswith("This model answers without reading its input")


def test_a_task_has_its_sentence() -> None:
    assert check_sentence(WORSE, "baseline") == "Worse than baseline: -334 CIDEr [-393, -275]"
    assert check_sentence(checked("t", "refused"), "old") == "Not comparable with old: a reason"


def test_two_runs_never_share_a_mark() -> None:
    for count in range(1, MOST + 1):
        reported = max(1, count - 1)
        marks = {mark_of(run, reported) for run in range(count)}
        assert len(marks) == count
        assert all(shape < len(SHAPES) and colour < COLOURS for shape, colour in marks)
    # Three runs and their baseline differ in shape and in colour.
    four = [mark_of(run, 3) for run in range(4)]
    assert all(one[0] != other[0] and one[1] != other[1] for one, other in itertools.combinations(four, 2))


@pytest.mark.parametrize(
    "names",
    [("a", "b"), ("x" * 40 + "1", "x" * 40 + "2"), ("a" * 22, "a" * 21 + "b"), ("a\u200b", "a"),
     ("aaaaaaa…aaaaaa 1", "a" * 20, "a" * 21)],
)  # fmt: skip
def test_short_names_differ(names: tuple[str, ...]) -> None:
    found = short_names(names)
    assert len(set(found)) == len(names)
    assert max(map(len, found)) <= 19


def test_runs_of_one_name_are_told_apart() -> None:
    assert run_names([Path("/x/a/step-100"), Path("/x/b/step-100"), Path("/x/b/other")]) == [
        "a/step-100",
        "b/step-100",
        "other",
    ]
    assert run_names([Path("/x/step-100"), "step 100"]) == ["step-100", "step 100"]
    assert run_names([Path("/r"), Path("/r"), "r (2)"]) == ["r", "r (2)", "r (2) (2)"]
