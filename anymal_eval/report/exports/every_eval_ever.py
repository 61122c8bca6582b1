"""Every Eval Ever 0.3.0: one aggregate JSON file per run, and a line per example in ``{uuid}_samples.jsonl``."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from anymal_eval.codec import read_json, write_json
from anymal_eval.records import Example
from anymal_eval.report.exports import Exported, size, slug
from anymal_eval.statistics.intervals import SCALE as LARGEST
from anymal_eval.store.results import Measurement
from anymal_eval.version import __version__

SCHEMA = "0.3.0"
CORRECT = 0.5  # is_correct is binary: True from this score on; the score itself is exported too


def every_eval_ever(exported: Exported, *, samples: bool = True) -> tuple[dict[str, str], list[str]]:
    """The aggregate file and the samples file.

    The name is a UUID derived from the run's results: the same run always has the same name.

    Args:
        exported: the run.
        samples: also write each example, which needs the data.

    Returns:
        The files, and messages about what is left out.
    """
    who = slug(exported.organization)
    name, folder = _uuid(exported), f"data/anymal_eval/{who}/{exported.slug}"
    model_id = f"{who}/{exported.slug}"
    evaluation = f"anymal_eval/{model_id}/{int(exported.date.timestamp())}"
    whole = _aggregate(exported, evaluation, model_id)
    files, messages = {}, []
    if samples:
        lines = []
        for task in exported.tasks:
            found = _scored(exported, task)
            if found is None:
                messages.append(f"{task}: no metric has per-example scores, so its examples are left out")
                continue
            lines += [write_json(row) + "\n" for row in _samples(exported, found, (evaluation, model_id))]
        text = "".join(lines)
        file = f"{folder}/{name}_samples.jsonl"
        files[file] = text
        whole["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": file,
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(text.encode()).hexdigest(),
            "total_rows": len(lines),
        }
    files[f"{folder}/{name}.json"] = json.dumps(whole, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    return files, messages


def _aggregate(exported: Exported, evaluation: str, model_id: str) -> dict[str, Any]:
    installed = {key: value for key, value in exported.run.manifest.environment.items() if value != "not installed"}
    measured = [item for item in exported.results.measurements if item.task in exported.tasks]
    return {
        "schema_version": SCHEMA,
        "evaluation_id": evaluation,
        "evaluation_timestamp": exported.date.isoformat(),
        "retrieved_timestamp": str(int(exported.date.timestamp())),
        "source_metadata": {
            "source_name": "anymal_eval",
            "source_type": "evaluation_run",
            "source_organization_name": exported.organization,
            "evaluator_relationship": exported.relationship,
        },
        "eval_library": {"name": "anymal_eval", "version": __version__, "additional_details": _strings(installed)},
        "model_info": {
            "name": exported.results.run.label,
            "id": model_id,
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "unknown",
                "fingerprint": exported.results.run.fingerprint,
            },
        },
        "evaluation_results": [_result(exported, item) for item in measured],
    }


def _uuid(exported: Exported) -> str:
    results = read_json(exported.run.root / "results.json")
    seed = hashlib.sha256(write_json([results, list(exported.tasks)]).encode()).digest()
    return str(uuid.UUID(bytes=seed[:16], version=4))


def _result(exported: Exported, item: Measurement) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {"num_samples": item.n}
    if item.ci_low is not None and item.ci_high is not None:
        uncertainty["confidence_interval"] = {
            "lower": item.ci_low,
            "upper": item.ci_high,
            "confidence_level": 0.95,
            "method": item.ci_method,
        }
    entry = exported.entry(item.task)
    reading = {f"reading.{key}": value for key, value in entry.reading.items()}
    return {
        "evaluation_result_id": _id(item),
        "evaluation_name": item.task,
        "source_data": _source(exported, item),
        "evaluation_timestamp": exported.date.isoformat(),
        "metric_config": {
            "evaluation_description": item.signature,
            "metric_id": f"anymal_eval.{item.label}".replace(" ", "."),
            "metric_name": item.label,
            "metric_kind": item.metric,
            "metric_unit": "proportion" if item.unit == "fraction" else item.unit,
            "lower_is_better": item.better == "lower",
            "score_type": "continuous",
            "min_score": 0,
            "max_score": LARGEST[item.unit],
            "additional_details": _strings({"version": item.version, "headline": item.headline}),
        },
        "score_details": {
            "score": item.value,
            "details": _strings(
                {
                    "size": size(item),
                    **{str(state): count for state, count in item.states.items()},
                    **(item.group or {}),
                }
            ),
            "uncertainty": uncertainty,
        },
        "generation_config": {
            "additional_details": _strings({"protocol": entry.protocol, "prompts": entry.prompts, **reading})
        },
    }


def _source(exported: Exported, item: Measurement) -> dict[str, Any]:
    entry = exported.entry(item.task)
    details = _strings({"split": entry.split, "data": entry.data, "fingerprint": entry.examples})
    name = f"{item.task} (demo)" if item.is_demo else item.task
    if entry.data == "hub":
        return {
            "dataset_name": name,
            "source_type": "hf_dataset",
            "hf_repo": str(entry.source.get("id", "")),
            "hf_split": entry.split,
            "samples_number": entry.n,
            "additional_details": details,
        }
    return {"dataset_name": name, "source_type": "other", "additional_details": details}


def _scored(exported: Exported, task: str) -> Measurement | None:
    """The measurement behind the examples' scores: the headline, else the first with per-example scores."""
    first: dict[str, float] = next((row["scores"] for row in exported.run.scores(task) if row["scores"]), {})
    mine = [item for item in exported.results.measurements if item.task == task and item.rule in first]
    mine.sort(key=lambda item: (not item.headline, item.group is not None))
    return mine[0] if mine else None


def _samples(exported: Exported, item: Measurement, ids: tuple[str, str]) -> Iterator[dict[str, Any]]:
    examples = exported.examples(item.task)
    reading = exported.entry(item.task).reading
    method = f"anymal_eval: clean {reading.get('clean')}, extract {reading.get('extract')}"
    for row in exported.rows(item.task, whole=False):
        example = examples[row["id"]]
        failed = row["state"] == "error"
        score = 0.0 if failed else row["scores"][item.rule]
        answer = "" if failed else str(row["answer"])
        references = list(example.references or ())
        yield {
            "schema_version": SCHEMA,
            "evaluation_id": ids[0],
            "model_id": ids[1],
            "evaluation_name": item.task,
            "evaluation_result_id": _id(item),
            "sample_id": row["id"],
            "sample_hash": hashlib.sha256("\n".join([example.question, *references]).encode()).hexdigest(),
            "interaction_type": "single_turn",
            "input": {
                "raw": example.question,
                "reference": references,
                "choices": list(example.options) if example.options else None,
            },
            "output": {"raw": [_raw(row)]},
            "answer_attribution": [
                {
                    "turn_idx": 0,
                    "source": "output.raw",
                    "extracted_value": answer,
                    "extraction_method": method,
                    "is_terminal": True,
                }
            ],
            "evaluation": {"score": score, "is_correct": score >= CORRECT, "num_turns": 1},
            "error": str(row["answer"]) if failed else None,
            "metadata": _metadata(row, example),
        }


def _metadata(row: Mapping[str, Any], example: Example) -> dict[str, str]:
    media = ", ".join(f"{medium.kind} {medium.uri.rpartition('/')[2]}" for medium in example.media)
    return _strings({"state": row["state"], "cluster": row["cluster"], "media": media, **example.groups})


def _raw(row: Mapping[str, Any]) -> str:
    raw = row["raw"]
    return raw if isinstance(raw, str) else "" if raw is None else write_json(raw)


def _id(item: Measurement) -> str:
    group = "".join(f"/{name}={value}" for name, value in (item.group or {}).items())
    return f"{item.task}/{item.split}/{item.label}{group}".replace(" ", ".")


def _strings(data: Mapping[str, Any]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else write_json(value) for key, value in data.items()}
