"""AudioCaps: one sentence about ten seconds of sound, against five human ones.

Paper     Kim et al. 2019, aclanthology.org/N19-1011
Split     test: 975 clips, 4,875 captions; videos vanish, so 957, 912 and 883 clips are all in use
Reported  AnyMAL (arXiv:2309.16058) reports CIDEr, SPICE and SPIDEr
Licence   captions for academic use; sounds under the terms of YouTube
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import CsvFiles, Hub, captions
from anymal_eval.task import Split, Task


def to_example(row: captions.CaptionRow) -> Example:
    """One clip, whichever source it came from; the file holds the ten seconds and no more."""
    return Example(
        id=row.row_id,
        cluster=row.origin,
        kind="caption",
        media=(Media(kind="audio", uri=row.medium),),
        references=row.captions,
    )


TASK = Task(
    name="audiocaps",
    version=1,
    kind="caption",
    media="audio",
    splits=(Split("test", expected=975), Split("val", expected=495)),
    official=CsvFiles(
        file="{split}.csv",
        origin="github.com/cdjkim/audiocaps dataset",
        columns=captions.AUDIOCAPS_COLUMNS,
        folders={
            "audio": "10 s from start_time of each YouTube video, as {youtube_id}_{start_time}.wav or {youtube_id}.wav"
            " (flac, mp3)",
        },
        read=captions.audiocaps,
    ),
    hub=Hub(
        id="OpenSound/AudioCaps",
        splits={"test": "test", "val": "validation"},
        read=captions.audiocaps_copy,
        media="audio",
        large=True,
    ),
    to_example=to_example,
    metrics=("cider", "bleu", "rouge_l", "meteor", "spice", "spider"),
    headline="cider",
)
