"""``webdataset:SHARDS``: tar shards in WebDataset's layout, for data of LAION's size; streamed shard by shard.

SHARDS is a path with ranges, ``/data/{00000..00331}.tar``, a pattern, ``/data/*.tar``, an address with ranges,
``https://host/{00000..00331}.tar``, or ``pipe:`` and a command that writes a shard,
``pipe:aws s3 cp s3://b/{0..9}.tar -``. Consecutive members with the same name up to the first dot are a sample: a
medium and its caption, or a conversation with any number of media (``_shard_sample.py`` has the layouts)::

    000000012.jpg   000000012.txt   000000012.json

Media are not held in memory: a uri ``row:SHARD#OFFSET+SIZE:MEMBER`` holds the place of one in its shard, and the opener
reads it there, in any thread, process or order. The ``webdataset`` library does not report these places and ends a
shard silently at a damaged header or a truncated end, so ``tarfile`` reads the shards. Shards may be compressed with
gzip, bzip2 or xz. The fingerprint is of their names and sizes; of addresses and commands of their texts alone, since
nothing is fetched before training.
"""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path
from urllib.parse import urlsplit

from anymal_eval import fingerprint
from anymal_eval.errors import BadData, MediaError, MissingData, WrongUse
from anymal_eval.media.location import ROW, safe_path
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import NO_SAMPLE, DataAddress, TrainingData
from anymal_eval.training.sources._bad_rows import BadRows
from anymal_eval.training.sources._cleaning import cleaning_of
from anymal_eval.training.sources._remote_shard import PIPE, is_address, without_secrets
from anymal_eval.training.sources._shard_file import ENDINGS, open_shard
from anymal_eval.training.sources._shard_sample import shard_samples, split_name
from anymal_eval.training.sources._table import refuse_missing
from anymal_eval.training.sources._tar import members

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://.")
COMMANDS = {"s3": "aws s3 cp {} -", "gs": "gsutil cp {} -"}


@dataclass(frozen=True, kw_only=True)
class Shards:
    """An opener for the members of these shards, and for no other file.

    Attributes:
        paths: the file or address of each, by the name that a uri has.
    """

    paths: Mapping[str, str]

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
        content = open_shard(self.paths[address[: span.start()]]).at(offset, size)
        if len(content) != size:
            raise MediaError(f"{uri}: the shard ends before; has it changed?")
        return content


def load(address: DataAddress) -> TrainingData:
    """The shards; reads none of them yet.

    Raises:
        WrongUse: an address that only a command can read, or a range that counts down.
        MissingData: shards are missing.
        BadData: one is not named as a tar file is, or is a symbolic link out of its folder.
    """
    remote = is_address(address.path)
    if not remote and (scheme := SCHEME.match(address.path)):
        command = COMMANDS.get(scheme[1].lower(), "COMMAND, one that writes the shard to standard output")
        raise WrongUse(
            f"{address.path}: {scheme[1]}:// addresses are read by a command: write "
            f"webdataset:{PIPE}{command.format(address.path)}"
        )
    named = expand(address.path, patterns=not remote)
    other = [] if address.path.startswith(PIPE) else [path for path in named if not _file(path).endswith(ENDINGS)]
    if other:
        name = without_secrets(other[0])
        raise BadData(f"{name}: shards must be files {', '.join(ENDINGS)}; no other format is read")
    if remote:
        shown = list(map(without_secrets, named))
        if any("@" in urlsplit(each).netloc for each in named if not each.startswith(PIPE)):
            raise BadData(f"{shown[0]}: no user or password is sent; write pipe: with a command that fetches the shard")
        if len(set(shown)) < len(named):
            raise BadData(f"{shown[0]}: the addresses of two shards differ in their query alone")
        return _data(address, dict(zip(shown, named, strict=True)), shown, [])
    paths = [Path(path).absolute() for path in named]
    shards = [path for path in paths if path.is_file()]
    missing = [f"no shard {path}" for path in paths if path not in set(shards)]
    refuse_missing(address, missing)
    if not shards:
        raise MissingData(f"no shard {address.path}")
    for shard in shards:
        safe_path(shard.parent, shard.name)
    sizes = [[path.name, path.stat().st_size] for path in shards]
    data = _data(address, {str(path): str(path) for path in shards}, sizes, missing)
    return replace(data, cleaned=cleaning_of(shards))


def _data(address: DataAddress, shards: Mapping[str, str], content: object, missing: list[str]) -> TrainingData:
    bad = BadRows()
    return TrainingData(
        name=f"{address.kind}:{without_secrets(address.path)}",
        fingerprint=fingerprint.of([address.kind, address.prompting, content]),
        shards=len(shards),
        stream=functools.partial(_read, address, list(shards.items()), missing, bad),
        opener=Shards(paths=shards),
        unreadable=missing,
        bad=bad,
    )


def _file(path: str) -> str:
    """The part of an address that ends as its file does; a path as it is."""
    return urlsplit(path).path if is_address(path) else path


def expand(path: str, *, patterns: bool = True) -> list[str]:
    """The files that a path with ranges, or a pattern where ``patterns`` is set, names.

    >>> expand("/data/{08..11}.tar")
    ['/data/08.tar', '/data/09.tar', '/data/10.tar', '/data/11.tar']

    Raises:
        WrongUse: a range counts down.
    """
    pieces = RANGE.split(path)
    texts, ranges = pieces[::3], list(zip(pieces[1::3], pieces[2::3], strict=True))
    for low, high in ranges:
        if int(low) > int(high):
            raise WrongUse(f"{without_secrets(path)}: the range {{{low}..{high}}} counts down: write {{{high}..{low}}}")
    numbers = [[f"{number:0{len(low)}d}" for number in range(int(low), int(high) + 1)] for low, high in ranges]
    paths = [
        "".join(itertools.chain(*zip(texts, (*chosen, ""), strict=True))) for chosen in itertools.product(*numbers)
    ]
    return [
        found for each in paths for found in (sorted(glob(each)) if patterns and re.search(r"[*?[]", each) else [each])
    ]


def _read(
    address: DataAddress, shards: Sequence[tuple[str, str]], unreadable: list[str], bad: BadRows, number: int
) -> Iterator[Sample]:
    def report(line: str) -> None:
        if line not in bad.reasons:  # a shard is read once an epoch
            bad.reasons[line] = NO_SAMPLE
            unreadable.append(line)

    name, path = shards[number]
    before: set[str] = set()
    rows = 0
    for key, parts in itertools.groupby(members(path, report, name), lambda member: split_name(member.name)[0]):
        rows += 1
        if key in before:
            report(f"{name}: {key}: its files do not follow one another; write the shard sorted by name")
            continue
        before.add(key)
        try:
            yield from shard_samples(address, name, key, parts)
        except BadData as error:
            report(str(error))
    bad.read(number, rows)
