"""VizWiz-VQA: questions of blind people about their own photographs.

Paper     Gurari et al. 2018, arXiv:1802.08218
Split     val: 4,319 questions, ten human answers each; test-dev: 8,000 without labels
Reported  mostly on test-dev; constant "unanswerable" scores 52.12 on val, more than most zero-shot models
Licence   CC BY 4.0
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import Hub, JsonFiles, vqa
from anymal_eval.task import Download, Split, Task


def to_example(row: vqa.VQARow) -> Example:
    """One question, whichever source it came from. Each picture has one question, and is its id."""
    return Example(
        id=row.question_id,
        cluster=row.image_id,
        kind="short_answer",
        media=(Media(kind="image", uri=row.image),),
        question=row.question,
        references=row.answers,
        groups={"answer_type": row.answer_type} if row.answer_type else {},
    )


TASK = Task(
    name="vizwiz",
    version=1,
    kind="short_answer",
    media="image",
    splits=(
        Split("val", expected=4_319),
        Split("test-dev", expected=8_000, labelled=False, file="test"),
    ),
    official=JsonFiles(
        file="Annotations/{split}.json",
        origin="vizwiz.org/tasks-and-datasets/vqa",
        folders={"{split}": "vizwiz.org/tasks-and-datasets/vqa"},
        read=vqa.vizwiz,
    ),
    hub=Hub(
        id="lmms-lab-encoder/VizWiz-VQA",
        aliases=("lmms-lab/VizWiz-VQA",),  # until 2026-07-30
        splits={"val": "val", "test-dev": "test"},
        read=vqa.vizwiz_copy,
        media="image",
        large=True,
    ),
    to_example=to_example,
    metrics=("vqa_accuracy@vizwiz",),
    headline="vqa_accuracy@vizwiz",
    instruction="When the picture does not tell enough, answer 'unanswerable'.",
    downloads=(
        Download(
            url="https://vizwiz.cs.colorado.edu/VizWiz_final/vqa_data/Annotations.zip",
            members={f"{name}.json": f"Annotations/{name}.json" for name in ("val", "test")},
        ),
        *(
            Download(
                url=f"https://vizwiz.cs.colorado.edu/VizWiz_final/images/{name}.zip",
                members={f"{name}/": f"{name}/"},
                splits=(split,),
                media=True,
            )
            for name, split in (("val", "val"), ("test", "test-dev"))
        ),
    ),
)
