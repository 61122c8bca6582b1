"""Media beside a copy's rows, in files or in an archive as ``videos.zip`` of lmms-eval/NExTQA, which is not unpacked.

They are named like any medium of a copy: ``row:ID@REVISION/-/ARCHIVE.zip/MEMBER#0``, or ``row:ID@REVISION/-/*/FILE#0``,
with MEMBER and FILE quoted as in an URL.
"""

import functools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from anymal_eval.errors import BadData, reason
from anymal_eval.media.location import ROW, safe_path

ENDING = ".zip"
FILES = "*"
LARGEST_MEMBER = 4 << 30  # bytes; a clip of some minutes has a hundredth of it


def beside_rows(place: str, names: tuple[str, ...]) -> str | None:
    """The uri of a medium that lies in a copy: in a local folder or the hub's cache, as a file or in an archive.

    Args:
        place: ``ID@REVISION/CONFIG/SPLIT`` of the rows.
        names: file names of the medium, such as ``123.mp4``; the first that is there counts.

    Raises:
        BadData: an archive is damaged, or the file is a link out of the folder.
    """
    name, _, rest = place.rpartition("@")
    revision = rest.split("/", 1)[0]
    folder = _folder(name, revision)
    if folder is None:
        return None
    files, archives = _listing(folder)
    for each in names:
        if each in files:
            safe_path(folder.absolute(), files[each])
            return f"{ROW}{name}@{revision}/-/{FILES}/{quote(files[each], safe='')}#0"
        if each in archives:
            archive, member = archives[each]
            return f"{ROW}{name}@{revision}/-/{archive}/{quote(member, safe='')}#0"
    return None


def read_member(file: Path, column: str) -> bytes:
    """The bytes of a member of an archive; ``column`` is its quoted name.

    Raises:
        BadData: it is not there, damaged or larger than ``LARGEST_MEMBER``.
    """
    member = unquote(column)
    try:
        with zipfile.ZipFile(file) as archive:
            if (size := archive.getinfo(member).file_size) > LARGEST_MEMBER:
                raise BadData(f"{file}: {member} has {size:,} bytes, more than the {LARGEST_MEMBER:,} that are read")
            return archive.read(member)
    except (KeyError, zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise BadData(f"{file}: {member}: {reason(error)}; is the file whole?") from None


def _folder(name: str, revision: str) -> Path | None:
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "README.md", repo_type="dataset", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


@functools.lru_cache(maxsize=4)
def _listing(folder: Path) -> tuple[Mapping[str, str], Mapping[str, tuple[str, str]]]:
    """The files of a copy by their bare name, with their path in it, and the members of its archives likewise."""
    files: dict[str, str] = {}
    archives: dict[str, tuple[str, str]] = {}
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        files.setdefault(file.name, file.relative_to(folder).as_posix())
        if file.suffix != ENDING or file.parent != folder:
            continue
        try:
            with zipfile.ZipFile(safe_path(folder.absolute(), file.name)) as archive:
                for member in archive.namelist():
                    archives.setdefault(member.rpartition("/")[2], (file.name, member))
        except (zipfile.BadZipFile, OSError) as error:
            raise BadData(f"{file}: {reason(error)}; is the file whole?") from None
    return files, archives
