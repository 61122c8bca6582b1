"""``webdataset:SHARDS``: tar shards in WebDataset's layout, for data of LAION's size; streamed shard by shard.

SHARDS is a path with ranges, ``/data/{00000..00331}.tar``, or a pattern, ``/data/*.tar``. Consecutive members with the
same name up to the first dot are a sample: one medium (jpg, jpeg, png, webp; wav, flac, mp3, ogg; mp4, webm) and its
caption, in a txt, or as "caption" in a json::

    000000012.jpg   000000012.txt   000000012.json

Media are not held in memory: a uri ``row:SHARD#OFFSET+SIZE:MEMBER`` holds the place of one in its shard, and the opener
reads it there, in any thread, process or order. The ``webdataset`` library does not report these places and ends a
shard silently at a damaged header or a truncated end, so ``tarfile`` reads the shards. Shards may be compressed with
gzip, bzip2 or xz, and lie on disk. The fingerprint is of their names and sizes.
"""

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from anymal_eval import fingerprint
from anymal_eval.errors import BadData, MediaError, MissingData
from anymal_eval.media.location import ROW, safe_path
from anymal_eval.records import Media, MediaKind
from anymal_eval.sources.fields import Fields
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import NO_SAMPLE, DataAddress, TrainingData
from anymal_eval.training.sources._bad_rows import BadRows
from anymal_eval.training.sources._shard_file import ENDINGS as ENDINGS_OF_SHARDS
from anymal_eval.training.sources._shard_file import open_shard
from anymal_eval.training.sources._table import caption_samples, captions_of, refuse_missing
from anymal_eval.training.sources._tar import Member, members

ENDINGS: dict[str, MediaKind] = {
    **dict.fromkeys(("jpg", "jpeg", "png", "webp"), "image"),
    **dict.fromkeys(("wav", "flac", "mp3", "ogg"), "audio"),
    **dict.fromkeys(("mp4", "webm"), "video"),
}  # fmt: skip
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")


@dataclass(frozen=True, kw_only=True)
class Shards:
    """An opener for the members of these shards, and for no other file."""

    paths: frozenset[str]

    def __call__(self, uri: str) -> bytes:
        """The bytes behind a ``row:SHARD#OFFSET+SIZE:MEMBER``.

        Raises:
            MediaError: it is in none of these shards, or the shard is shorter now.
            OSError: the shard cannot be read.
        """
        address = uri.removeprefix(ROW)
        spans = re.finditer(r"#(\d+)\+(\d+):", address)
        span = next((found for found in spans if address[: found.start()] in self.paths), None)
        if span is None:
            raise MediaError(f"{uri}: it is in none of the {len(self.paths)} shards that are open here")
        offset, size = int(span[1]), int(span[2])
        content = open_shard(Path(address[: span.start()])).at(offset, size)
        if len(content) != size:
            raise MediaError(f"{uri}: the shard ends before; has it changed?")
        return content


def load(address: DataAddress) -> TrainingData:
    """The shards; reads none of them yet.

    Raises:
        MissingData: shards are missing.
        BadData: one is not named as a tar file is, or is a symbolic link out of its folder.
    """
    named = expand(address.path)
    other = [path for path in named if not path.endswith(ENDINGS_OF_SHARDS)]
    if other:
        raise BadData(f"{other[0]}: shards must be files {', '.join(ENDINGS_OF_SHARDS)}; no other format is read")
    paths = [Path(path).absolute() for path in named]
    shards = [path for path in paths if path.is_file()]
    missing = [f"no shard {path}" for path in paths if path not in set(shards)]
    refuse_missing(address, missing)
    if not shards:
        raise MissingData(f"no shard {address.path}")
    for shard in shards:
        safe_path(shard.parent, shard.name)
    sizes = [[path.name, path.stat().st_size] for path in shards]
    bad = BadRows()
    return TrainingData(
        name=address.name,
        fingerprint=fingerprint.of([address.kind, address.prompting, sizes]),
        shards=len(shards),
        stream=functools.partial(_read, address, shards, missing, bad),
        opener=Shards(paths=frozenset(map(str, shards))),
        unreadable=missing,
        bad=bad,
    )


def expand(path: str) -> list[str]:
    """The files that a path with ranges, or a pattern, names.

    >>> expand("/data/{08..11}.tar")
    ['/data/08.tar', '/data/09.tar', '/data/10.tar', '/data/11.tar']
    """
    pieces = RANGE.split(path)
    texts, ranges = pieces[::3], list(zip(pieces[1::3], pieces[2::3], strict=True))
    numbers = [[f"{number:0{len(low)}d}" for number in range(int(low), int(high) + 1)] for low, high in ranges]
    paths = [
        "".join(itertools.chain(*zip(texts, (*chosen, ""), strict=True))) for chosen in itertools.product(*numbers)
    ]
    return [found for each in paths for found in (sorted(glob(each)) if re.search(r"[*?[]", each) else [each])]


def _read(
    address: DataAddress, shards: Sequence[Path], unreadable: list[str], bad: BadRows, number: int
) -> Iterator[Sample]:
    def report(line: str) -> None:
        if line not in bad.reasons:  # a shard is read once an epoch
            bad.reasons[line] = NO_SAMPLE
            unreadable.append(line)

    before: set[str] = set()
    for key, parts in itertools.groupby(members(shards[number], report), lambda member: _key(member.name)[0]):
        if key in before:
            report(f"{shards[number]}: {key}: its files do not follow one another; write the shard sorted by name")
            continue
        before.add(key)
        try:
            yield from _samples(address, shards[number], key, parts)
        except BadData as error:
            report(str(error))


def _samples(address: DataAddress, shard: Path, key: str, parts: Iterator[Member]) -> Iterator[Sample]:
    row = Fields({}, shard, key)
    media, texts = [], {}
    for part in parts:
        ending = _key(part.name)[1]
        if ending in ENDINGS:
            digest = hashlib.sha256(part.content).hexdigest()
            uri = f"{ROW}{shard}#{part.offset}+{len(part.content)}:{part.name}"
            media.append(Media(kind=ENDINGS[ending], uri=uri, digest=digest))
            if not part.content:
                raise row.bad(f"{part.name} is empty (0 bytes)")
        elif ending in ("txt", "json"):
            texts[ending] = part.content
    if len(media) != 1:
        raise row.bad(f"{len(media)} media, where one of {', '.join(ENDINGS)} was due")
    yield from caption_samples(address, row, f"{shard.stem}/{key}", media[0], _captions(row, shard, key, texts))


def _captions(row: Fields, shard: Path, key: str, texts: dict[str, bytes]) -> tuple[str, ...]:
    try:
        if "txt" in texts:
            return captions_of(Fields({"txt": texts["txt"].decode().strip()}, shard, key), "txt")
        if "json" in texts:
            return captions_of(Fields(json.loads(texts["json"]), shard, key), "caption")
    except (ValueError, RecursionError) as error:
        raise row.bad(f"its caption cannot be read: {error}") from None
    raise row.bad("no caption: neither a txt nor a json")


def _key(name: str) -> tuple[str, str]:
    """Name and ending, split as WebDataset does: at the first dot of the file's name."""
    found = NAME.fullmatch(name)
    return (found[1], found[2].lower()) if found else (name, "")
