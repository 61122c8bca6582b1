"""One real vLLM server for the session, started by the product itself, and its checkpoint in transformers."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anymal_eval.models import choose_model
from tests.models.vllm.served import ARGUMENTS, SERVER_ENVIRONMENT, python_with_vllm, write_llava


@dataclass
class Served:
    """``model`` is the one of ``vllm:``."""

    folder: Path
    model: Any
    reports: list[str]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from anymal_eval.checkpoints.loading import quiet
    from anymal_eval.models.vllm import Options, load_reporting

    python = python_with_vllm()
    if python is None:
        pytest.skip("there is no environment with vLLM: make vllm-environment")
    home = tmp_path_factory.mktemp("served-by-vllm")
    with quiet():
        write_llava(home / "llava")
    before = {name: os.environ.get(name) for name in (*SERVER_ENVIRONMENT, "ANYMAL_EVAL_CACHE")}
    os.environ.update(SERVER_ENVIRONMENT, ANYMAL_EVAL_CACHE=str(home / "cache"))
    reports: list[str] = []
    options = Options(
        checkpoint=str(home / "llava"), python=str(python), precision="fp32", context=2048, vllm_args=ARGUMENTS
    )
    try:
        model = load_reporting(options, reports.append)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    yield Served(home / "llava", model, reports)
    model.close()


@pytest.fixture(scope="session")
def local(served: Served) -> Iterator[Any]:
    """The same checkpoint as ``hf:``."""
    model = choose_model(f"hf:{served.folder}", {"device": "cpu"}).load()
    yield model
    model.close()
