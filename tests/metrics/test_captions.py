"""Caption metrics: equal to pycocoevalcap, on published predictions and on strange captions."""

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from anymal_eval.errors import BadDefinition, NeedsExtra, NeedsJava
from anymal_eval.metrics import Floats, _captions, get, missing_requirement, shared_work, spice
from anymal_eval.metrics.rouge_l import common_length, word_masks
from anymal_eval.records import Answer, Example

java = pytest.mark.skipif(shutil.which("java") is None, reason="no Java runtime")


class Case(NamedTuple):
    names: list[str]
    examples: list[Example]
    answers: list[Answer]
    expected: dict[str, Any]


def _pairs(rows: list[tuple[list[str], str]]) -> tuple[list[Example], list[Answer]]:
    examples = [
        Example(id=str(at), cluster=str(at), kind="caption", references=tuple(references))
        for at, (references, _) in enumerate(rows)
    ]
    return examples, [Answer(state="ok", text=caption) for _, caption in rows]


@cache
def _coco(golden: Path) -> Case:
    references: dict[int, list[str]] = {}
    for row in json.loads((golden / "coco" / "captions_test5k.json").read_text())["annotations"]:
        references.setdefault(row["image_id"], []).append(row["caption"])
    found = {
        row["image_id"]: row["caption"] for row in json.loads((golden / "coco/predictions_puret.json").read_text())
    }
    expected = json.loads((golden / "coco" / "expected_puret.json").read_text())
    return Case(list(map(str, found)), *_pairs([(references[image], found[image]) for image in found]), expected)


@cache
def _audiocaps(golden: Path) -> Case:
    with (golden / "audiocaps" / "predictions_example_2.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    expected = json.loads((golden / "audiocaps" / "expected_example_2.json").read_text())
    pairs = [([row[f"caption_{at}"] for at in range(1, 6)], row["caption_predicted"]) for row in rows]
    return Case(list(map(str, range(len(rows)))), *_pairs(pairs), expected)


def _compute(name: str, examples: list[Example], answers: list[Answer]) -> tuple[list[float], Floats]:
    metric = get(name)
    stats = metric.statistics(examples, answers)
    assert metric.display is not None
    return metric.reduce(stats, np.ones((1, len(stats))), {})[0].tolist(), metric.display(stats)


def _per_item(case: Case, key: str) -> list[float]:
    return [case.expected["per_item"][name][key] for name in case.names]


@pytest.mark.parametrize("load", [_coco, _audiocaps])
def test_published_captions(golden: Path, load: Any) -> None:
    case = load(golden)
    for name, total, item in (
        ("bleu", "bleu", "bleu4"),
        ("rouge_l", "rouge_l", "rouge_l"),
        ("cider", "cider", "cider"),
    ):
        values, display = _compute(name, case.examples, case.answers)
        assert values == pytest.approx(np.atleast_1d(case.expected[total]).tolist(), abs=1e-12)
        np.testing.assert_allclose(display, _per_item(case, item), atol=1e-9)


def test_the_figures_of_the_papers(golden: Path) -> None:
    assert _compute("cider", *_coco(golden)[1:3])[0] == pytest.approx([1.381600541481167], abs=1e-12)
    assert _compute("cider", *_audiocaps(golden)[1:3])[0] == pytest.approx([0.634285], abs=5e-7)


@java
def test_meteor_of_published_captions(golden: Path) -> None:
    coco, audiocaps = _coco(golden), _audiocaps(golden)
    metric = get("meteor")  # both at once: the jar takes seconds to start, and its rows do not depend on each other
    stats = metric.statistics(coco.examples + audiocaps.examples, coco.answers + audiocaps.answers)
    parts = np.split(stats, [len(coco.names)])
    for case, part, value in zip((coco, audiocaps), parts, (0.301907, 0.225167), strict=True):
        corpus = metric.reduce(part, np.ones((1, len(part))), {})[0, 0]
        assert corpus == pytest.approx(value, abs=5e-7)
        assert corpus == pytest.approx(case.expected["meteor"], abs=1e-12)
        assert metric.display is not None
        np.testing.assert_allclose(metric.display(part), _per_item(case, "meteor"), atol=1e-12)


WORDS = [
    "a",
    "the",
    "dog",
    "cat",
    "runs",
    "sits",
    "on",
    "the mat",
    "isn't",
    "well-worn",
    "U.S.",
    "$5",
    "(new)",
    "red.",
    ",",
]


def _random_rows(images: int, seed: int) -> list[tuple[list[str], str]]:
    random = np.random.default_rng(seed)

    def caption(low: int) -> str:
        return " ".join(random.choice(WORDS, random.integers(low, 12)))

    return [([caption(0) for _ in range(random.integers(1, 7))], caption(0)) for _ in range(images)]


@java
@pytest.mark.parametrize(("images", "seed"), [(1, 1), (2, 2), (200, 3)])
def test_equal_to_pycocoevalcap(images: int, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Also on empty captions, single images and repeated words."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    rows = _random_rows(images, seed)
    gts = {at: _captions.tokenise(references) for at, (references, _) in enumerate(rows)}
    res = {at: _captions.tokenise([caption]) for at, (_, caption) in enumerate(rows)}
    pairs = _pairs(rows)
    bleu, bleu_items = Bleu(4).compute_score(gts, res, verbose=0)
    values, display = _compute("bleu", *pairs)
    assert values == pytest.approx(bleu, abs=1e-12)
    np.testing.assert_allclose(display, bleu_items[3], atol=1e-12)
    for name, scorer in (("rouge_l", Rouge()), ("cider", Cider())):
        value, items = scorer.compute_score(gts, res)
        got, display = _compute(name, *pairs)
        assert got == pytest.approx([float(value)], abs=1e-12)
        np.testing.assert_allclose(display, items, atol=1e-12)
    capfd.readouterr()


def test_common_subsequence_by_the_textbook() -> None:
    random = np.random.default_rng(5)
    for _ in range(200):
        one = [str(at) for at in random.integers(0, 4, random.integers(0, 9))]
        two = [str(at) for at in random.integers(0, 4, random.integers(0, 9))]
        table = np.zeros((len(one) + 1, len(two) + 1), int)
        for at, left in enumerate(one, 1):
            for to, right in enumerate(two, 1):
                same = table[at - 1, to - 1] + 1 if left == right else 0
                table[at, to] = max(same, table[at - 1, to], table[at, to - 1])
        assert common_length(word_masks(one), len(one), two) == table[-1, -1]


def test_answers_in_turn_to_the_same_references(capfd: pytest.CaptureFixture[str]) -> None:
    """Long captions, and words that no reference has, as the official code scores them; references are counted once."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    random = np.random.default_rng(9)
    words = [f"{letter}{at}" for letter in "abcd" for at in range(8)]

    def caption(longest: int) -> str:
        return " ".join(random.choice(words[: random.integers(4, 33)], random.integers(1, longest)))

    references = {str(at): [caption(300 if at % 5 == 0 else 15) for _ in range(3)] for at in range(40)}
    examples = [
        Example(id=name, cluster=name, kind="caption", references=tuple(own)) for name, own in references.items()
    ]
    turns = [{name: [f"{caption(130 if int(name) % 4 == 0 else 15)} {new}"] for name in references} for new in "xy"]
    with shared_work():
        for given in turns:
            answers = [Answer(state="ok", text=given[name][0]) for name in references]
            for name, official in (("rouge_l", Rouge()), ("cider", Cider()), ("bleu", Bleu(4))):
                _, display = _compute(name, examples, answers)
                per_item = official.compute_score(references, given)[1]
                expected = per_item[-1] if name == "bleu" else per_item  # of BLEU-4
                np.testing.assert_allclose(display, expected, atol=1e-12)
    capfd.readouterr()  # the official code prints


def test_document_frequencies_are_those_of_all_examples() -> None:
    """An errored answer changes no other row, and another set of references changes the signature."""
    examples, answers = _pairs(_random_rows(20, 7))
    all_rows = get("cider").statistics(examples, answers)
    failed = get("cider").statistics(examples, [Answer(state="error"), *answers[1:]])
    np.testing.assert_array_equal(all_rows[1:], failed[1:])
    context = get("cider").context
    assert context is not None
    assert context(examples).startswith("idf ")
    assert context(examples) == context(examples[::-1])
    assert context(examples) != context(examples[1:])


def test_captions_are_tokenised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from anymal_eval.metrics import _ptb

    requested: list[str] = []
    real: Callable[[Sequence[str]], list[str]] = _ptb.tokenise_all

    def counting(captions: Sequence[str]) -> list[str]:
        requested.extend(captions)
        return real(captions)

    monkeypatch.setattr(_ptb, "tokenise_all", counting)
    _captions.forget()
    rows = _random_rows(10, 8)
    for name in ("bleu", "rouge_l", "cider", "bleu"):
        _compute(name, *_pairs(rows))
    assert len(requested) == len(set(requested))
    assert set(requested) == {caption for _, caption in rows} | {text for references, _ in rows for text in references}


@java
def test_the_jar_can_be_selected() -> None:
    examples, answers = _pairs([(["A well-worn dog's toy."], "A toy!"), (["It isn't."], "it is")])
    ours = _compute("bleu", examples, answers)[0]
    with _captions.use_ptb("java"):
        assert _compute("bleu", examples, answers)[0] == ours
        for name in ("bleu", "rouge_l", "meteor", "spice"):
            context = get(name).context
            assert context is not None
            assert context(examples) == "ptb java"
        context = get("cider").context
        assert context is not None
        assert context(examples).endswith(", ptb java")


@pytest.mark.parametrize("name", ["bleu", "rouge_l", "cider", "meteor"])
def test_missing_references_are_named(name: str) -> None:
    one = Example(id="image 7", cluster="1", kind="caption")
    with pytest.raises(BadDefinition, match="'image 7'"):
        get(name).statistics([one], [Answer(state="ok", text="x")])


@pytest.mark.usefixtures("own_java")
def test_without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("meteor", "spice", "spider"):
        assert missing_requirement(get(name)) == "no Java runtime on the PATH"
    assert missing_requirement(get("cider")) is None
    with pytest.raises(NeedsJava, match="install"):
        get("meteor").statistics(*_pairs([(["a dog"], "a dog")]))


@pytest.fixture
def fake_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_java: None) -> Iterator[Path]:
    """A ``java`` that writes what SPICE's jar writes, without its 400 MB of models."""
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "assert 'edu.anu.spice.SpiceScorer' in sys.argv\n"
        "asked = json.load(open(sys.argv[sys.argv.index('edu.anu.spice.SpiceScorer') + 1]))\n"
        "f = lambda row: float(row['test'] in row['refs']) if row['test'] else None\n"
        "told = [{'image_id': row['image_id'], 'scores': {'All': {'f': f(row)}}} for row in reversed(asked)]\n"
        "json.dump(told, open(sys.argv[sys.argv.index('-out') + 1], 'w'))\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    spice._LAST.clear()
    yield tmp_path
    spice._LAST.clear()


def test_spice_reads_what_the_jar_writes(fake_java: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANYMAL_EVAL_SPICE", raising=False)
    rows = [(["a dog", "one dog"], "A dog."), (["a cat"], "a boat"), (["a cow"], "")]
    pairs = _pairs(rows)
    with pytest.raises(NeedsExtra, match="ANYMAL_EVAL_SPICE"):
        get("spice").statistics(*pairs)
    models = fake_java / "models"
    models.mkdir()
    monkeypatch.setenv("ANYMAL_EVAL_SPICE", str(models))
    assert "lacks stanford-corenlp-3.6.0.jar and" in str(missing_requirement(get("spider")))
    for name in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        (models / name).touch()
    assert missing_requirement(get("spider")) is None
    np.testing.assert_array_equal(get("spice").statistics(*pairs)[:, 0], [1.0, 0.0, np.nan])
    spider = get("spider").statistics(*pairs)
    np.testing.assert_array_equal(spider[:, 0], get("cider").statistics(*pairs)[:, 0])
    assert get("spider").reduce(spider[:2], np.ones((1, 2)), {})[0, 0] == pytest.approx(
        (spider[:2, 0].mean() + 0.5) / 2
    )


@pytest.mark.usefixtures("own_java")
def test_a_jar_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "java"
    program.write_text("#!/bin/sh\necho 'Error: no memory' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(NeedsExtra, match="java ended with 3: Error: no memory"):
        get("meteor").statistics(*_pairs([(["a dog"], "a dog")]))
