"""COCO captions: one sentence about a photograph, against five human ones (Karpathy's split).

Paper     Chen et al. 2015, arXiv:1504.00325; the split: Karpathy and Fei-Fei 2015, arXiv:1412.2306
Split     test: 5,000 pictures, 25,010 captions; val: 5,000 pictures
Reported  CIDEr on test; its document frequencies are those of the pictures scored, so a part is another number
Licence   captions CC BY 4.0; pictures under the terms of Flickr
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import Hub, captions, coco_pictures
from anymal_eval.task import Download, Split, Task


def to_example(row: captions.CaptionRow) -> Example:
    """One picture, whichever source it came from."""
    return Example(
        id=row.row_id,
        cluster=row.origin,
        kind="caption",
        media=(Media(kind="image", uri=row.medium),),
        references=row.captions,
    )


TASK = Task(
    name="coco",
    version=1,
    kind="caption",
    media="image",
    splits=(Split("test", expected=5_000), Split("val", expected=5_000)),
    official=captions.CocoFiles(),
    hub=Hub(
        id="yerevann/coco-karpathy",
        splits={"test": "test", "val": "validation"},
        read=captions.coco_copy,
    ),
    to_example=to_example,
    metrics=("cider", "bleu", "rouge_l", "meteor", "spice"),
    headline="cider",
    downloads=(
        Download(
            url="https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
            members={"dataset_coco.json": "dataset_coco.json"},
        ),
        coco_pictures("val2014"),
    ),
)
