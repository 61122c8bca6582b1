"""A thing's file name is its name; nothing is imported before its first use."""

from pathlib import Path

import pytest

from anymal_eval import catalog
from anymal_eval.catalog import Catalog
from anymal_eval.errors import BadDefinition, NotInCatalog
from anymal_eval.metrics import Metric
from anymal_eval.task import Task
from tests.conftest import SHIPPED


def test_every_task_loads_under_its_own_name() -> None:
    known = catalog.tasks()
    assert set(known.names()) >= SHIPPED
    for name in known.names():
        task = known.get(name, "TASK", Task)
        assert task.name == name
        assert known.summary(name)


def test_every_metric_loads_and_says_its_source() -> None:
    known = catalog.metrics()
    for name in known.names():
        metric = known.get(name, "METRIC", Metric)
        assert metric.outputs, name
        assert known.summary(name), name


def test_every_model_says_what_it_takes() -> None:
    known = catalog.models()
    for name in known.names():
        module = known.module(name)
        for part in ("Options", "accepts", "load"):
            assert hasattr(module, part), f"{name} lacks {part}"


def test_near_names_are_offered() -> None:
    with pytest.raises(NotInCatalog, match="did you mean vqav2"):
        catalog.tasks().get("vqa2", "TASK", Task)
    with pytest.raises(NotInCatalog, match="no split 'tset'"):
        catalog.tasks().get("vqav2", "TASK", Task).split("tset")


def test_a_users_own_file_comes_first_and_broken_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text('"""Mine: a thing."""\nTASK = 3\n')
    (tmp_path / "_hidden.py").write_text("raise RuntimeError")
    known = Catalog("task", [tmp_path])
    assert known.names() == ["mine"]
    assert known.summary("mine") == "Mine: a thing."
    with pytest.raises(BadDefinition, match=r"mine\.py must define TASK: Task"):
        known.get("mine", "TASK", Task)
