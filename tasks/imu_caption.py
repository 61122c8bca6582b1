"""IMU captions: the activity of a person who wears a motion sensor on the head (Ego4D).

Paper     Moon et al. 2023, arXiv:2309.16058; Grauman et al. 2022, arXiv:2110.07058 (Ego4D)
Split     test: your own JSON lines; AnyMAL's split of the windows was never released
Reported  AnyMAL 7B: CIDEr 52.5, ROUGE-L 23.2; one reference a window, so CIDEr depends on the list of windows
Licence   Ego4D licence: by agreement only
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import Hub, JsonFiles, captions
from anymal_eval.task import ByHand, Split, Task


def to_example(row: captions.CaptionRow) -> Example:
    """One window of motion; windows of one recording are one cluster."""
    return Example(
        id=row.row_id,
        cluster=row.origin,
        kind="caption",
        media=(Media(kind="imu", uri=row.medium, start_s=row.start_s, end_s=row.end_s),),
        question=row.question,
        references=row.captions,
    )


TASK = Task(
    name="imu_caption",
    version=1,
    kind="caption",
    media="imu",
    splits=(Split("test", expected=0),),
    official=JsonFiles(
        file="{split}.jsonl",
        origin="your own data (no public release); 'data describe' shows the layout",
        read=captions.own_lines("imu"),
        layout=captions.OWN_LINES,
    ),
    hub=Hub(
        id="",
        splits={"test": "test"},
        read=captions.own_lines("imu"),
        media="imu",
    ),
    to_example=to_example,
    metrics=("cider", "rouge_l"),
    headline="cider",
    by_hand=(
        ByHand(
            what="test.jsonl and what it names",
            address="https://ego4ddataset.com/ego4d-license/",
            why="Ego4D comes by agreement: sign it there, then name windows of its IMU recordings in your own lines",
        ),
    ),
)
