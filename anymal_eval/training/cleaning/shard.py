"""One shard cleaned: the samples that stay, in their order, in a new shard; and what became of each."""

import dataclasses
import hashlib
import io
import itertools
import json
import os
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anymal_eval.checksums import write_checked_json
from anymal_eval.errors import MissingData, RequestFailed, reason
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Media
from anymal_eval.store.atomic import write_atomic
from anymal_eval.training.cleaning.captions import LEAST, CaptionParser
from anymal_eval.training.cleaning.faces import FaceBlur
from anymal_eval.training.cleaning.text_spotting import TextSpotter, repeated
from anymal_eval.training.sources._shard_sample import split_name
from anymal_eval.training.sources._tar import Member, members

REPORTS = "reports"
PICTURES = ("jpg", "jpeg", "png", "webp")
STAMP_BYTES = 1 << 16
EXAMPLES = 5  # of each rule, in a shard's report
_HALF = re.compile("[\ud800-\udfff]")  # of a pair of surrogates: JSON may hold one, but it is no text
NO_PICTURE, UNREADABLE = "no captioned picture", "unreadable picture"
COMPLEXITY, ACTION, TEXT = "complexity", "action", "text in the picture"


@dataclass(kw_only=True)
class ShardReport:
    """What became of the samples of a shard.

    Attributes:
        shard: the name of the shard that was made, and ``source`` the :func:`stamp` of the one that it was made of.
        kept: samples in it.
        dropped: samples that are not, by the rule that dropped them.
        faces: that were blurred, and ``blurred`` the samples with any.
        examples: of kept samples and of those dropped by each rule: the sample, its caption, and why.
        lines: what of the source could not be read.
        size: bytes of the new shard, and ``digest`` their SHA-256.
    """

    shard: str
    source: str = ""
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    faces: int = 0
    blurred: int = 0
    examples: dict[str, list[list[str]]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    size: int = 0
    digest: str = ""

    def note(self, rule: str, key: str, caption: str, why: str) -> None:
        """Keep an example, while there are few."""
        found = self.examples.setdefault(rule, [])
        if len(found) < EXAMPLES:
            found.append([key, caption[:200], why])


class ShardCleaner:
    """Cleans shards by the filters that are given; None leaves one out."""

    def __init__(self, parser: CaptionParser | None, spotter: TextSpotter | None, blur: FaceBlur | None) -> None:
        self._parser, self._spotter, self._blur = parser, spotter, blur
        self._content = b""
        self._reader = MediaReader(lambda uri: self._content)

    def close(self) -> None:
        """End the reader's processes."""
        self._reader.close()

    def clean(self, source: Path, target: Path) -> ShardReport:
        """Write a cleaned shard; it takes its name when it is whole and its report is there.

        Raises:
            MissingData: the source cannot be read.
        """
        report = ShardReport(shard=target.name, source=stamp(source))
        draft = target.with_name(f".{target.name}.draft")
        draft.unlink(missing_ok=True)  # a link there would be followed
        with draft.open("wb") as stream:
            hashed = _Hashed(stream)
            with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
                found = members(source, report.lines.append)
                for key, parts in itertools.groupby(found, lambda member: split_name(member.name)[0]):
                    for name, content in self._sample(key, list(parts), report):
                        entry = tarfile.TarInfo(name)
                        entry.size = len(content)
                        archive.addfile(entry, io.BytesIO(content))
            stream.flush()
            os.fsync(stream.fileno())
        report.size, report.digest = hashed.size, hashed.digest.hexdigest()
        write_atomic(report_file(target), write_checked_json(dataclasses.asdict(report)))
        draft.replace(target)
        return report

    def _sample(self, key: str, parts: Sequence[Member], report: ShardReport) -> list[tuple[str, bytes]]:
        """The members of a sample that stays; none of one that is dropped."""
        pictures = [part for part in parts if split_name(part.name)[1] in PICTURES]
        captions = _captions(parts)
        whole = [(part.name, part.content) for part in parts]
        if len(pictures) != 1 or not captions:
            return self._drop(report, NO_PICTURE, key, "", f"{len(pictures)} pictures, {len(captions)} captions")
        text = " | ".join(captions)
        for rule, why in self._rules(captions):
            return self._drop(report, rule, key, text, why)
        faces = 0
        if self._spotter is not None or self._blur is not None:
            try:
                picture = self._picture(pictures[0])
            except RequestFailed as error:
                return self._drop(report, UNREADABLE, key, text, str(error))
            words = repeated(self._spotter(picture), text) if self._spotter is not None else []
            if words:
                return self._drop(report, TEXT, key, text, ", ".join(words))
            if self._blur is not None:
                whole, faces = self._blurred(parts, self._blur, report)
        report.kept += 1
        report.faces += faces
        report.blurred += bool(faces)
        report.note("kept", key, text, f"{faces} faces blurred" if faces else "")
        return whole

    def _blurred(
        self, parts: Sequence[Member], blur: FaceBlur, report: ShardReport
    ) -> tuple[list[tuple[str, bytes]], int]:
        """The members with faces blurred in every picture, also in a thumbnail beside the one; and how many."""
        made: list[tuple[str, bytes]] = []
        count = 0
        for part in parts:
            stem, _, ending = part.name.rpartition(".")
            if ending.lower() not in PICTURES:
                made.append((part.name, part.content))
                continue
            try:
                picture = self._picture(part)
            except RequestFailed as error:
                report.lines.append(f"{report.shard}: {part.name} is left out: {error}")
                continue
            faces = blur.find(picture)
            made.append((f"{stem}.png", blur.blur(picture, faces)) if faces else (part.name, part.content))
            count += len(faces)
        return made, count

    def _rules(self, captions: Sequence[str]) -> list[tuple[str, str]]:
        """The first rule that no caption keeps; a sample of several captions stays for any of them."""
        if self._parser is None:
            return []
        parses = [self._parser(caption) for caption in captions]
        complex_ones = [parse for parse in parses if parse.complexity >= LEAST]
        if not complex_ones:
            return [(COMPLEXITY, f"at most {max(parse.complexity for parse in parses)} relations of one object")]
        if not any(parse.actions for parse in complex_ones):
            return [(ACTION, "no verb but those that are attributes")]
        return []

    def _picture(self, part: Member) -> NDArray[np.uint8]:
        self._content = part.content
        digest = hashlib.sha256(part.content).hexdigest()
        return self._reader.image(Media(kind="image", uri=f"row:{part.name}", digest=digest))

    def _drop(self, report: ShardReport, rule: str, key: str, caption: str, why: str) -> list[tuple[str, bytes]]:
        report.dropped[rule] = report.dropped.get(rule, 0) + 1
        report.note(rule, key, caption, why)
        return []


def report_file(target: Path) -> Path:
    """Where the report of a shard is. One that stands without it was made by no cleaning."""
    return target.parent / REPORTS / f"{target.name}.json"


def stamp(source: Path) -> str:
    """Tells shards of one name apart without reading them whole: of the size and the first members.

    Raises:
        MissingData: it cannot be read.
    """
    try:
        with source.open("rb") as stream:
            return hashlib.sha256(b"%d " % source.stat().st_size + stream.read(STAMP_BYTES)).hexdigest()
    except OSError as error:
        raise MissingData(f"{source}: {reason(error)}") from error


class _Hashed:
    """A stream that is hashed and counted while it is written."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.digest, self.size = stream, hashlib.sha256(), 0

    def write(self, content: bytes) -> int:
        """Write all of it."""
        self.digest.update(content)
        self.size += len(content)
        return int(self._stream.write(content))


def _captions(parts: Sequence[Member]) -> list[str]:
    """The captions of a sample, from its txt, or from ``caption`` of its json."""
    contents = {split_name(part.name)[1]: part.content for part in parts}
    if "txt" in contents:
        texts: list[Any] = [contents["txt"].decode("utf-8", "replace")]
    else:
        try:
            table = json.loads(contents.get("json", b"null"))
        except (ValueError, RecursionError):
            return []
        value = table.get("caption") if isinstance(table, dict) else None
        texts = value if isinstance(value, list) else [value]
    return [text.strip() for text in texts if isinstance(text, str) and text.strip() and not _HALF.search(text)]
