"""ScienceQA: school questions with two to five choices, about half of them with a picture.

Paper     Lu et al. 2022, arXiv:2209.09513
Split     test: 4,241 problems, 2,017 of them with a picture
Reported  AnyMAL (arXiv:2309.16058), InstructBLIP and LLaVA-1.5 on those with a picture; LLaVA on all
Licence   CC BY-NC-SA 4.0
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import Hub, scienceqa
from anymal_eval.task import Download, Split, Task

REPOSITORY = (
    "https://raw.githubusercontent.com/lupantech/ScienceQA/2cbf8318e07b9ece895bb2ae605e71e38d623264/data/scienceqa"
)


def to_example(row: scienceqa.ScienceQARow) -> Example:
    """One problem; the groups are those of the official ``evaluate_acc.py``."""
    image, text = row.image is not None, bool(row.hint)
    return Example(
        id=row.problem_id,
        cluster=row.problem_id,
        key=row.key,
        kind="choice",
        media=(Media(kind="image", uri=row.image),) if row.image is not None else (),
        question=row.question,
        context={"hint": row.hint},
        options=row.choices,
        references=None if row.answer is None else (row.choices[row.answer],),
        label=row.answer,
        groups={
            "image": "yes" if image else "no",
            "text": "yes" if text else "no",
            "none": "no" if image or text else "yes",
            **({"subject": row.subject} if row.subject else {}),
            **({} if row.grade is None else {"grade": "1-6" if row.grade <= 6 else "7-12"}),
        },
    )


TASK = Task(
    name="scienceqa",
    version=1,
    kind="choice",
    media="image",
    splits=(Split("test", expected=4_241), Split("val", expected=4_241)),
    official=scienceqa.ScienceQAFiles(),
    hub=Hub(
        id="derek-thomas/ScienceQA",
        splits={"test": "test", "val": "validation"},
        read=scienceqa.scienceqa_copy,
        media="image",
        aliases=("lmms-lab-encoder/ScienceQA/ScienceQA-FULL", "lmms-lab/ScienceQA/ScienceQA-FULL"),
    ),
    to_example=to_example,
    metrics=("choice_accuracy",),
    headline="choice_accuracy",
    headline_group={"image": "yes"},
    extract="letter",
    downloads=(
        Download(url=f"{REPOSITORY}/problems.json", to="problems.json"),
        Download(
            url=f"{REPOSITORY}/pid_splits.json",
            to="pid_splits.json",
            size=502_927,
            sha256="85c7820b9f136e572579a01dab2c77a7f8140b59211e421fa5182491d45ee3a7",
            cited="git: that commit of github.com/lupantech/ScienceQA",
        ),
        *(
            Download(
                url=f"https://scienceqa.s3.us-west-1.amazonaws.com/images/{name}.zip",
                members={f"{name}/": f"images/{name}/"},
                splits=(name,),
                media=True,
            )
            for name in ("test", "val")
        ),
    ),
)
