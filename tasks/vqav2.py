"""VQAv2: open-ended questions about COCO photographs.

Paper     Goyal et al. 2017, arXiv:1612.00837
Split     val: 214,354 questions, ten human answers each; test-dev (107,394) and test (447,793) without labels
Reported  AnyMAL (arXiv:2309.16058, table 4) reports it zero-shot; Flamingo, BLIP-2 and LLaVA on test-dev
Licence   annotations CC BY 4.0; pictures under the terms of Flickr
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import Hub, vqa
from anymal_eval.task import Split, Task


def to_example(row: vqa.VQARow) -> Example:
    """One question, whichever source it came from."""
    return Example(
        id=row.question_id,
        cluster=row.image_id,
        kind="short_answer",
        media=(Media(kind="image", uri=row.image),),
        question=row.question,
        references=row.answers,
        groups={
            name: kind
            for name, kind in (("answer_type", row.answer_type), ("question_type", row.question_type))
            if kind and row.answers
        },
    )


TASK = Task(
    name="vqav2",
    version=1,
    kind="short_answer",
    media="image",
    splits=(
        Split("val", expected=214_354, file="val2014"),
        Split("test-dev", expected=107_394, labelled=False, file="test-dev2015"),
        Split("test", expected=447_793, labelled=False, file="test2015"),
    ),
    official=vqa.VQAFiles(
        questions="v2_OpenEnded_mscoco_{split}_questions.json",
        annotations="v2_mscoco_{split}_annotations.json",
        origin="visualqa.org/download.html",
    ),
    hub=Hub(
        id="lmms-lab-encoder/VQAv2",
        aliases=("lmms-lab/VQAv2",),  # until 2026-07-30
        splits={"val": "validation", "test-dev": "testdev", "test": "test"},
        read=vqa.vqa,
        media="image",
        large=True,
    ),
    to_example=to_example,
    metrics=("vqa_accuracy@2021", "vqa_accuracy@2016"),
    headline="vqa_accuracy@2021",
)
