"""Hand-made results.json files, and scored runs without a model."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from anymal_eval import metrics
from anymal_eval.codec import write_json, write_json_pretty
from anymal_eval.store import digests, manifest
from anymal_eval.store.atomic import write_atomic
from anymal_eval.store.folder import RunFolder


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder that holds only its results."""

    def write(data: Any, name: str = "night") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(data), encoding="utf-8")
        return folder

    return write


def display_of(rule: str, stats: NDArray[np.float64]) -> list[float | None]:
    metric = metrics.get(rule)
    return [None] * len(stats) if metric.display is None else metric.display(stats).tolist()


@pytest.fixture
def scored(tmp_path: Path) -> Callable[..., Path]:
    """Write a scored run folder of one metric a task, with its digests, without asking any model."""

    def write(name: str, tasks: Mapping[str, NDArray[np.float64]] | None = None, **more: Any) -> Path:
        """``more``: ids, states, signature, prompts, n, subset, data, model, clusters, groups, headline_group, rule."""
        root = tmp_path / name
        identity = {"model": more.get("model", "made-up"), "limit": None, "ablate": "none", "ptb": "python",
                    "fingerprint": name}  # fmt: skip
        whole = manifest.new(identity, more.get("model", "made-up"), {"python": "3.11", "git": name})
        rows: list[dict[str, Any]] = []
        with RunFolder(root) as folder:
            for task, stats in (tasks or {}).items():
                rule = more.get("rule") or RULES[task]
                whole = replace(whole, tasks={**whole.tasks, task: entry_of(len(stats), **more)})
                (root / task).mkdir()
                shown = display_of(rule, stats)
                names = more.get("ids") or [f"e{at}" for at in range(len(stats))]
                states = more.get("states") or ["ok"] * len(stats)
                folder.write_scores(task, [
                    write_json({"id": names[at], "cluster": (more.get("clusters") or names)[at], "state": states[at],
                     "raw": f"said {shown[at]}", "answer": f"said {shown[at]}",
                     "groups": (more.get("groups") or [{"type": "ab"[at % 2]}] * len(stats))[at],
                     "scores": {} if shown[at] is None or states[at] == "error" else {rule: shown[at]}})
                    for at in range(len(stats))
                ])  # fmt: skip
                kept = np.array([state != "error" for state in states])
                folder.write_statistics(task, {rule: stats[kept]})
                group = more.get("headline_group") or {}
                labels = more.get("groups") or [{"type": "ab"[at % 2]} for at in range(len(stats))]
                within = np.array([group.items() <= one.items() for one in labels])
                types = np.array([one.get("type", "") for one in labels])[kept & within]
                rows.append(measured(task, rule, stats[kept & within], (states, within, types), more))
            whole = folder.start(whole)
            run = {"name": whole.run, "model": identity["model"]}
            results = {"schema": 1, "run": run, "measurements": rows, "not_computed": []}
            write_atomic(root / "results.json", write_json_pretty(results))
            digests.write(root, whole.tasks)
        return root

    return write


RULES = {"vqav2": "vqa_accuracy@2021", "scienceqa": "choice_accuracy@1", "coco": "cider@1",
         "hateful_memes": "roc_auc@1", "star": "mean_type_accuracy@1"}  # fmt: skip


def entry_of(n: int, **more: Any) -> manifest.TaskEntry:
    return manifest.TaskEntry(
        version=1, split="test", data=more.get("data", "official"), examples=more.get("examples", "same"),
        n=n, n_split=n, n_expected=n, labelled=True, subset=more.get("subset", ""), protocol="plain",
        prompts=more.get("prompts", "same"), reading={"clean": more.get("clean", "none")},
    )  # fmt: skip


def measured(
    task: str, rule: str, stats: NDArray[np.float64], about: tuple[Any, Any, Any], more: Mapping[str, Any]
) -> dict[str, Any]:
    """``about``: the states of all examples, which of them the headline covers, and their types where scored."""
    metric = metrics.get(rule)
    states, within, types = about
    value = float(metric.reduce(stats, np.ones((1, len(stats))), {"type": types})[0, 0]) if len(stats) else 0.0
    covered = [state for state, one in zip(states, within, strict=True) if one]
    counted = {name: covered.count(name) for name in ("ok", "empty", "unparsable", "error")}
    return {
        "task": task, "split": "test", "data": more.get("data", "official"), "protocol": "plain",
        "metric": metric.name, "version": metric.version, "output": metric.outputs[0].name,
        "signature": more.get("signature", rule), "value": value, "unit": metric.outputs[0].unit, "better": "higher",
        "ci_low": None, "ci_high": None, "ci_method": "", "n": len(stats), "n_expected": None, "states": counted,
        "group": more.get("headline_group"), "headline": True,
    }  # fmt: skip
