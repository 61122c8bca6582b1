"""The workflow example calls commands and options that exist."""

import re
import shlex

import yaml

from anymal_eval.cli.check import check
from anymal_eval.cli.run import run
from tests.conftest import ROOT

COMMANDS = {"run": run, "check": check}


def test_the_example_calls_what_exists() -> None:
    file = ROOT / "docs" / "github-actions-check.yml"
    steps = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]["check"]["steps"]
    scripts = "\n".join(step.get("run", "") for step in steps).replace("\\\n", " ")
    called = re.findall(r"anymal-eval (run|check) (.*)", scripts)
    assert [name for name, _ in called] == ["run", "check"]
    for name, given in called:
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        assert {word for word in shlex.split(given) if word.startswith("-")} <= known
