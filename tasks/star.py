"""STAR: situated reasoning in videos of daily life, four options each.

Paper     Wu et al. 2021, arXiv:2405.09711
Split     val: 7,098 questions; test: about 7,400 without labels
Reported  SeViLA on val, Flamingo on test: the plain mean of the four types' accuracies, not the pooled one
Licence   see bobbywu.com/STAR; videos of Charades, for non-commercial use
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import Hub, JsonFiles, clips
from anymal_eval.task import Download, Split, Task


def to_example(row: clips.ClipRow) -> Example:
    """One question, about the part between start and end."""
    return Example(
        id=row.row_id,
        cluster=row.video,
        kind="choice",
        media=(Media(kind="video", uri=row.clip, start_s=row.start_s, end_s=row.end_s),),
        question=row.question,
        options=row.options,
        references=None if row.answer is None else (row.options[row.answer],),
        label=row.answer,
        groups={"type": row.type},
    )


TASK = Task(
    name="star",
    version=1,
    kind="choice",
    media="video",
    splits=(Split("val", expected=7_098), Split("test", expected=0, labelled=False)),
    official=JsonFiles(
        file="STAR_{split}.json",
        origin="bobbywu.com/STAR",
        folders={"videos": "prior.allenai.org/projects/charades (480p, {video_id}.mp4)"},
        read=clips.star,
    ),
    hub=Hub(
        id="",
        splits={"val": "validation", "test": "test"},
        read=clips.star,
        media="video",
    ),
    to_example=to_example,
    metrics=("mean_type_accuracy", "choice_accuracy"),
    headline="mean_type_accuracy",
    extract="letter",
    downloads=(
        *(
            Download(
                url="https://star-benchmark.s3.us-east.cloud-object-storage.appdomain.cloud/Question_Answer_SituationGraph/"
                + name,
                to=name,
                splits=(split,),
            )
            for name, split in (("STAR_val.json", "val"), ("STAR_test.json", "test"))
        ),
        Download(
            url="https://ai2-public-datasets.s3-us-west-2.amazonaws.com/charades/Charades_v1_480.zip",
            members={"Charades_v1_480/": "videos/"},
            media=True,
        ),
    ),
)
