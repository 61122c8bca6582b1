"""GQA: compositional questions about photographs.

Paper     Hudson and Manning 2019, arXiv:1902.09506
Split     testdev: 12,578 questions about 398 pictures; val: 132,062; test: 95,336 without labels
Reported  BLIP-2, InstructBLIP and LLaVA-1.5 on testdev, by exact match
Licence   questions CC BY 4.0; pictures of Visual Genome, CC BY 4.0
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import JsonFiles, Row
from anymal_eval.task import Split, Task


def to_example(row: Row) -> Example:
    """One question; the test split has neither answers nor types."""
    types = row.nested("types") if row.has("types") else None
    return Example(
        id=row.name("question_id"),
        cluster=row.name("imageId"),
        kind="short_answer",
        media=(Media(kind="image", uri=row.medium("images/{imageId}.jpg")),),
        question=row.text("question"),
        references=(row.text("answer"),) if row.split.labelled else None,
        groups={name: types.text(name) for name in ("structural", "semantic")} if types else {},
    )


TASK = Task(
    name="gqa",
    version=1,
    kind="short_answer",
    media="image",
    splits=(
        Split("testdev", expected=12_578),
        Split("val", expected=132_062),
        Split("test", expected=95_336, labelled=False),
    ),
    official=JsonFiles(
        file="{split}_balanced_questions.json",
        id="question_id",
        origin="cs.stanford.edu/people/dorarad/gqa/download.html",
        folders={"images": "cs.stanford.edu/people/dorarad/gqa/download.html"},
    ),
    to_example=to_example,
    metrics=("exact_match@llava-2023", "exact_match@1"),
    headline="exact_match@llava-2023",
)
