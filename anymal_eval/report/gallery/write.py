"""Writes a report atomically: the whole folder or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.errors import WrongUse
from anymal_eval.media.reader import MediaReader
from anymal_eval.paths import inside
from anymal_eval.report.gallery.content import Report
from anymal_eval.report.gallery.data_files import write_data
from anymal_eval.report.gallery.drawing import styled
from anymal_eval.report.gallery.media_files import MediaFiles
from anymal_eval.report.gallery.pages import ASSETS, write_pages
from anymal_eval.sources.hub_media import open_media
from anymal_eval.store.atomic import storage_errors

# This file marks a folder as a report, which may be replaced.
MARK = ".anymal-eval-report"


@dataclass(frozen=True, kw_only=True)
class Media:
    """How media are included: left out, or copied with images scaled down to ``picture_side`` (0: unchanged)."""

    copied: bool = True
    picture_side: int = 512
    timeout_s: float = 60.0


def write_report(folder: Path, report: Report, media: Media, advance: Callable[[int], None]) -> None:
    """Write a report into ``folder``; an older report there is replaced.

    Args:
        folder: the folder to write.
        report: the content.
        media: whether and how media are included.
        advance: called with the number of media just written.

    Raises:
        WrongUse: the folder holds other files.
        StorageFull: no space; an older report is unchanged.
    """
    draft, older = (folder.with_name(f".{folder.name}.{what}") for what in ("draft", "older"))
    for each in (folder, draft, older):
        if each.exists() and not (each / MARK).is_file() and (not each.is_dir() or any(each.iterdir())):
            raise WrongUse(f"{each} holds other files and no report; choose another --out")
    with storage_errors(folder):
        if older.exists() and not folder.exists():
            older.rename(folder)  # a process was killed between the two renames below
        shutil.rmtree(older, ignore_errors=True)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            _fill(draft, report, media, advance)
            if folder.exists():
                folder.rename(older)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(older, ignore_errors=True)


def _fill(folder: Path, report: Report, media: Media, advance: Callable[[int], None]) -> None:
    (folder / MARK).write_text("written by anymal-eval report, which may replace this folder\n", encoding="utf-8")
    shutil.copytree(ASSETS, folder / "assets")
    references = [one for page in report.pages for example in page.examples for one in example.media]
    with MediaReader(open_media, timeout_s=media.timeout_s, processes=2) as reader:
        tags = MediaFiles(folder, reader, media.picture_side).write(references if media.copied else (), advance)
    for page in report.pages:
        write_data(inside(folder, "data", page.name), page, tags)
    with styled():
        write_pages(folder, report)
