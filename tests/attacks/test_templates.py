"""Chat templates that loop, grow, recurse or reach out: one line, and this process stays as it is."""

import shutil
from pathlib import Path

import pytest

from anymal_eval.checkpoints import templates
from anymal_eval.checkpoints.templates import render_template
from anymal_eval.errors import BadCheckpoint, RequestFailed
from anymal_eval.models import choose_model
from tests.models.conftest import _offline, tiny  # noqa: F401  # fixtures

HELLO = [{"role": "user", "content": "hello {{ 7 * 7 }}"}]
NESTED = "{% for a in range(99999) %}" * 3 + "x" + "{% endfor %}" * 3
STOPPED = {
    "loops": NESTED,
    "quiet loops": NESTED.replace("x", ""),
    "power": "{{ (9 ** (9 ** 9)) % 2 }}",
    "product": "{{ 'a' * 10 ** 10 }}",
    "padding": "{{ 'a'.ljust(10 ** 10) }}",
    "format": "{{ '%10000000000d' % 1 }}",
    "doubling": "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "lists": "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "output": "{{ 'a' * 20000000 }}",
    "replace": "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "long": "x" * (1 << 21),
}
REFUSED = {
    "range": ("{% for i in range(10 ** 9) %}x{% endfor %}", "OverflowError"),
    "macro": ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "RecursionError"),
    "syntax": ("{% for %}", "TemplateSyntaxError"),
    "raise": ("{{ raise_exception('no system role') }}", "no system role"),
    "escape": ("{{ messages.__class__.__mro__ }}", "SecurityError"),
    "include": ("{% include '/etc/passwd' %}", "TypeError"),
    "undefined": ("{{ no.such.thing }}", "UndefinedError"),
    "division": ("{{ 1 / 0 }}", "ZeroDivisionError"),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "CPU_S", 0.7)


@pytest.mark.parametrize("name", STOPPED)
def test_a_template_without_end_is_stopped(name: str) -> None:
    with pytest.raises(BadCheckpoint, match=r"^the chat template (was stopped: it|is longer than)") as caught:
        render_template(STOPPED[name], HELLO, {})
    assert "\n" not in str(caught.value)
    assert render_template("{{ messages[0].content }}", HELLO, {}) == "hello {{ 7 * 7 }}", "the next one is rendered"


@pytest.mark.parametrize("name", REFUSED)
def test_a_template_that_refuses_says_why(name: str) -> None:
    template, why = REFUSED[name]
    with pytest.raises(RequestFailed, match=why) as caught:
        render_template(template, HELLO, {})
    assert "\n" not in str(caught.value)


def test_variables_and_ways_to_end() -> None:
    template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    )
    messages = [*HELLO, {"role": "assistant", "content": "yes"}]
    assert render_template(template, HELLO, {"bos_token": "<s>"}) == "<s>[hello {{ 7 * 7 }}]A:"
    assert render_template(template, messages, {}, opened=False, cut=True) == "[hello {{ 7 * 7 }}][yes"


def test_a_checkpoint_with_a_looping_template_is_refused(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(request.getfixturevalue("tiny")("llava"), tmp_path / "looping"))
    (folder / "chat_template.jinja").write_text(NESTED)
    with pytest.raises(BadCheckpoint, match="the chat template was stopped: it does not end within"):
        choose_model(f"hf:{folder}", {"device": "cpu"}).load()
