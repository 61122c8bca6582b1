"""Weights & Biases. ``WANDB_PROJECT``, ``WANDB_MODE=offline`` and ``WANDB_API_KEY`` are wandb's own."""

import os
from pathlib import Path

from anymal_eval.report.trackers import PROJECT, Record

PACKAGE = MODULE = "wandb"


def log(record: Record, folder: Path) -> str:
    """Log a record as one run, whose id follows from the record."""
    import wandb

    settings = wandb.Settings(
        silent=True, console="off", x_save_requirements=False, disable_git=True, disable_code=True
    )
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        dir=os.environ.get("WANDB_DIR", str(folder)),
        id=record.id,
        name=record.name,
        config=dict(record.config),
        resume="allow",
        settings=settings,
    )
    with run:
        run.log(dict(record.metrics), step=record.step)
        run.summary.update(dict(record.metrics))
        for name, text in record.files.items():
            (Path(run.dir) / name).write_text(text, encoding="utf-8")
        return str(Path(run.dir).parent if run.offline else run.url)
