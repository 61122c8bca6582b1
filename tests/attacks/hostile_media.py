"""More than 200 hostile media of all kinds, each a small file named after its attack, always the same bytes."""

import json
from collections.abc import Iterator
from pathlib import Path

from tests.attacks import hostile_clips, hostile_motions, hostile_pictures, hostile_sounds
from tests.attacks.hostile import Attack

QUICK = (
    "1_x_200000.png", "60000_x_60000.png", "tile_of_2_gb.tiff", "12000_x_12000_in_16_x_16.ico", "sparse_tb.jpg",
    "cut_to_60%_and_closed_baseline.jpg", "cut_to_80%_and_closed_progressive.jpg", "hole_of_zeros_full_colour.jpg",
    "many_scans.jpg", "at_1_hz.wav", "silence_at_1_hz.flac", "states_12_days.flac", "claims_4_gb.wav", "sparse.caf",
    "cut_to_60%.ogg", "cut_to_60%.w64", "cut_to_60%.rf64", "cut_to_60%.au", "9408_x_9408.mov",
    "states_400_million_samples.mp4",
    "cut_to_60%.mkv", "cut_to_50%_index_first.mp4", "nested_boxes.mp4", "time_of_1e308.csv", "states_2_gb.npy",
    "mostly_every_picosecond.csv", "cut_to_60%_in_a_row.csv", "sparse_int8.npy", "deep_header.npy",
)  # fmt: skip


def attacks(folder: Path) -> Iterator[Attack]:
    """All of them, kind after kind."""
    found = [
        each
        for part in (hostile_pictures, hostile_sounds, hostile_clips, hostile_motions)
        for each in part.attacks(folder)
    ]
    names = [each.name for each in found]
    if len(set(names)) != len(names):
        raise ValueError(f"two attacks have one name: {sorted({name for name in names if names.count(name) > 1})}")
    yield from found


TASK = '''"""Hostile media of one kind."""

from anymal_eval.records import Example, Media
from anymal_eval.sources import JsonFiles, captions
from anymal_eval.task import Split, Task


def to_example(row: captions.CaptionRow) -> Example:
    media = Media(kind="{kind}", uri=row.medium, start_s=row.start_s, end_s=row.end_s)
    return Example(id=row.row_id, cluster=row.origin, kind="caption", media=(media,), references=row.captions)


TASK = Task(
    name="hostile_{kind}", version=1, kind="caption", media="{kind}", splits=(Split("test", expected=0),),
    official=JsonFiles(file="{{split}}.jsonl", origin="attacks", read=captions.own_lines("{kind}")),
    to_example=to_example, metrics=("rouge_l",), headline="rouge_l",
)
'''


def lay(folder: Path, chosen: Iterator[Attack]) -> list[str]:
    """Write attacks as tasks of JSON lines: ``folder/tasks`` and ``folder/data``; the names of the tasks."""
    kinds: dict[str, list[dict[str, object]]] = {}
    (folder / "tasks").mkdir()
    for each in chosen:
        name = f"hostile_{each.kind}"
        root = folder / "data" / name
        root.mkdir(parents=True, exist_ok=True)
        each.write(root)
        row: dict[str, object] = {"id": each.name, each.kind: each.name, "references": ["nothing"]}
        row |= {key: value for key in ("start_s", "end_s") if (value := getattr(each, key)) is not None}
        kinds.setdefault(each.kind, []).append(row)
    for kind, rows in kinds.items():
        (folder / f"tasks/hostile_{kind}.py").write_text(TASK.format(kind=kind))
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"data/hostile_{kind}/test.jsonl").write_text(lines)
    return [f"hostile_{kind}" for kind in kinds]
