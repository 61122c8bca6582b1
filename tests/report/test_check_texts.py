"""What ``check`` writes: JUnit by the rules of both schemas in use, Markdown that renders, JSON that is whole."""

import json
import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from anymal_eval.report import check_texts
from anymal_eval.report.flips import Flip
from anymal_eval.report.junit import junit
from anymal_eval.report.regression import Check, TaskCheck
from anymal_eval.statistics.paired import Comparison

HOSTILE = 'a|b <script>alert("1")</script> `x` *y* \x1b[31m\nnew & line'


def compared(**more: Any) -> Comparison:
    defaults: dict[str, Any] = {
        "before": 0.5, "after": 0.4, "difference": -0.1, "low": -0.15, "high": -0.05, "error": 0.02, "p": 0.001,
        "p_worse": 0.0005, "better": "higher", "method": "exact McNemar", "n": 1000, "clusters": 1000, "changed": 100,
        "risen": 0, "fallen": 100,
    }  # fmt: skip
    return Comparison(**{**defaults, **more})


def task(name: str, word: Any, tier: Any = "blocking", **more: Any) -> TaskCheck:
    defaults: dict[str, Any] = {"why": f"because {HOSTILE}", "comparison": compared(), "p": 0.003, "detectable": 0.03}
    if word in ("refused", "not compared"):
        defaults = {"why": f"because {HOSTILE}"}
    return TaskCheck(task=name, tier=tier, word=word, **{**defaults, **more})


FLIPS = tuple(
    Flip(id=f"e{at}", cluster="c", answer_before=HOSTILE, answer_after="x" * 300, before=1.0, after=at / 100)
    for at in range(30)
)
WHOLE = Check(
    run=f"night {HOSTILE}", model="anymal:ckpt", against="base", is_demo=False, alpha=0.05,
    also_differs=("torch: 2.6 -> 2.7",),
    tasks=(
        task("a", "better"), task("b", "same"), task("c", "worse", flips=FLIPS), task("d", "worse", "watched"),
        task("e", "same", by_policy=True), task("f", "cannot tell", p=math.nan, detectable=math.nan),
        task("g", "refused", only_before=("1", "2")), task("h", "not compared", "watched"),
    ),
)  # fmt: skip


def check_junit(text: str) -> ElementTree.Element:
    """The rules that windyroad/JUnit-Schema (Ant) and Jenkins' junit-10.xsd set, where the stricter one wins."""
    root = ElementTree.fromstring(text)  # noqa: S314  # our own text
    assert (root.tag, root.attrib) == ("testsuites", {})
    for at, suite in enumerate(root):
        assert suite.tag == "testsuite"
        needed = {"name", "timestamp", "hostname", "tests", "failures", "errors", "time", "package", "id"}
        assert needed <= suite.attrib.keys() <= needed | {"skipped"}
        assert suite.attrib["name"]
        assert suite.attrib["hostname"]
        assert suite.attrib["id"] == str(at)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
        for number in ("tests", "failures", "errors", "skipped"):
            assert suite.attrib[number].isdigit()
        float(suite.attrib["time"])
        tags = [child.tag for child in suite]
        cases = suite.findall("testcase")
        assert tags == ["properties", *["testcase"] * len(cases), "system-out", "system-err"]
        for entry in suite.findall("properties/property"):
            assert entry.attrib.keys() == {"name", "value"}
            assert entry.attrib["name"] == " ".join(entry.attrib["name"].split()) != ""
        for case in cases:
            assert case.attrib.keys() == {"name", "classname", "time"}
            assert len(case) <= 1
            for outcome in case:
                assert outcome.tag in ("skipped", "error", "failure")
                assert outcome.attrib.keys() <= {"message", "type"}
                assert outcome.tag == "skipped" or "type" in outcome.attrib
                assert not list(outcome)
        assert int(suite.attrib["tests"]) == len(cases)
        for tag, number in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(suite.attrib[number]) == len(suite.findall(f"testcase/{tag}"))
    return root


def test_junit_holds_what_its_schemas_allow() -> None:
    root = check_junit(junit(WHOLE))
    outcomes = {case.attrib["name"]: [child.tag for child in case] for case in root.iter("testcase")}
    assert outcomes == {
        "a": [], "b": [], "c": ["failure"], "d": ["skipped"], "e": ["skipped"], "f": ["skipped"], "g": ["error"],
        "h": ["skipped"],
    }  # fmt: skip
    properties = {item.attrib["name"]: item.attrib["value"] for item in root.iter("property")}
    assert properties["verdict.f"] == "cannot tell"
    assert properties["verdict.d"] == "worse"
    assert properties["tier.d"] == "watched"


def test_markdown_renders() -> None:
    text = check_texts.markdown(WHOLE)
    html = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    tables = re.findall(r"<table>.*?</table>", html, re.S)
    assert len(tables) == 2
    assert tables[0].count("<tr>") == 1 + len(WHOLE.tasks)
    assert tables[1].count("<tr>") == 1 + 20
    for table in tables:
        widths = {row.count("<td>") + row.count("<th>") for row in re.findall(r"<tr>.*?</tr>", table, re.S)}
        assert len(widths) == 1, "a cell's text broke out of its cell"
    assert "<script>" not in html
    assert "\x1b" not in text
    assert "<details><summary>c: 30 examples changed, 20 shown</summary>" in text
    assert text.startswith("### ")
    assert "worse: c, d (watched)" in text.splitlines()[0].replace("\\", "")


def test_terminal_and_json() -> None:
    text = check_texts.terminal(WHOLE)
    assert "\x1b" not in text
    assert "-10.00" in text
    assert "only in the base: 2 examples (1, 2)" in text
    assert "27 more changed" in text
    data = json.loads(json.dumps(check_texts.as_data(WHOLE), allow_nan=False))
    assert data["exit_code"] == 1
    assert len(data["tasks"][2]["flips"]) == 30
    assert data["tasks"][2]["flips"][0]["before"] == {"answer": HOSTILE, "score": 1.0}
    assert data["tasks"][5]["p"] is None
    assert data["tasks"][6]["only_before"] == ["1", "2"]


@pytest.mark.parametrize(
    ("words", "code"),
    [(("same", "worse"), 3), (("worse", "cannot tell"), 3), (("cannot tell", "better"), 4), (("refused", "worse"), 1),
     (("same", "not compared"), 0)],
)  # fmt: skip
def test_what_ends_the_command(words: tuple[Any, ...], code: int) -> None:
    found = Check(run="r", model="m", against="b", is_demo=False, alpha=0.05, also_differs=(),
                  tasks=tuple(task(str(at), word) for at, word in enumerate(words)))  # fmt: skip
    error = found.error()
    assert (error.exit_code if error else 0) == code
