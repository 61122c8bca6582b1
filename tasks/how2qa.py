"""How2QA: questions about moments of instructional videos, four options each.

Paper     Li et al. 2020, arXiv:2005.00200 (HERO); Li et al. 2021, arXiv:2106.04632 (VALUE)
Split     val: 3,115 questions (VALUE's release); hero-val: 2,851 (HERO's); test: 3,094 without labels
Reported  SeViLA on VALUE's val, Just-Ask and FrozenBiLM on HERO's: never beside each other
Licence   see the two releases; videos of HowTo100M, under the terms of YouTube
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import Hub, clips
from anymal_eval.task import ByHand, Download, Split, Task


def to_example(row: clips.ClipRow) -> Example:
    """One question, about the part between start and end of the 60-s clip."""
    return Example(
        id=row.row_id,
        cluster=row.video,
        kind="choice",
        media=(Media(kind="video", uri=row.clip, start_s=row.start_s, end_s=row.end_s),),
        question=row.question,
        options=row.options,
        references=None if row.answer is None else (row.options[row.answer],),
        label=row.answer,
    )


TASK = Task(
    name="how2qa",
    version=1,
    kind="choice",
    media="video",
    splits=(
        Split("val", expected=3_115, file="how2qa_val_release.jsonl"),
        Split("hero-val", expected=2_851, file="how2QA_val_release.csv"),
        Split("test", expected=3_094, labelled=False, file="how2qa_test_public_release.jsonl"),
    ),
    official=clips.How2QAFiles(),
    hub=Hub(
        id="",
        splits={"val": "validation", "test": "test"},
        read=clips.how2qa,
        media="video",
    ),
    to_example=to_example,
    metrics=("choice_accuracy",),
    headline="choice_accuracy",
    extract="letter",
    downloads=(
        *(
            Download(
                url=f"https://datarelease.blob.core.windows.net/value-leaderboard/how2qa/{name}",
                to=name,
                splits=(split,),
            )
            for name, split in (
                ("how2qa_val_release.jsonl", "val"),
                ("how2qa_test_public_release.jsonl", "test"),
            )
        ),
        Download(
            url="https://raw.githubusercontent.com/ych133/How2R-and-How2QA/1c040a74ee3786ad65a1c69a3b4e1e42c803780e/how2QA/"
            "how2QA_val_release.csv",
            to="how2QA_val_release.csv",
            size=329_216,
            sha256="29885688440868116ba0c8ec82a11b338f5611fc6650f8a2c7f06bd5a0cc9f77",
            cited="git: that commit of github.com/ych133/How2R-and-How2QA",
            splits=("hero-val",),
        ),
    ),
    by_hand=(
        ByHand(
            what="videos/",
            address="https://www.di.ens.fr/willow/research/howto100m/",
            why="videos of HowTo100M, under the terms of YouTube: nobody may pass them on",
        ),
    ),
)
