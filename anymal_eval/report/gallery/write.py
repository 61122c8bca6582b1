"""Writes a report atomically: the whole folder or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.errors import WrongUse
from anymal_eval.locks import delete, replacing
from anymal_eval.media.budget import MediaBudget
from anymal_eval.media.reader import MediaReader
from anymal_eval.paths import inside
from anymal_eval.report.gallery.content import Report
from anymal_eval.report.gallery.data_files import write_data
from anymal_eval.report.gallery.media_files import Key, MediaFiles, key
from anymal_eval.report.gallery.pages import ASSETS, write_pages
from anymal_eval.sources.hub_media import open_media
from anymal_eval.store.atomic import storage_errors

# This file marks a folder as a report, which may be replaced.
MARK = ".anymal-eval-report"
# What a page loads is one script and one style sheet: a browser that has just started is slow to open each file.
_EXAMPLE = ("text", "words", "media", "answers", "example")
BUNDLES: Mapping[str, Sequence[str]] = {
    "overview.css": ("gallery.css", "overview.css"),
    "task.css": ("gallery.css", "overview.css", "task.css", "example.css"),
    "noscript.css": ("noscript.css",),
    "overview.js": ("overview.js",),
    "task.js": tuple(f"{name}.js" for name in (*_EXAMPLE, "tabs", "address", "rows", "choices", "files", "gallery")),
}
CONTENT = frozenset(("assets", "data", "index.html", "media", "plots", "tasks"))


@dataclass(frozen=True, kw_only=True)
class Media:
    """How media are included: left out, or copied with images scaled down to ``picture_side`` (0: unchanged)."""

    copied: bool = True
    picture_side: int = 512
    timeout_s: float = 60.0
    budget: float = 1.0


def write_report(folder: Path, report: Report, media: Media, advance: Callable[[int], None]) -> int:
    """Write a report into ``folder``; an older report there is replaced.

    Args:
        folder: the folder to write.
        report: the content.
        media: whether and how media are included.
        advance: called with the number of media just written.

    Returns:
        The bytes of its files.

    Raises:
        WrongUse: the folder holds other files.
        StorageFull: no space; an older report is unchanged.
    """
    folder = Path(os.path.realpath(folder))
    # An earlier version wrote beside the folder under these names.
    earlier = [folder.with_name(f".{folder.name}.{what}") for what in ("draft", "older")]
    for each in earlier:
        _require_draft(each)
    with storage_errors(folder), replacing(folder, _require_ours) as draft:
        _fill(draft, report, media, advance)
        size = sum(file.stat().st_size for file in draft.rglob("*") if file.is_file())
        for each in earlier:
            _require_draft(each)
            delete(each)
    return size


def _require_ours(folder: Path, but: Collection[str] = ()) -> None:
    if not os.path.lexists(folder) or (folder / MARK).is_file():
        return
    if not folder.is_dir() or folder.is_symlink() or any(each.name not in but for each in folder.iterdir()):
        raise WrongUse(f"{folder} holds other files and no report; choose another --out")


def _require_draft(folder: Path) -> None:
    """A report, or a part of one: the mark may have been deleted first."""
    _require_ours(folder, but=CONTENT)


def _frames(report: Report) -> dict[Key, int]:
    """How many frames of each video its request samples; the most, where several requests show it."""
    found: dict[Key, int] = {}
    for page in report.pages:
        for example in page.examples:
            if example.id in page.requests:
                for one in example.media:
                    if one.kind == "video":
                        found[key(one)] = max(found.get(key(one), 1), page.requests[example.id].frames)
    return found


def _fill(folder: Path, report: Report, media: Media, advance: Callable[[int], None]) -> None:
    (folder / MARK).write_text("written by anymal-eval report, which may replace this folder\n", encoding="utf-8")
    (folder / "assets").mkdir()
    for name, parts in BUNDLES.items():
        texts = [(ASSETS / part).read_text(encoding="utf-8") for part in parts]
        (folder / "assets" / name).write_text("\n".join(texts), encoding="utf-8")
    references = [one for page in report.pages for example in page.examples for one in example.media]
    limits = MediaBudget.times(media.budget)
    with MediaReader(open_media, timeout_s=media.timeout_s, budget=limits, processes=2) as reader:
        files = MediaFiles(folder, reader, media.picture_side, _frames(report))
        tags = files.write(references if media.copied else (), advance)
    for page in report.pages:
        write_data(inside(folder, "data", page.name), page, tags)
    write_pages(folder, report)
