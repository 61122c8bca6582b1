"""Every published number, cell by cell."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from anymal_eval import catalog, metrics, published
from anymal_eval.errors import BadDefinition, NotInCatalog
from anymal_eval.published import PublishedNumber
from anymal_eval.task import Task

FACTS = Path(__file__).parents[3] / "shared" / "facts" / "published_numbers.csv"
COLLECTED = [
    "anymal-2023", "blip2-2023", "flamingo-2022", "instructblip-2023", "openflamingo-2023", "sevila-2023",
]  # fmt: skip
ALL = [number for name in COLLECTED for number in published.load(name).numbers()]


def test_there_are_243_collected_numbers() -> None:
    assert len(ALL) == 243
    assert set(COLLECTED) < set(published.names())


@pytest.mark.skipif(not FACTS.is_file(), reason="../shared/facts/published_numbers.csv is not there")
def test_every_cell_is_that_of_the_collected_numbers() -> None:
    with FACTS.open(encoding="utf-8", newline="") as file:
        rows = [
            PublishedNumber(
                source=row["source"],
                table=row["table"],
                model=row["model"],
                benchmark=row["benchmark"],
                metric=row["metric"],
                value=float(row["value"]),
                split=row["split"],
                flags=tuple(row["flags"].split("+")) if row["flags"] else (),
                note=row["note"],
            )
            for row in csv.DictReader(file)
        ]
    assert len(rows) == 243
    assert Counter(rows) == Counter(ALL)


@pytest.mark.parametrize(
    ("paper", "table", "model", "column", "value"),
    [
        ("anymal-2023", "2", "AnyMAL 13B (ViT-G)", "coco", 99.5),
        ("anymal-2023", "4", "AnyMAL 70B (MM-IT; ViT-G)", "vizwiz", 41.3),
        ("anymal-2023", "5", "AnyMAL 70B (CLAP)", "audiocaps SPIDEr", 50.4),
        ("anymal-2023", "6", "AnyMAL-Image 70B (ViT-G, 4 frames)", "how2qa", 68.1),
        ("anymal-2023", "imu", "AnyMAL 7B (IMU)", "ego4d_imu CIDEr", 52.5),
        ("anymal-2023", "figure-3", "LLaVA", "mmit_human", 34.4),
        ("blip2-2023", "vqa", "BLIP-2 ViT-g FlanT5-XXL", "vqav2 test-dev", 65.0),
        ("openflamingo-2023", "4", "OpenFlamingo-9B", "vqav2", 52.7),
        ("llava-1.5-2023", "3", "LLaVA-1.5 Vicuna-13B", "scienceqa", 71.6),
        ("internvl-2.5-2024", "card", "InternVL2.5-8B", "textvqa", 79.1),
        ("gemma-3-2025", "card", "Gemma 3 IT 27B", "vqav2", 71.0),
        ("gemma-3-2025", "card", "Gemma 3 PT 12B", "coco", 111.0),
        ("qwen2.5-vl-2025", "card", "Qwen2.5-VL-7B", "textvqa", 84.9),
    ],
)
def test_numbers_looked_up_by_hand(paper: str, table: str, model: str, column: str, value: float) -> None:
    assert published.load(paper).table(table).row(model).values[column] == value


def test_the_papers_own_errors_are_noted() -> None:
    notes = {(number.model, number.benchmark): number.note for number in ALL if number.note}
    assert "52.7" in notes["OpenFlamingo-v2 9B", "vqav2"]
    assert "57.5" in notes["InstructBLIP (V-13B)", "hateful_memes"]
    assert "SPICEr" in notes["AnyMAL 70B (CLAP)", "audiocaps"]


def test_what_columns_say_of_our_side_exists() -> None:
    tasks = catalog.tasks()
    for name in published.names():
        for table in published.load(name).tables:
            for column in table.columns:
                for rule in column.rules:
                    assert metrics.get(rule)
                if column.task == "mmit_human":
                    continue
                known = {split.name for split in tasks.get(column.our_task, "TASK", Task).splits}
                assert set(column.same_splits) <= known, f"{name} {table.where} {column.key}"


def test_unknown_names_offer_those_that_are() -> None:
    with pytest.raises(NotInCatalog, match="anymal-2023"):
        published.load("anymal-2032")
    paper = published.load("anymal-2023")
    with pytest.raises(NotInCatalog, match="2, 4, 5, 6"):
        paper.table("7")
    with pytest.raises(NotInCatalog, match="ACT"):
        paper.table("5").row("nobody")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("values = { okvqa = 1.0 }", "no column 'okvqa'"),
        ('values = { coco = 1.0 }\nflags = { coco = ["cheap"] }', "no flag 'cheap'"),
        ("values = { coco = 1.0 }\nvalue = 2", "value"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.toml"
    head = 'summary = "x"\nsource = "y"\n[[tables]]\nid = "1"\nwhere = "Table 1"\ntitle = "t"\n'
    column = '[[tables.columns]]\nkey = "coco"\ntask = "coco"\nmetric = "CIDEr"\n'
    file.write_text(f'{head}{column}[[tables.rows]]\nmodel = "m"\n{text}\n', encoding="utf-8")
    mine = catalog.Catalog("published table", [tmp_path], ".toml")
    monkeypatch.setattr("anymal_eval.published.catalog.published", lambda: mine)
    with pytest.raises(BadDefinition, match=says):
        published.load("mine")
