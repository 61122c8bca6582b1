"""The configuration file of ``run``: models x protocols over tasks, its messages, its schema, and what init writes."""

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from anymal_eval import evaluation
from anymal_eval.cli._config import commented, parameters, schema
from anymal_eval.cli.init import init
from anymal_eval.cli.run import run
from anymal_eval.errors import BadDefinition, WrongUse
from anymal_eval.evaluation.config_file import resolved_text
from tests.conftest import ROOT

CONFIG = """
tasks = ["hateful_memes"]
data = "demo"
demo-examples = 10
protocols = ["plain", "anymal-2023"]
models = [
  {model = "constant", name = "no", options = {says = "no"}},
  {model = "constant", name = "yes", options = {says = "yes"}},
]
"""


def call(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str, name: str = "eval.toml") -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def identity(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "manifest.json").read_text())["identity"]
    return found


def test_every_model_under_every_protocol() -> None:
    done = call(run, "--config", written(CONFIG), "--limit", 6)
    assert done.exit_code == 0, done.exception
    roots = {root.name: root for root in Path("results/runs").iterdir()}
    assert set(roots) == {"no-plain", "no-anymal-2023", "yes-plain", "yes-anymal-2023"}
    assert {name: identity(root)["protocol"] for name, root in roots.items()} == {
        name: name.partition("-")[2] for name in roots
    }
    assert all(identity(root)["limit"] == 6 for root in roots.values())
    echoed = tomllib.loads((roots["yes-plain"] / "config.toml").read_text())
    assert (echoed["options"], echoed["limit"], echoed["protocol"]) == ({"says": "yes"}, 6, "plain")
    before = (roots["yes-plain"] / "results.json").read_bytes()
    done = call(run, "--config", roots["yes-plain"] / "config.toml", "--out", roots["yes-plain"])
    assert done.exit_code == 0, done.exception
    assert (roots["yes-plain"] / "results.json").read_bytes() == before


def test_yaml_is_the_same_and_the_command_line_goes_first() -> None:
    file = written(yaml.safe_dump(tomllib.loads(CONFIG)), "eval.yaml")
    done = call(run, "--config", file, "--model", "constant", "-o", "says=maybe", "--protocol", "plain", "--out", "one")
    assert done.exit_code == 0, done.exception
    assert (identity(Path("one"))["protocol"], identity(Path("one"))["limit"]) == ("plain", None)
    assert tomllib.loads(Path("one/config.toml").read_text())["options"] == {"says": "maybe"}


def test_one_run_that_fails_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    file = written(CONFIG.replace('says = "no"', 'sayz = "no"').replace('["plain", "anymal-2023"]', '["plain"]'))
    assert run.main(["--config", str(file), "--out", "both"], standalone_mode=False) == 1
    assert "error: constant, plain: model constant has no option 'sayz'" in capsys.readouterr().err
    assert [root.name for root in Path("both").iterdir()] == ["yes"]
    assert Path("both/yes/results.json").is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks = ['coco']\nlimmit = 3\n", "line 2: unknown key limmit; did you mean limit?"),
        ("tasks = ['coco']\n\nlimit = 2.5\n", "line 3: limit: '2.5' is not a valid integer"),
        ("limit = true\n", "line 1: limit: True is no value of this option"),
        ("with_blind = 'yes'\n", "line 1: with_blind: write true or false"),
        ("data = 'webb'\n", "line 1: data: 'webb' is not one of"),
        ("models = []\n", "line 1: models must be a list with at least one item"),
        ("models = [{modell = 'hf:a/b'}]\n", "line 1: a model is a name, or a table"),
        ("models = [\n {model = 'hf:a/b', devise = 'cpu'}]\n", "line 2: unknown key devise; did you mean device?"),
        ("model = 'a'\nmodels = ['b']\n", "line 2: give model or models"),
        ("limit = 1\nlimit = 2\n", "eval.toml"),
        ("[limit]\nx = 1\n", "line 1: limit: {'x': 1} is no value of this option"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, message: str) -> None:
    done = call(run, "--config", written(text))
    assert isinstance(done.exception, BadDefinition), done.exception
    assert str(done.exception).startswith("eval.toml")
    assert message in str(done.exception)


@pytest.mark.parametrize("text", ["a: b: c", "limit: 1\nlimit: 2\n", "- a\n", "limmit: 1\n"])
def test_bad_yaml(text: str) -> None:
    done = call(run, "--config", written(text, "eval.yaml"))
    assert isinstance(done.exception, BadDefinition), done.exception


def test_two_runs_of_one_name_are_refused() -> None:
    done = call(run, "--config", written(CONFIG.replace('"yes", ', '"no", ')))
    assert isinstance(done.exception, WrongUse)
    assert "give each model a name of its own" in str(done.exception)


def test_no_secret_is_echoed() -> None:
    text = resolved_text(
        {"options": {"api_key": "abcSECRET", "n": 1}, "system": "https://me:abcSECRET@host/x?k=abcSECRET"}
    )
    assert "SECRET" not in text
    assert tomllib.loads(text) == {"options": {"api_key": "***", "n": 1}, "system": "https://***@host/x?***"}


def test_init_writes_what_runs_and_fits_the_schema() -> None:
    assert call(init).exit_code == 0
    text = Path("eval.toml").read_text()
    jsonschema.validate(tomllib.loads(text), schema(run))
    assert isinstance(call(init).exception, WrongUse)
    assert Path("eval.toml").read_text() == text
    for name in parameters(run):
        assert f"\n{name} = " in text or f"\n# {name} = " in text or name in ("model", "protocol"), name
    # Each line that is commented out is valid by itself.
    for line in text.splitlines():
        if line.startswith("# ") and " = " in line and not line.startswith("# models"):
            jsonschema.validate(tomllib.loads(line[2:]), schema(run))


def test_the_schema_that_is_shipped_is_that_of_the_options() -> None:
    shipped = Path(evaluation.__file__).parent / "config.schema.json"
    assert json.loads(shipped.read_text()) == schema(run), "anymal-eval init --schema > both files"
    assert (ROOT / "docs" / "config.schema.json").read_bytes() == shipped.read_bytes()
    jsonschema.Draft202012Validator.check_schema(schema(run))
    jsonschema.validate({key.replace("-", "_"): value for key, value in tomllib.loads(CONFIG).items()}, schema(run))
    for wrong in ({"limmit": 3}, {"limit": 0}, {"data": "web"}, {"models": [{"name": "x"}]}, {"with_blind": "yes"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema(run))
    assert commented(run).endswith("\n")
