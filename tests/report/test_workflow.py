"""The workflow example calls commands and options that exist."""

import re
import shlex
import tomllib

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


def test_the_image_copies_what_exists_and_installs_an_extra_that_is_there() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert len(copied) == 7
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (extras,) = re.findall(r'^ARG EXTRAS="(.*)"$', text, re.MULTILINE)
    assert set(extras.split(",")) <= project["project"]["optional-dependencies"].keys()
    assert f"FROM python:{project['project']['requires-python'].removeprefix('>=')}-slim" in text
    # What the build needs of the checkout: the files that pyproject.toml puts into the wheel.
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["packages"], *wheel["force-include"]} <= set(copied)
