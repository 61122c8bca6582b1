"""One shard cleaned: the samples that stay, in their order, in a new shard; and what became of each."""

import dataclasses
import hashlib
import io
import itertools
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anymal_eval.checksums import write_checked_json
from anymal_eval.errors import BadData, MissingData, RequestFailed, reason
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Media
from anymal_eval.store.atomic import write_atomic
from anymal_eval.training.cleaning.captions import LEAST, CaptionParser
from anymal_eval.training.cleaning.faces import FaceBlur, may_have_frames
from anymal_eval.training.cleaning.sample_captions import read_captions, with_captions
from anymal_eval.training.cleaning.text_spotting import TextSpotter, repeated
from anymal_eval.training.sources import DataAddress
from anymal_eval.training.sources._cleaning import report_file, sha256_of
from anymal_eval.training.sources._shard_sample import shard_samples, split_name
from anymal_eval.training.sources._tar import Member, members

PICTURES = ("jpg", "jpeg", "png", "webp")
OTHER_PICTURES = ("gif", "bmp", "tif", "tiff", "avif", "heic")  # which may stand beside one; training reads none
EXAMPLES = 5  # of each rule, in a shard's report
NO_PICTURE, UNREADABLE, NO_TEXT = "no captioned picture", "unreadable picture", "unreadable caption"
COMPLEXITY, ACTION, TEXT = "complexity", "action", "text in the picture"


@dataclass(kw_only=True)
class ShardReport:
    """What became of the samples of a shard.

    Attributes:
        shard: the name of the shard that was made, and ``source`` the :func:`state_of` the one that it was made of.
        kept: samples in it.
        dropped: samples that are not, by the rule that dropped them.
        captions: of kept samples that are left out, since they alone do not pass.
        faces: that were blurred, and ``blurred`` the samples with any.
        stills: pictures of which the first frame alone is kept.
        examples: of kept samples and of those dropped by each rule: the sample, its caption, and why.
        lines: what of the source could not be read.
        size: bytes of the new shard, ``digest`` their SHA-256, and ``mtime_ns`` when they were written.
    """

    shard: str
    source: dict[str, Any] = field(default_factory=dict)
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    captions: int = 0
    faces: int = 0
    blurred: int = 0
    stills: int = 0
    examples: dict[str, list[list[str]]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    size: int = 0
    digest: str = ""
    mtime_ns: int = 0

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
            BadData: it changed meanwhile.
        """
        report = ShardReport(shard=target.name, source=state_of(source))
        draft = target.with_name(f".{target.name}.draft")
        draft.unlink(missing_ok=True)  # a link there would be followed
        with draft.open("wb") as stream:
            hashed = _Hashed(stream)
            with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
                found = members(source, report.lines.append)
                for key, parts in itertools.groupby(found, lambda member: split_name(member.name)[0]):
                    for part in self._sample(key, list(parts), report):
                        entry = tarfile.TarInfo(part.name)
                        entry.size = len(part.content)
                        archive.addfile(entry, io.BytesIO(part.content))
            stream.flush()
            os.fsync(stream.fileno())
        if state_of(source, report.source["digest"]) != report.source:
            draft.unlink()
            raise BadData(f"{source}: it changed while it was cleaned; give the command again when it is whole")
        report.size, report.digest = hashed.size, hashed.digest.hexdigest()
        report.mtime_ns = draft.stat().st_mtime_ns
        write_atomic(report_file(target), write_checked_json(dataclasses.asdict(report)))
        draft.replace(target)
        return report

    def _sample(self, key: str, parts: Sequence[Member], report: ShardReport) -> list[Member]:
        """The members of a sample that stays; none of one that is dropped."""
        pictures = [part for part in parts if split_name(part.name)[1] in PICTURES]
        try:
            captions = read_captions(parts)
        except BadData as error:
            return self._drop(report, NO_TEXT, key, "", str(error))
        if len(pictures) != 1 or not captions.texts:
            why = f"{len(pictures)} pictures, {len(captions.texts)} captions"
            return self._drop(report, NO_PICTURE, key, "", why)
        text = " | ".join(each.strip() for each in captions.texts)
        kept, rule, why = self._passing(captions.texts)
        if not kept:
            return self._drop(report, rule, key, text, why)
        if self._spotter is not None or self._blur is not None:
            try:
                picture = self._picture(pictures[0])
            except RequestFailed as error:
                return self._drop(report, UNREADABLE, key, text, str(error))
            kept, words = self._unwritten(picture, kept)
            if not kept:
                return self._drop(report, TEXT, key, text, ", ".join(words))
        made, faces = with_captions(parts, captions, kept), 0
        if why := _untrainable(report.shard, key, made):
            return self._drop(report, NO_PICTURE, key, text, why)
        if self._blur is not None:
            made, faces = self._blurred(made, self._blur, report)
        report.kept += 1
        report.captions += len(captions.texts) - len(kept)
        report.faces += faces
        report.blurred += bool(faces)
        report.note("kept", key, " | ".join(each.strip() for each in kept), f"{faces} faces blurred" if faces else "")
        return made

    def _passing(self, captions: Sequence[str]) -> tuple[Sequence[str], str, str]:
        """The captions that pass the parse; where none does, the first rule that none of them passes, and why."""
        if self._parser is None:
            return captions, "", ""
        parses = [(caption, self._parser(caption.strip())) for caption in captions]
        found = [(caption, parse) for caption, parse in parses if parse.complexity >= LEAST]
        if not found:
            most = max(parse.complexity for _, parse in parses)
            return (), COMPLEXITY, f"at most {most} relations of one object"
        return [caption for caption, parse in found if parse.actions], ACTION, "no verb but those that are attributes"

    def _unwritten(self, picture: NDArray[np.uint8], captions: Sequence[str]) -> tuple[Sequence[str], list[str]]:
        """The captions that do not repeat a text in the picture, and the words of the others."""
        if self._spotter is None:
            return captions, []
        read = self._spotter(picture)
        words = {caption: repeated(read, caption) for caption in captions}
        return [caption for caption in captions if not words[caption]], sorted(set().union(*words.values()))

    def _blurred(self, parts: Sequence[Member], blur: FaceBlur, report: ShardReport) -> tuple[list[Member], int]:
        """The members with faces blurred in every picture, also in a thumbnail beside the one; and how many.

        Of a picture with several frames the first is kept: faces are looked for in no other, and training and
        evaluation read no other.
        """
        made: list[Member] = []
        names = {part.name for part in parts}
        count = 0
        for part in parts:
            stem, _, ending = part.name.rpartition(".")
            if ending.lower() not in (*PICTURES, *OTHER_PICTURES):
                made.append(part)
                continue
            try:
                picture = self._picture(part)
            except RequestFailed as error:
                report.lines.append(f"{report.shard}: {part.name} is left out: {error}")
                continue
            faces = blur.find(picture)
            count += len(faces)
            is_cut = may_have_frames(part.content)
            report.stills += is_cut
            if not (faces or is_cut):
                made.append(part)
                continue
            # Another kind of picture must not become the sample's one, nor take the name of a member.
            is_free = ending.lower() in PICTURES and f"{stem}.png" not in names - {part.name}
            name = f"{stem}.png" if is_free else f"{part.name}.png"
            made.append(dataclasses.replace(part, name=name, content=blur.blur(picture, faces)))
        return made, count

    def _picture(self, part: Member) -> NDArray[np.uint8]:
        self._content = part.content
        digest = hashlib.sha256(part.content).hexdigest()
        return self._reader.image(Media(kind="image", uri=f"row:{part.name}", digest=digest))

    def _drop(self, report: ShardReport, rule: str, key: str, caption: str, why: str) -> list[Member]:
        report.dropped[rule] = report.dropped.get(rule, 0) + 1
        report.note(rule, key, caption, why)
        return []


def state_of(source: Path, digest: str = "") -> dict[str, Any]:
    """What tells a source from another of its name: its size, its time of change, and its digest.

    Args:
        source: the shard.
        digest: where it is known.

    Raises:
        MissingData: it cannot be read.
    """
    try:
        found = source.stat()
        digest = digest or sha256_of([source])[0]
    except OSError as error:
        raise MissingData(f"{source}: {reason(error)}") from error
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "digest": digest}


def _untrainable(shard: str, key: str, parts: Sequence[Member]) -> str:
    """Why training makes no sample of these members, by its own rules; empty where it does."""
    try:
        list(shard_samples(DataAddress(kind="webdataset", path=shard), shard, key, iter(parts)))
    except BadData as error:
        return str(error)
    return ""


class _Hashed:
    """A stream that is hashed and counted while it is written."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.digest, self.size = stream, hashlib.sha256(), 0

    def write(self, content: bytes) -> int:
        """Write all of it."""
        self.digest.update(content)
        self.size += len(content)
        return int(self._stream.write(content))
