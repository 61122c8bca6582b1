"""NExT-QA: why, how, when and what in home videos, with five options each.

Paper     Xiao et al. 2021, arXiv:2105.08276
Split     val: 4,996 questions about 570 videos; test: 8,564 about 1,000
Reported  SeViLA on val; Flamingo's "NextQA" is the open-ended task and another number
Licence   annotations MIT; videos of VidOR (YFCC100M)
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import CsvFiles, Hub, clips
from anymal_eval.task import ByHand, Download, Split, Task

CATEGORIES = {"C": "causal", "T": "temporal", "D": "descriptive"}


def to_example(row: clips.ClipRow) -> Example:
    """One question; the official ``eval_mc.py`` counts type TP (previous) as TN (next)."""
    kind = "TN" if row.type == "TP" else row.type
    return Example(
        id=row.row_id,
        cluster=row.video,
        kind="choice",
        media=(Media(kind="video", uri=row.clip, start_s=row.start_s, end_s=row.end_s),),
        question=row.question,
        options=row.options,
        references=None if row.answer is None else (row.options[row.answer],),
        label=row.answer,
        groups={"type": kind, "category": CATEGORIES[kind[0]]},
    )


TASK = Task(
    name="nextqa",
    version=1,
    kind="choice",
    media="video",
    splits=(Split("val", expected=4_996), Split("test", expected=8_564)),
    official=CsvFiles(
        file="{split}.csv",
        origin="github.com/doc-doc/NExT-QA dataset/nextqa",
        columns=("video", "question", "answer", "qid", "type", *clips.NEXTQA_OPTIONS),
        optional={clips.NEXTQA_VIDEOS: "github.com/doc-doc/NExT-QA dataset/nextqa; if videos lie under VidOR's names"},
        folders={"videos": "xdshang.github.io/docs/vidor.html"},
        read=clips.nextqa,
    ),
    hub=Hub(
        id="lmms-eval/NExTQA",
        aliases=("lmms-lab/NExTQA",),  # until 2026-07-30
        splits={"test": "test"},
        read=clips.nextqa,
        config="MC",
    ),
    to_example=to_example,
    metrics=("choice_accuracy",),
    headline="choice_accuracy",
    extract="letter",
    downloads=tuple(
        Download(
            url="https://raw.githubusercontent.com/doc-doc/NExT-QA/6b92588ab4496268fa1caab9414a8b998ee063c5/dataset/nextqa/"
            + name,
            to=name,
            size=size,
            sha256=sha256,
            cited="git: that commit of github.com/doc-doc/NExT-QA",
            splits=splits,
        )
        for name, splits, size, sha256 in (
            ("val.csv", ("val",), 814_107, "43198bdef8436b8d64a9b75d846b0987c10cbf94ebf4be325c4a4e54634d66b8"),
            ("test.csv", ("test",), 1_385_657, "cdf46de237b3b3b846ff0209ae1394ad559791b5a0de0bb8c78648f74da83542"),
            (clips.NEXTQA_VIDEOS, (), 331_540, "1955d89e7a175346faf8d4a582297ff349619231394f59fd7872f459ac8a8685"),
        )
    ),
    by_hand=(
        ByHand(
            what="videos/",
            address="https://drive.google.com/file/d/1jTcRCrVHS66ckOUfWRb-rXdzJ52XAWQH/view",
            why="Google Drive gives NExTVideo.zip to a browser alone; put it into the folder, then data doctor --fix",
            members={"NExTVideo/": "videos/"},
        ),
    ),
)
