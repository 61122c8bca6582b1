"""Where rows come from: official files on disk (the demo world's too) first, then copies on the hub.

A task whose rows are in JSON or CSV files takes ``JsonFiles`` or ``CsvFiles``, and reads each ``Row`` in its
``to_example``. Benchmarks whose files and hub copies differ have their readers in ``captions``, ``clips``,
``scienceqa`` and ``vqa``. Nothing heavy is imported.
"""

from anymal_eval.sources import captions, clips, scienceqa, vqa
from anymal_eval.sources.coco_pictures import coco_pictures
from anymal_eval.sources.fields import Fields
from anymal_eval.sources.hub import Hub
from anymal_eval.sources.tables import CsvFiles, JsonFiles, Row, each

__all__ = [
    "CsvFiles", "Fields", "Hub", "JsonFiles", "Row", "captions", "clips", "coco_pictures", "each", "scienceqa", "vqa",
]  # fmt: skip
