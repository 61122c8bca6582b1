"""The tokenizer without Java equals the official one: on recorded pairs, on strings made up here, and rule by rule."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from anymal_eval.errors import NeedsJava
from anymal_eval.metrics import _ptb, _ptb_java
from anymal_eval.metrics._ptb_rules import RULES, Rule
from tests.metrics.tokenizer_strings import Strings, UnicodeStrings

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="there is no java on PATH")


@pytest.fixture
def text(golden: Path) -> Path:
    return golden / "text"


def test_the_recorded_pairs(text: Path) -> None:
    with gzip.open(text / "ptb_pairs.jsonl.gz", "rt", encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]
    assert len(pairs) == 97_330
    # Which line followed each was not recorded. Where that line decides, one of its two effects must fit.
    alone = [_ptb.tokenise(pair["in"]) for pair in pairs]
    before_starter = [
        _ptb.tokenise_all([pair["in"], "The end", ""])[0] for pair in pairs if _ptb._SEES_NEXT_LINE(pair["in"])
    ]
    starters = iter(before_starter)
    differ, open_cases = [], 0
    for pair, tokens in zip(pairs, alone, strict=True):
        other = next(starters) if _ptb._SEES_NEXT_LINE(pair["in"]) else tokens
        open_cases += tokens != other
        if pair["out"] not in (tokens, other):
            differ.append(pair["in"])
    assert differ == []
    assert open_cases == 1050, "captions that end in a single letter and a period"


@needs_java
def test_the_recorded_captions_as_one_file(text: Path) -> None:
    with gzip.open(text / "ptb_pairs.jsonl.gz", "rt", encoding="utf-8") as lines:
        captions = [json.loads(line)["in"] for line in lines]
    assert _ptb.tokenise_all(captions) == _ptb_java.tokenise_all(captions)


def test_the_recorded_probes(text: Path) -> None:
    probes = [json.loads(line) for line in (text / "ptb_probes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(probes) == 212
    assert [probe for probe in probes if _ptb.tokenise(probe["in"]) != probe["out"]] == []


@needs_java
@pytest.mark.parametrize("seed", [1, 2])
def test_made_up_strings_equal_the_official_tokenizer(seed: int) -> None:
    strings = Strings(seed)
    ascii_characters = "".join(map(chr, range(32, 127)))
    made = [strings.caption() for _ in range(12_000)]
    made += [strings.noise(ascii_characters) for _ in range(4_000)]
    made += [strings.noise(ascii_characters + "éèÀßœŁ ’“ aaannttsS  ..''--") for _ in range(4_000)]
    differ = [
        (one, official, ours)
        for one, official, ours in zip(made, _ptb_java.tokenise_all(made), _ptb.tokenise_all(made), strict=True)
        if official != ours
    ]
    assert len(made) == 20_000
    assert differ == []


@needs_java
@pytest.mark.parametrize("seed", [3, 4])
def test_strings_in_all_scripts_equal_the_official_tokenizer(seed: int) -> None:
    made = list(UnicodeStrings(seed).captions(10_000))
    differ = [
        (one, official, ours)
        for one, official, ours in zip(made, _ptb_java.tokenise_all(made), _ptb.tokenise_all(made), strict=True)
        if official != ours
    ]
    assert differ == []


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        ("a \xadcan't b", "a ca n't b"),
        ("\xad5-year-old", "5 year-old"),
        ("😀www.foo.org", "😀www.foo.org"),
        ("5\xad5 1,\xad000", "55 1 000"),
        ("O'\xadNeil y'\xadall", "o neil y all"),
        ("a\xad.jpg x", "a\xad.jpg x"),
        ("ΑΣ-ΒΣ ΑΣ5 ΑΣ", "ασ-βς ας5 ας"),
        ("x⁻¹ m₊₂", "x ⁻¹ m ₊₂"),
        ("No. ٣ १/२", "no. ٣\xa0१/२"),
        ("AT&amp;T., x", "at&t. x"),
        ("The \u2005\u3000x.com", "the x.com"),
        ("x\ud83d y", "x y"),
    ],
)
def test_beyond_latin_text(caption: str, tokens: str) -> None:
    assert _ptb.tokenise(caption) == tokens
    if shutil.which("java") is not None:
        assert _ptb_java.tokenise_all([caption, "x x"])[0] == tokens


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_on_its_example(rule: Rule) -> None:
    assert _ptb.tokenise(rule.example) == rule.tokens


@needs_java
def test_the_examples_are_the_official_ones() -> None:
    lines = [line for rule in RULES for line in (rule.example, "x x")]
    assert _ptb_java.tokenise_all([*lines, "x"])[:-1:2] == [rule.tokens for rule in RULES]


@pytest.mark.parametrize(
    ("captions", "tokens"),
    [
        (["Vitamin C.", "The fruit"], ["vitamin c", "the fruit"]),
        (["Vitamin C.", "", " The fruit"], ["vitamin c", "", "the fruit"]),
        (["Vitamin C.", "the fruit"], ["vitamin c.", "the fruit"]),
        (["House no.", "5 Main"], ["house no.", "5 main"]),
        (["House no.", "five"], ["house no", "five"]),
        (["in '90", "in '90"], ["in '90", "in 90"]),
        (["a\nb", "c\r\vd\fe\u2028f\u2029g", "h"], ["a b", "c d e f g", "h"]),
        (["", " ", "."], ["", "", ""]),
        ([], []),
    ],
)
def test_captions_are_one_file(captions: list[str], tokens: list[str]) -> None:
    assert _ptb.tokenise_all(captions) == tokens
    if shutil.which("java") is not None:
        assert _ptb_java.tokenise_all(captions) == tokens


def test_without_java_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NeedsJava, match="java"):
        _ptb_java.tokenise_all(["a"])
