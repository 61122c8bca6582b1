"""Why a data set of several files cannot be loaded: which file, which row. Read only after ``datasets`` has failed."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from anymal_eval.errors import BadData, reason, system_error

TEXT = (".jsonl", ".ndjson")


def files_with_rows(files: Sequence[str], unread: str = "") -> list[str]:
    """The files of a split that hold rows, each of which was read to its end.

    Args:
        files: local paths or addresses that ``fsspec`` opens, in their order.
        unread: the column of a parquet file that is not read: the media of a copy that is streamed without them.

    Raises:
        BadData: a file is damaged or cut off, or its columns are of other types than those of the first; the message
            names the file, and the row, counted from 1.
        FileUnusable: the operating system does not give a file.
        One of ``network_errors``: a file at an address cannot be read now; nothing is known about its content.
    """
    import pyarrow as pa

    found: list[str] = []
    first: tuple[str, Any] | None = None
    for file in files:
        try:
            if file.endswith(".parquet"):
                schema = _parquet(file, unread)
                if schema is not None and first is not None:
                    _same_types(file, schema, *first)
                first = first or (schema and (file, schema))
                found += [file] if schema is not None else []
            elif not file.endswith(TEXT) or _has_lines(file):
                found.append(file)
        except network_errors():
            raise
        except (pa.ArrowException, OSError) as error:
            # pyarrow's own errors about a file's content are OSErrors without a number.
            if isinstance(error, OSError) and error.errno is not None:
                raise system_error(error, file) from None
            raise BadData(f"{file}: {_reason(error)}; is the file whole? Fetch it again") from None
    return found


def network_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises where the network fails; the class of its HTTP library depends on the version."""
    from huggingface_hub.errors import HfHubHTTPError

    return (ConnectionError, TimeoutError, *(base for base in HfHubHTTPError.__bases__ if base is not OSError))


def _parquet(file: str, unread: str) -> Any:
    """The schema; None where the file has no rows. Reads every row of every column but one."""
    import fsspec  # type: ignore[import-untyped]
    import pyarrow as pa
    import pyarrow.parquet as pq

    with fsspec.open(file, "rb") as stream, pq.ParquetFile(stream) as opened:
        start = 1
        for group in range(opened.num_row_groups):
            rows = opened.metadata.row_group(group).num_rows
            for column in opened.schema_arrow.names:
                if column == unread:
                    continue
                try:
                    opened.read_row_group(group, columns=[column])
                except network_errors():
                    raise
                except (pa.ArrowException, OSError, ValueError) as error:
                    where = f"rows {start} to {start + rows - 1}" if rows > 1 else f"row {start}"
                    raise BadData(
                        f"{file}: {where}: column {column!r} is damaged: {_reason(error)}; fetch the file again"
                    ) from None
            start += rows
        return opened.schema_arrow if opened.metadata.num_rows else None


def _same_types(file: str, schema: Any, first: str, expected: Any) -> None:
    for field in schema:
        place = expected.get_field_index(field.name)
        if place >= 0 and expected.field(place).type != field.type:
            raise BadData(
                f"{file}: row 1: column {field.name!r} holds {field.type}, and {expected.field(place).type} in "
                f"{first}; the files of a split must have the same columns"
            )
    if lacking := [name for name in expected.names if name not in schema.names]:
        raise BadData(f"{file}: row 1: no column {', '.join(lacking)}, which {first} has")


def _has_lines(file: str) -> bool:
    return any([True for _ in _lines(file)])


def _lines(file: str) -> Iterator[Any]:
    import fsspec

    with fsspec.open(file, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadData(f"{file}: line {number}: {error}; is the file whole?") from None
            if not isinstance(row, dict):
                raise BadData(f"{file}: line {number}: expected an object, got {type(row).__name__}")
            yield row


def _reason(error: BaseException) -> str:
    return reason(error).rstrip(".")[:300]
