"""MLflow. ``MLFLOW_TRACKING_URI`` and ``MLFLOW_EXPERIMENT_NAME`` are mlflow's own."""

import json
import os
from pathlib import Path

from anymal_eval.report.trackers import PROJECT, Record

PACKAGE, MODULE = "mlflow-skinny", "mlflow"
ID = "anymal_eval.id"
_LONGEST = 500  # characters of a parameter that every store takes


def log(record: Record, folder: Path) -> str:
    """Log a record as one run; the run of an earlier call with the same record is taken again."""
    del folder
    import mlflow

    experiment = mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
    found = mlflow.search_runs(
        [experiment.experiment_id], filter_string=f"tags.`{ID}` = '{record.id}'", output_format="list", max_results=1
    )
    known = found[0].info.run_id if found else None
    with mlflow.start_run(run_id=known, run_name=None if known else record.name, tags={ID: record.id}) as run:
        if known is None:
            mlflow.log_params({key: _text(value) for key, value in record.config.items()})
        mlflow.log_metrics(dict(record.metrics), step=record.step or 0)
        for name, text in record.files.items():
            mlflow.log_text(text, name)
        return f"{mlflow.get_tracking_uri()}, run {run.info.run_id}"


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return text[:_LONGEST]
