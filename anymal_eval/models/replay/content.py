"""Parses a file of answers: JSON lines, JSON, a table of tabs or commas, Excel's xlsx, or inspect's ``.eval``."""

import importlib
import importlib.util
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anymal_eval.checksums import CRC, read_checked_lines
from anymal_eval.codec import parse_json, read_json, read_json_lines
from anymal_eval.errors import BadData, MissingData, NeedsExtra, reason
from anymal_eval.models.replay.records import Content
from anymal_eval.sources.csv_rows import read_csv

LARGEST_SAMPLE = 256 << 20  # bytes of one sample of inspect's log, inflated


def read_content(file: Path) -> Content:
    """Parse a file by its ending.

    Raises:
        MissingData: there is no such file.
        BadData: it is truncated or damaged.
        NeedsExtra: it is xlsx, and openpyxl is not installed.
    """
    if not os.path.isfile(file):  # not Path.is_file, which raises where a name is longer than the file system takes
        raise MissingData(f"--model replay:{file}: there is no such file")
    suffix = file.suffix.lower()
    if suffix in (".jsonl", ".jsonlines"):
        return Content(file=file, rows=tuple(_lines(file)))
    if suffix in (".tsv", ".csv"):
        return Content(file=file, rows=tuple((row.where, dict(row.data)) for row in read_csv(file, ())))
    if suffix == ".xlsx":
        return Content(file=file, rows=tuple(_sheet(file)))
    if suffix == ".eval":
        return Content(file=file, data={"samples": list(_samples(file)), "eval": {}})
    data = _whole(file)
    if isinstance(data, dict) and "id" in data and data.keys() & {"answer", "option_scores"}:
        data = [data]  # JSON lines of one line
    if isinstance(data, dict):
        return Content(file=file, data=data)
    if not isinstance(data, list):
        raise BadData(f"{file}: expected a list or an object of answers, found {type(data).__name__}")
    return Content(file=file, rows=tuple((f"{file}: row {number}", row) for number, row in enumerate(data, 1)))


def _lines(file: Path) -> Iterator[tuple[str, Any]]:
    rows = [(f"{file}: line {number}", row) for number, row in read_json_lines(file)]
    if any(isinstance(row, dict) and isinstance(row.get(CRC), str) for _, row in rows):  # the responses of a run
        checked = read_checked_lines(file, then="their examples have no answer")
        rows = [(f"{file}: line {number}", row) for number, _, row in checked]
    yield from rows


def _whole(file: Path) -> Any:
    # JSON lines may be in a file named .json: its first line is then an object, and more lines follow.
    try:
        return read_json(file, ids_as_keys=True)
    except BadData as error:
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            first, second = lines.readline(), lines.readline()
        try:
            is_lines = isinstance(json.loads(first), dict) and bool(second.strip())
        except (ValueError, RecursionError):
            is_lines = False
        if not is_lines:
            raise error from None
        return [row for _, row in read_json_lines(file)]


def _sheet(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The first sheet of an Excel file; its first row names the columns."""
    if importlib.util.find_spec("openpyxl") is None:
        raise NeedsExtra(
            f"{file}: xlsx needs openpyxl: pip install 'anymal_eval[xlsx]', or save the sheet as a table of tabs (.tsv)"
        )
    openpyxl: Any = importlib.import_module("openpyxl")
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        values = book.worksheets[0].iter_rows(values_only=True)
        names = [str(name) if name is not None else "" for name in next(values, ())]
        for number, cells in enumerate(values, 2):
            if any(cell is not None for cell in cells):
                yield f"{file}: row {number}", dict(zip(names, cells, strict=False))
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, IndexError) as error:
        raise BadData(f"{file}: {reason(error)}; is the file whole?") from None


def _samples(file: Path) -> Iterator[Any]:
    """The samples of inspect's zip: one JSON file each."""
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if not info.filename.startswith("samples/") or not info.filename.endswith(".json"):
                    continue
                if info.file_size > LARGEST_SAMPLE:
                    raise BadData(f"{file}: {info.filename} has {info.file_size:,} bytes, more than are read")
                yield parse_json(archive.read(info), Path(f"{file}/{info.filename}"))
    except NotImplementedError:
        raise BadData(
            f"{file}: this Python cannot inflate it; write it as JSON: inspect log convert {file} --to json"
        ) from None
    except (zipfile.BadZipFile, OSError, RuntimeError, EOFError) as error:
        raise BadData(f"{file}: {reason(error)}; is the file whole?") from None
