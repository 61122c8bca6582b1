"""VQAv2: open-ended questions about COCO photographs.

Paper     Goyal et al. 2017, arXiv:1612.00837
Split     val: 214,354 questions, ten human answers each; test-dev (107,394) and test (447,793) without labels
Reported  AnyMAL (arXiv:2309.16058, table 4) reports it zero-shot; Flamingo, BLIP-2 and LLaVA on test-dev
Licence   annotations CC BY 4.0; pictures under the terms of Flickr
"""

from anymal_eval.records import Example
from anymal_eval.sources import Hub, coco_pictures, vqa
from anymal_eval.task import Download, Split, Task

# What visualqa.org/download.html links to: the archive, what it holds, for which splits, and its SHA-256.
ARCHIVES = (
    ("Questions", "Val", ("v2_OpenEnded_mscoco_val2014_questions.json",), ("val",),
     "e71f6c5c3e97a51d050f28243e262b28cd0c48d11a6b4632d769d30d3f93222a"),
    ("Annotations", "Val", ("v2_mscoco_val2014_annotations.json",), ("val",),
     "0caae7c8d1dafd852727f5ac046bc1efca9b72026bd6ffa34fc489f3a7b3291e"),
    ("Questions", "Test",
     ("v2_OpenEnded_mscoco_test-dev2015_questions.json", "v2_OpenEnded_mscoco_test2015_questions.json"),
     ("test-dev", "test"), "982e2e687a86514b78ea83af356d151976c5e3fb4168a29ca543610574082ad7"),
)  # fmt: skip


def to_example(row: vqa.VQARow) -> Example:
    """One question, whichever source it came from."""
    return Example(
        id=row.question_id,
        cluster=row.image_id,
        kind="short_answer",
        media=vqa.picture(row.image),
        question=row.question,
        references=row.answers,
        groups=vqa.types(row),
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
    downloads=(
        *(
            Download(
                url=f"https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa/v2_{kind}_{part}_mscoco.zip",
                members={name: name for name in names},
                sha256=sha256,
                cited="parlai/tasks/vqa_v2/build.py of github.com/facebookresearch/ParlAI",
                splits=splits,
            )
            for kind, part, names, splits, sha256 in ARCHIVES
        ),
        coco_pictures("val2014", splits=("val",)),
        coco_pictures("test2015", splits=("test-dev", "test")),
    ),
)
