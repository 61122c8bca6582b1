"""MM-IT-Cap: detailed descriptions of photographs, as in AnyMAL's own instruction data.

Paper     Moon et al. 2023, arXiv:2309.16058; the data was never released
Split     test: your own JSON lines; nobody knows how many
Reported  AnyMAL reports CIDEr; over other pictures it is another number
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import CaptionRow, Hub, OwnLines, hub_rows
from anymal_eval.task import Split, Task


def to_example(row: CaptionRow) -> Example:
    """One picture with what is asked about it."""
    return Example(
        id=row.row_id,
        cluster=row.origin,
        kind="caption",
        media=(Media(kind="image", uri=row.medium),),
        question=row.question,
        references=row.captions,
    )


TASK = Task(
    name="mmit_cap",
    version=1,
    kind="caption",
    media="image",
    splits=(Split("test", expected=0),),
    official=OwnLines(medium="image"),
    hub=Hub(
        id="",
        splits={"test": "test"},
        read=hub_rows.own("image"),
        media="image",
    ),
    to_example=to_example,
    metrics=("cider", "rouge_l"),
    headline="cider",
)
