"""A check as JUnit XML: one suite per run, one test case per task.

============================  =====================================================
verdict                       test case
============================  =====================================================
better, same                  passed
worse                         failure; skipped where the task is only watched
cannot tell                   skipped, so that no viewer shows it as passed
same by policy                skipped: more than chance, within the allowed limit
refused                       error
not compared                  skipped
============================  =====================================================

Every verdict is also a property of the suite (``verdict.TASK``), because the common schemas have no properties of test
cases. The file is valid under the Ant schema (windyroad/JUnit-Schema) and that of Jenkins' xUnit plugin (junit-10.xsd).
"""

from __future__ import annotations

import datetime
from xml.etree import ElementTree

from anymal_eval.report.regression import Check, TaskCheck
from anymal_eval.visible import visible_line


def junit(found: Check) -> str:
    """The check as a JUnit XML document."""
    cases = [(item, _outcome(item)) for item in found.tasks]
    count = {kind: str(sum(outcome == kind for _, outcome in cases)) for kind in ("failure", "error", "skipped")}
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {
            "name": _text(f"anymal-eval check {found.run}"),
            "package": "anymal_eval.check",
            "id": "0",
            "hostname": "localhost",
            "timestamp": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "time": "0",
            "tests": str(len(cases)),
            "failures": count["failure"],
            "errors": count["error"],
            "skipped": count["skipped"],
        },
    )
    properties = ElementTree.SubElement(suite, "properties")
    facts = {"run": found.run, "against": found.against, "model": found.model}
    facts |= {f"verdict.{item.task}": item.word for item in found.tasks}
    facts |= {f"tier.{item.task}": item.tier for item in found.tasks}
    for name, value in facts.items():
        ElementTree.SubElement(properties, "property", {"name": _text(name), "value": _text(value)})
    for item, outcome in cases:
        case = ElementTree.SubElement(
            suite, "testcase", {"name": _text(item.task), "classname": f"check.{item.tier}", "time": "0"}
        )
        if outcome != "passed":
            reported = ElementTree.SubElement(case, outcome, {"message": _text(f"{_label(item)}: {item.why}")})
            if outcome != "skipped":
                reported.set("type", item.word)
                reported.text = _text(f"{item.metric} {item.signature}")
    ElementTree.SubElement(suite, "system-out")
    ElementTree.SubElement(suite, "system-err")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _outcome(item: TaskCheck) -> str:
    match item.word:
        case "worse":
            return "failure" if item.tier == "blocking" else "skipped"
        case "refused":
            return "error"
        case "cannot tell" | "not compared":
            return "skipped"
        case _:
            return "skipped" if item.by_policy else "passed"


def _label(item: TaskCheck) -> str:
    if item.by_policy:
        return "same by policy"
    return f"{item.word}, only watched" if item.word == "worse" and item.tier == "watched" else item.word


def _text(text: str) -> str:
    # XML 1.0 allows no control characters, not even escaped.
    return visible_line(text)
