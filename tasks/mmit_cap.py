"""MM-IT-Cap: detailed descriptions of photographs, as in AnyMAL's own instruction data.

Paper     Moon et al. 2023, arXiv:2309.16058; the data was never released
Split     test: your own JSON lines; their number was not published
Reported  AnyMAL reports CIDEr; over other pictures it is another number
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import Hub, JsonFiles, captions
from anymal_eval.task import Split, Task


def to_example(row: captions.CaptionRow) -> Example:
    """One picture with its instruction."""
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
    official=JsonFiles(
        file="{split}.jsonl",
        origin="your own data (no public release); 'data describe' shows the layout",
        read=captions.own_lines("image"),
        layout=captions.OWN_LINES,
    ),
    hub=Hub(
        id="",
        splits={"test": "test"},
        read=captions.own_lines("image"),
        media="image",
    ),
    to_example=to_example,
    metrics=("cider", "rouge_l"),
    headline="cider",
)
