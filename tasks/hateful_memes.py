"""Hateful Memes: whether a picture and the words on it are hateful together.

Paper     Kiela et al. 2020, arXiv:2005.04790
Split     dev_seen: 500 memes (247 hateful); also test_seen, dev_unseen, test_unseen; the two dev splits share 400
Reported  Flamingo on test_seen; InstructBLIP and Kosmos-1 on dev_seen ("validation")
Licence   Hateful Memes licence: no redistribution; the words are offensive
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import HatefulMemesFiles, Hub, MemeRow, hub_rows
from anymal_eval.task import Split, Task

OPTIONS = ("no", "yes")


def to_example(row: MemeRow) -> Example:
    """One meme; P(yes) is what is ranked."""
    return Example(
        id=row.meme_id,
        cluster=row.meme_id,
        kind="yes_no",
        media=(Media(kind="image", uri=row.image),),
        question="Is this meme hateful?",
        context={"ocr": row.text},
        options=OPTIONS,
        references=None if row.label is None else (OPTIONS[row.label],),
        label=row.label,
    )


TASK = Task(
    name="hateful_memes",
    version=1,
    kind="yes_no",
    media="image",
    splits=(
        Split("dev_seen", expected=500),
        Split("test_seen", expected=1_000),
        Split("dev_unseen", expected=540),
        Split("test_unseen", expected=2_000),
    ),
    official=HatefulMemesFiles(),
    hub=Hub(
        id="neuralcatcher/hateful_memes",
        splits={name: f"{name}.jsonl" for name in ("dev_seen", "test_seen", "dev_unseen", "test_unseen")},
        read=hub_rows.hateful_memes,
        media="img",
    ),
    to_example=to_example,
    metrics=("roc_auc",),
    headline="roc_auc",
)
