"""What a user may type after ``--model`` and ``-o``, and what is said when it is wrong."""

from pathlib import Path

import pytest

from anymal_eval.errors import BadDefinition, NotInCatalog, WrongUse
from anymal_eval.models._load import choose


def test_options_are_typed_and_unknown_ones_refused() -> None:
    assert choose("constant", {"says": "no"}).options.says == "no"
    with pytest.raises(WrongUse, match="constant has no option 'say'; did you mean says"):
        choose("constant", {"say": "no"})
    with pytest.raises(WrongUse, match="has no option 'precision'"):
        choose("constant", {}, {"precision": "bf16"})
    with pytest.raises(WrongUse, match="option field must be one of results, outputs, not 'output'"):
        choose("replay:x.json", {"field": "output"})
    with pytest.raises(WrongUse, match="model replay needs checkpoint: give --model replay:CHECKPOINT"):
        choose("replay", {})
    with pytest.raises(NotInCatalog, match="no model named 'blip'"):
        choose("blip", {})


def test_a_model_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models.py").write_text(
        """
from anymal_eval.models import constant


class Shouts:
    Options = constant.Options

    @staticmethod
    def accepts(options):
        return frozenset({"audio"})

    @staticmethod
    def load(options):
        return constant.load(constant.Options(says=options.says.upper()))
"""
    )
    package = tmp_path / "own_pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "my_models.py").rename(package / "models.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = choose("own_pack.models:Shouts", {"says": "quiet"})
    assert spec.accepts == {"audio"}
    assert spec.load().fingerprint == "constant:QUIET"
    with pytest.raises(NotInCatalog, match="has no 'Whispers'"):
        choose("own_pack.models:Whispers", {})
    with pytest.raises(BadDefinition, match="must have Options"):
        choose("anymal_eval.errors:WrongUse", {})
    with pytest.raises(NotInCatalog, match="is the package installed"):
        choose("no_such_package.models:Model", {})
