"""Hateful Memes: whether a picture and the words on it are hateful together.

Paper     Kiela et al. 2020, arXiv:2005.04790
Split     dev_seen: 500 memes (247 hateful); also test_seen, dev_unseen, test_unseen; the two dev splits share 400
Reported  Flamingo on test_seen; InstructBLIP and Kosmos-1 on dev_seen ("validation")
Licence   Hateful Memes licence: no redistribution; the words are offensive
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import Hub, JsonFiles, Row
from anymal_eval.task import ByHand, Split, Task

OPTIONS = ("no", "yes")
SPLITS = ("dev_seen", "test_seen", "dev_unseen", "test_unseen")


def to_example(row: Row) -> Example:
    """One meme; P(yes) is ranked. Ids lose their leading zeros: copies differ in them (8291 and "08291")."""
    name = row.name("id")
    name = str(int(name)) if name.isdecimal() else name
    label = row.index("label", len(OPTIONS)) if row.split.labelled else None
    return Example(
        id=name,
        cluster=name,
        kind="yes_no",
        media=(Media(kind="image", uri=row.medium("img/{img}")),),
        question="Is this meme hateful?",
        context={"ocr": row.text("text", "")},
        options=OPTIONS,
        references=None if label is None else (OPTIONS[label],),
        label=label,
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
    official=JsonFiles(
        file="{split}.jsonl",
        origin="hatefulmemeschallenge.com",
        folders={"img": "hatefulmemeschallenge.com"},
    ),
    hub=Hub(
        id="neuralcatcher/hateful_memes",
        splits={name: f"{name}.jsonl" for name in SPLITS},
        media="img",
    ),
    to_example=to_example,
    metrics=("roc_auc",),
    headline="roc_auc",
    by_hand=(
        ByHand(
            what="*.jsonl and img/",
            address="https://hatefulmemeschallenge.com",
            why="behind a form: accept the licence there, then put the archive into the folder, then data doctor --fix",
            members={"img/": "img/"} | {name: name for name in (f"{split}.jsonl" for split in SPLITS)},
        ),
    ),
)
