"""CSV files as spreadsheets, other encodings and editors leave them: read, or refused with file and line."""

import csv
import io
import random
from pathlib import Path

import pytest

from anymal_eval.errors import BadData
from anymal_eval.sources.csv_rows import LONGEST_CELL, read_csv
from anymal_eval.sources.fields import Fields
from anymal_eval.training.sources import open_data

COLUMNS = ("id", "caption")


def refused(file: Path, content: str | bytes, columns: tuple[str, ...] = COLUMNS) -> str:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadData) as caught:
        [row.name("id") for row in read_csv(file, columns)]
    message = str(caught.value)
    assert message.startswith(f"{file}: line ")
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("id,caption,caption", "line 1: columns 2 and 3 are both 'caption'"),
        ("id,caption,CAPTION", "line 1: columns 2 and 3 are both 'caption'"),
        ("id,caption,x, Caption ", "line 1: columns 2 and 4 are both 'caption'"),
        ("id,caption,x y,X  Y", "line 1: columns 3 and 4 are both 'x y'"),
        ("id,caption,id,a,A,a", "line 1: columns 1 and 3 are both 'id'; columns 4 and 5 and 6 are both 'a'"),
        ("\ufeffid,caption,ID", "line 1: columns 1 and 3 are both 'id'"),
        ("id,text", "line 1: no column caption; it has ['id', 'text']"),
        ("", "line 1: no column id, caption; it has []"),
        ('id,"caption', "line 1: a quote is opened there and never closed"),
    ],
)
def test_headers(tmp_path: Path, header: str, found: str) -> None:
    assert refused(tmp_path / "t.csv", f"{header}\n1,a,b,c\n").startswith(found)


def test_columns_without_a_name(tmp_path: Path) -> None:
    # An index as pandas writes it, and the empty columns of a spreadsheet.
    (tmp_path / "t.csv").write_text("\ufeff,id,caption,,\n0,7,a,,\n", encoding="utf-8")
    assert [(row.name("id"), row.text("caption")) for row in read_csv(tmp_path / "t.csv", COLUMNS)] == [("7", "a")]


ERRORS = ["#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#N/A", "#NUM!", "#NULL!", "########"]


@pytest.mark.parametrize("value", [*ERRORS, "1E+05", "1.23457E+11", "-1E-05", "1,23457E+11", "1e+05", "2.5e-7"])
def test_ids_of_spreadsheets(tmp_path: Path, value: str) -> None:
    message = refused(tmp_path / "t.csv", f'id,caption\n1,"a\nb"\n\n"{value}",c\n')
    assert message.startswith("line 5: 'id' ")
    assert value in message
    with pytest.raises(BadData, match="a spreadsheet"):
        Fields({"id": value}, "rows.jsonl", "line 3").name("id")


@pytest.mark.parametrize("value", ["1E05", "5E123456789", "1e", "E+05", "-vkQ1E+05ab", "#1", "#name", "100000", "+1"])
def test_ids_that_only_look_like_it(tmp_path: Path, value: str) -> None:
    (tmp_path / "t.csv").write_text(f"id,caption\n{value},c\n")
    assert [row.name("id") for row in read_csv(tmp_path / "t.csv", COLUMNS)] == [value]


def test_captions_that_a_spreadsheet_took_for_formulas(tmp_path: Path) -> None:
    assert refused(tmp_path / "t.csv", "id,caption\n1,#NAME?\n").startswith("line 2: 'caption' holds #NAME?")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("id,caption\n1,a\n2\n", "line 3: expected 2 columns, as in line 1, and it has 1 cells"),
        ("id,caption\n1,a\n\n2,a, dog\n", "line 4: expected 2 columns, as in line 1, and it has 3 cells"),
        ("id,caption\n1,\"a\nb\"\n2,a,\n", "line 4: expected 2 columns, as in line 1, and it has 3 cells"),
        ("id,caption\n1,\"a\"b\n", "line 2: a stray quote (lines 2): "),
        ("id,caption\n1,\"a\n2,b\n3,\"c\n", "line 2: a stray quote (lines 2 to 4): "),
        ("id,caption\n1,a\n2,\"b\n3,c\n", "line 3: a quote is opened there and never closed"),
        ("id,caption\n1,a\n2,\"" + "b" * LONGEST_CELL + "b\"\n", "line 3: a cell is longer than 131,072 characters"),
        ("id,caption\n1,\"a\n" + "2,bbbbbb\n" * 20_000, "line 2: a cell is longer than 131,072 characters"),
        ("id,caption\n1,a\n2,un caf\xe9\n".encode("latin-1"), "line 3: byte 0xe9 is not UTF-8; is the file latin-1"),
        ("id,caption\n1,\u2019\n".encode("cp1252"), "line 2: byte 0x92 is not UTF-8"),
        ("id,caption\n".encode("utf-16"), "line 1: the file is UTF-16; save it as UTF-8"),
        (b"id,caption\n" + b"1,a\n" * 5000 + b"2,\xff\n", "line 5002: byte 0xff is not UTF-8"),
    ],
    ids=range(12),
)  # fmt: skip
def test_rows(tmp_path: Path, content: str | bytes, found: str) -> None:
    assert refused(tmp_path / "t.csv", content).startswith(found)


def test_the_longest_cell_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,caption\n1," + "b" * LONGEST_CELL + "\n")
    assert [len(row.text("caption")) for row in read_csv(tmp_path / "t.csv", COLUMNS)] == [LONGEST_CELL]


def test_training_data_too(tmp_path: Path) -> None:
    header = "audiocap_id,youtube_id,start_time,caption"
    (tmp_path / "train.csv").write_text(f"{header}\n1,#NAME?,0,rain\n2,#NAME?,0,a dog\n")
    with pytest.raises(BadData, match=r"train\.csv: line 2: 'youtube_id' holds #NAME\?"):
        open_data(f"audiocaps:{tmp_path}/train.csv")
    (tmp_path / "train.csv").write_text(f"{header},Caption\n1,abc,0,rain,snow\n")
    with pytest.raises(BadData, match=r"train\.csv: line 1: columns 4 and 5 are both 'caption'"):
        open_data(f"audiocaps:{tmp_path}/train.csv")
    names = ",".join(f"caption_{number}" for number in range(1, 6))
    (tmp_path / "clotho_captions_dev.csv").write_text(f"file_name,{names}\n1E+05,a,b,c,d,e\n")
    with pytest.raises(BadData, match=r"clotho_captions_dev\.csv: line 2: 'file_name' is '1E\+05'"):
        open_data(f"clotho:{tmp_path}/clotho_captions_dev.csv")


LETTERS = ['"', ",", "\n", "\r\n", "\t", "a", "é", "🦙", " ", "'", "\u2028", "\ufeff", "\0", "#NAME?", "1E+05"]


def test_generated_tables(tmp_path: Path) -> None:
    """What Python's writer wrote is read back; one byte less gives rows, or a refusal with a line."""
    drawn = random.Random(15)
    file = tmp_path / "t.csv"
    for _ in range(200):
        rows = [["".join(drawn.choices(LETTERS, k=drawn.randrange(1, 6))) for _ in COLUMNS] for _ in range(4)]
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows([COLUMNS, *rows])
        content = text.getvalue().encode()
        file.write_bytes(content)
        spoilt = any(cell in ERRORS for row in rows for cell in row)
        if not spoilt:
            assert [list(row.data.values()) for row in read_csv(file, COLUMNS)] == rows
        at = drawn.randrange(len(content))
        file.write_bytes(content[:at] + content[at + 1 :])
        try:
            assert all(len(row.data) == len(COLUMNS) for row in read_csv(file, COLUMNS))
        except BadData as error:
            assert str(error).startswith(f"{file}: line ")  # noqa: PT017  # both endings are right
