"""Rows of CSV and TSV files. A file that a spreadsheet or another encoding has damaged is refused with its line."""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from anymal_eval.codec import reading
from anymal_eval.errors import BadData, listed, system_error
from anymal_eval.sources.fields import SPREADSHEET_ERRORS, Fields

LONGEST_CELL = 131_072  # characters; the limit of Python's reader


def read_csv(
    file: Path,
    columns: Sequence[str],
    *,
    header: bool = True,
    bad: Callable[[str, BadData], None] | None = None,
) -> Iterator[Fields]:
    """The rows of a table whose values are separated by commas, or by tabs in a file ``*.tsv``.

    Args:
        file: the table.
        columns: the columns that must be there; without a header line, the names of all columns in their order.
        header: whether the first line names the columns.
        bad: called with the place and the error of a row that has another number of cells or holds a spreadsheet's
            error, which is then left out.

    Raises:
        BadData: a column is missing or comes twice, a row has another number of cells, a cell is longer than
            ``LONGEST_CELL`` or holds a spreadsheet's error, a quote is out of place, or the bytes are not UTF-8; the
            message names the line.
        FileUnusable: the operating system does not give the file.
    """
    start, reader = 1, None
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter="\t" if file.suffix == ".tsv" else ",", strict=True)
            names = next(reader, []) if header else list(columns)
            if header:
                _check_names(file, names, columns)
            start = reader.line_num + 1
            for values in reader:
                # An empty line, as at the end of many files, is no row.
                if values and (row := _row_or_none(file, start, (names, values), bad)) is not None:
                    yield row
                start = reader.line_num + 1
    except csv.Error as error:
        last = start if reader is None else reader.line_num
        raise BadData(f"{file}: line {start}: {_reason(str(error), start, last)}") from None
    except UnicodeDecodeError:
        raise _not_utf8(file) from None
    except OSError as error:
        raise system_error(error, file) from None


def _row_or_none(
    file: Path, line: int, cells: tuple[Sequence[str], Sequence[str]], bad: Callable[[str, BadData], None] | None
) -> Fields | None:
    try:
        return _row(file, line, *cells)
    except BadData as error:
        if bad is None:
            raise
        bad(f"{file}: line {line}", error)
        return None


def _row(file: Path, line: int, names: Sequence[str], values: Sequence[str]) -> Fields:
    row = Fields(dict(zip(names, values, strict=False)), file, f"line {line}")
    if len(values) != len(names):
        raise row.bad(
            f"expected {len(names)} columns, as in line 1, and it has {len(values)} cells; is the file whole, and is "
            "every text with a comma in quotes?"
        )
    if not SPREADSHEET_ERRORS.isdisjoint(values):
        column = next(at for at, value in enumerate(values) if value in SPREADSHEET_ERRORS)
        raise row.bad(
            f"{names[column]!r} holds {values[column]}, a spreadsheet's error in place of the text: take the file as "
            "it was before the spreadsheet saved it"
        )
    return row


def _check_names(file: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    if lacking := [name for name in columns if name not in names]:
        raise BadData(f"{file}: line 1: no column {', '.join(lacking)}; it has {list(names)}")
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names, 1):
        # Spreadsheets and pandas leave the names of an index and of empty columns out; no one can read those.
        if plain := " ".join(name.split()).casefold():
            places.setdefault(plain, []).append(place)
    if doubles := [found for found in places.values() if len(found) > 1]:
        where = [f"columns {' and '.join(map(str, found))} are both {names[found[0] - 1]!r}" for found in doubles]
        raise BadData(f"{file}: line 1: {listed(where, between='; ')}; rename or remove all but one")


def _reason(error: str, start: int, last: int) -> str:
    if error.startswith("field larger"):
        return f"a cell is longer than {LONGEST_CELL:,} characters; is a quote opened there and never closed?"
    if "end of data" in error:
        return "a quote is opened there and never closed; is the file whole?"
    if "expected after" in error:
        # A quote that nothing closes swallows the lines up to the next one.
        upto = f" to {last}" if last > start else ""
        return f"a stray quote (lines {start}{upto}): inside quotes it is written twice, and a comma follows the last"
    return f"{error}; is the file whole?"


def _not_utf8(file: Path) -> BadData:
    with reading(file) as lines:
        for number, line in enumerate(lines, 1):
            if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                return BadData(f"{file}: line 1: the file is UTF-16; save it as UTF-8")
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return BadData(
                    f"{file}: line {number}: byte 0x{line[error.start]:02x} is not UTF-8; is the file latin-1 "
                    "(Windows-1252)? Save it as UTF-8"
                )
    return BadData(f"{file}: it is not UTF-8, or has changed while it was read")
