"""OK-VQA: questions about COCO photographs that take knowledge beyond the picture.

Paper     Marino et al. 2019, arXiv:1906.00067
Split     val: 5,046 questions (called val or test); five annotators, each answer written twice
Reported  on val, with the official VQA rule over ``answer`` (stemmed), never over ``raw_answer``
Licence   see okvqa.allenai.org; v1.1 of the annotations: scores over v1.0 are not comparable
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import Hub, coco_pictures, vqa
from anymal_eval.task import Download, Split, Task


def to_example(row: vqa.VQARow) -> Example:
    """One question, whichever source it came from."""
    return Example(
        id=row.question_id,
        cluster=row.image_id,
        kind="short_answer",
        media=(Media(kind="image", uri=row.image),),
        question=row.question,
        references=row.answers,
        groups={"question_type": row.question_type} if row.question_type else {},
    )


TASK = Task(
    name="okvqa",
    version=1,
    kind="short_answer",
    media="image",
    splits=(Split("val", expected=5_046, file="val2014"),),
    official=vqa.VQAFiles(
        questions="OpenEnded_mscoco_{split}_questions.json",
        annotations="mscoco_{split}_annotations.json",
        origin="okvqa.allenai.org/download.html",
    ),
    hub=Hub(
        id="lmms-lab-encoder/OK-VQA",
        aliases=("lmms-lab/OK-VQA",),  # until 2026-07-30
        splits={"val": "val2014"},
        read=vqa.okvqa_copy,
        media="image",
        large=True,
    ),
    to_example=to_example,
    metrics=("vqa_accuracy@2021", "vqa_accuracy@2016"),
    headline="vqa_accuracy@2021",
    downloads=(
        *(
            Download(url=f"https://okvqa.allenai.org/static/data/{name}.zip", members={name: name})
            for name in ("OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json")
        ),
        coco_pictures("val2014"),
    ),
)
