"""What a user may type after ``--model`` and ``-o``, and the messages when it is wrong."""

from pathlib import Path

import pytest

from anymal_eval.errors import BadDefinition, NotInCatalog, WrongUse
from anymal_eval.models import choose_model


def test_options_are_typed_and_unknown_ones_refused() -> None:
    assert choose_model("constant", {"says": "no"}).options.says == "no"
    with pytest.raises(WrongUse, match="constant has no option 'say'; did you mean says"):
        choose_model("constant", {"say": "no"})
    with pytest.raises(WrongUse, match="has no option 'precision'"):
        choose_model("constant", {}, {"precision": "bf16"})
    with pytest.raises(WrongUse, match="option field must be one of results, outputs, not 'output'"):
        choose_model("replay:x.json", {"field": "output"})
    with pytest.raises(WrongUse, match="model replay needs checkpoint: give --model replay:CHECKPOINT"):
        choose_model("replay", {})
    with pytest.raises(NotInCatalog, match="no model named 'blip'"):
        choose_model("blip", {})


def test_the_address_of_a_server_may_stand_behind_the_name() -> None:
    options = choose_model("openai:a/b@c@http://127.0.0.1:1/v1", {"dialect": "vllm"}).options
    assert (options.checkpoint, options.url, options.dialect) == ("a/b@c", "http://127.0.0.1:1/v1", "vllm")
    assert choose_model("openai:a@main", {}).options.checkpoint == "a@main"
    assert choose_model("replay:a@http://b.json", {}).options.checkpoint == "a@http://b.json"
    with pytest.raises(WrongUse, match="address is given twice, behind @ and as option url") as refused:
        choose_model("openai:a@http://me:secret@127.0.0.1:1/v1", {"url": "http://me:secret@x"})
    assert "secret" not in str(refused.value)


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
    spec = choose_model("own_pack.models:Shouts", {"says": "quiet"})
    assert spec.accepts == {"audio"}
    assert spec.load().fingerprint == "constant:QUIET"
    with pytest.raises(NotInCatalog, match="has no 'Whispers'"):
        choose_model("own_pack.models:Whispers", {})
    with pytest.raises(BadDefinition, match="must have Options"):
        choose_model("anymal_eval.errors:WrongUse", {})
    with pytest.raises(NotInCatalog, match="is the package installed"):
        choose_model("no_such_package.models:Model", {})
