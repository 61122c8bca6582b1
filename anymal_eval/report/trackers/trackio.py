"""Trackio, which keeps a local database. ``TRACKIO_DIR`` and ``TRACKIO_PROJECT`` name its place and the project."""

import contextlib
import io
import os
from pathlib import Path

from anymal_eval.report.trackers import PROJECT, Record

PACKAGE = MODULE = "trackio"


def log(record: Record, folder: Path) -> str:
    """Log a record as one run.

    Returns:
        The project and the run, and the command that shows them.
    """
    del folder
    import trackio

    project = os.environ.get("TRACKIO_PROJECT", PROJECT)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints how to open its page, by its own colours
        trackio.init(project=project, name=f"{record.name} {record.id}", config=dict(record.config), resume="allow")
        trackio.log(dict(record.metrics), step=record.step)
        trackio.finish()
    return f"project {project}, run {record.name} {record.id}; trackio show --project {project}"
