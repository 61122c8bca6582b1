"""Writes a report: whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anymal_eval.errors import WrongUse
from anymal_eval.media.reader import MediaReader
from anymal_eval.report.gallery.content import Report
from anymal_eval.report.gallery.data_files import write_data
from anymal_eval.report.gallery.drawing import styled
from anymal_eval.report.gallery.media_files import MediaFiles
from anymal_eval.report.gallery.pages import ASSETS, write_pages
from anymal_eval.sources.hub_media import open_media
from anymal_eval.store.atomic import storage_errors

# What tells a folder that we wrote, and may write again, from somebody's own.
MARK = ".anymal-eval-report"


@dataclass(frozen=True, kw_only=True)
class Media:
    """What is done with media: left out, or copied with pictures of at most that side (0: as they are)."""

    copied: bool = True
    picture_side: int = 512
    timeout_s: float = 60.0


def write_report(folder: Path, report: Report, media: Media, advance: Callable[[int], None]) -> None:
    """Write a report into ``folder``; an older report there is replaced.

    Args:
        folder: to write.
        report: what it holds.
        media: whether and how media come along.
        advance: is told how many media more are done.

    Raises:
        WrongUse: the folder holds something else.
        StorageFull: there is no space; what was there before is as it was.
    """
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise WrongUse(f"{folder} holds something that is no report; choose another --out")
    draft = folder.with_name(f".{folder.name}.draft")
    with storage_errors(folder):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            _fill(draft, report, media, advance)
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _fill(folder: Path, report: Report, media: Media, advance: Callable[[int], None]) -> None:
    (folder / MARK).write_text("written by anymal-eval report, which may replace this folder\n", encoding="utf-8")
    shutil.copytree(ASSETS, folder / "assets")
    wanted = [one for page in report.pages for example in page.examples for one in example.media]
    with MediaReader(open_media, timeout_s=media.timeout_s, processes=2) as reader:
        shown = MediaFiles(folder, reader, media.picture_side).write(wanted if media.copied else (), advance)
    for page in report.pages:
        write_data(folder / "data" / page.name, page, shown)
    with styled():
        write_pages(folder, report)
