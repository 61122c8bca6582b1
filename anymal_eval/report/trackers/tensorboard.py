"""TensorBoard: an event file in the run folder, ``tensorboard/``."""

import json
import time
from pathlib import Path

from anymal_eval.report.trackers import Record

PACKAGE = MODULE = "tensorboard"


def log(record: Record, folder: Path) -> str:
    """Write a record as scalars, and its configuration as text."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    place = folder / "tensorboard"
    config = f"```json\n{json.dumps(record.config, indent=2, sort_keys=True, default=str)}\n```"
    values = [Summary.Value(tag=name, simple_value=value) for name, value in record.metrics.items()]
    writer = EventFileWriter(str(place))
    try:
        for summary in (Summary(value=values), text_pb(f"config/{record.name}", config)):
            writer.add_event(Event(wall_time=time.time(), step=record.step or 0, summary=summary))
    finally:
        writer.close()
    return str(place)
