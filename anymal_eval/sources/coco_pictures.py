"""The archives of COCO's pictures, which three benchmarks share: addresses, sizes and checksums."""

from anymal_eval.task import Download

_CITED = "tensorflow_datasets/url_checksums/coco.txt of github.com/tensorflow/datasets"
_FILES = {
    "val2014": (6_645_013_297, "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0"),
    "test2015": (13_270_587_935, "1a2aa896b81140a850a78fa8bff07d455698d2abf364ff05721763458a8101ca"),
}


def coco_pictures(folder: str, *, splits: tuple[str, ...] = ()) -> Download:
    """One archive of cocodataset.org, unpacked to ``folder/``.

    Args:
        folder: ``val2014`` or ``test2015``.
        splits: of the benchmark, those that need it; empty for all.
    """
    size, sha256 = _FILES[folder]
    return Download(
        # The official links are http; the checksum says whether what arrived is the archive.
        url=f"http://images.cocodataset.org/zips/{folder}.zip",
        members={f"{folder}/": f"{folder}/"},
        size=size,
        sha256=sha256,
        cited=_CITED,
        splits=splits,
        media=True,
    )
