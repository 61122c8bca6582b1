"""AudioCaps: one sentence about ten seconds of sound, against five human ones.

Paper     Kim et al. 2019, aclanthology.org/N19-1011
Split     test: 975 clips, 4,875 captions; videos vanish, so 957, 912 and 883 clips are all in use
Reported  AnyMAL (arXiv:2309.16058) reports CIDEr, SPICE and SPIDEr
Licence   captions for academic use; sounds under the terms of YouTube
"""

from anymal_eval.records import Example, Media
from anymal_eval.sources import CsvFiles, Hub, captions
from anymal_eval.task import ByHand, Download, Split, Task


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
    lacking_media="videos vanish from YouTube: papers use 957, 912 and 883 of the 975 clips of test; a run with "
    "--skip-missing-media leaves out those that are not there, and its table says how many are left",
    downloads=tuple(
        Download(
            url=f"https://raw.githubusercontent.com/cdjkim/audiocaps/d004db3ea1b01cf4fd0347dd8d27db90cadc8809/dataset/{name}",
            to=name,
            size=size,
            sha256=sha256,
            cited="git: that commit of github.com/cdjkim/audiocaps",
            splits=(name.removesuffix(".csv"),),
        )
        for name, size, sha256 in (
            ("test.csv", 402_246, "b91c4b7ded2f4f6e7db5b9c4983dc1e1dca3d556f505b61e3fd65cac7e1c638a"),
            ("val.csv", 171_918, "dab1c96641d5f3053ddb99dca3949450da9a75737bda53e11cc0aa8b102be0c3"),
        )
    ),
    by_hand=(
        ByHand(
            what="audio/",
            address="https://forms.gle/2wF54Y1Ft2LtPdhW8",
            why="its authors give the sounds to whoever fills their form; else cut them from YouTube yourself",
        ),
    ),
)
