"""``DIR/<task>``: the official files that must be there, and media below it that must not lead out of it."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from anymal_eval.codec import read_json_lines
from anymal_eval.errors import BadData, MissingData, listed
from anymal_eval.media.broken import stands_in
from anymal_eval.media.location import safe_file, safe_path
from anymal_eval.sources.fields import Fields
from anymal_eval.task import DataFile

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


def require(root: Path, files: Sequence[DataFile]) -> None:
    """Make sure that the needed files (not folders: media may be absent) are there.

    Raises:
        MissingData: one line that names all that are missing and where each comes from.
        BadData: one is a web page, or a pointer of Git LFS, that was saved in its place.
    """
    lacking = [file for file in files if file.needed and not file.is_folder and not (root / file.name).is_file()]
    if lacking:
        raise missing(root, [f"{file.name} (from {file.origin})" for file in lacking])
    for file in files:
        if file.needed and not file.is_folder:
            with (root / file.name).open("rb") as opened:
                instead = stands_in(opened.read(512))
            if instead:
                raise BadData(
                    f"{root / file.name}: it is {instead}, not the file: its download failed; move it away, then "
                    f"'anymal-eval data fetch {root.name} --data-root {root.parent}', or fetch it from {file.origin}"
                )


def refuse_links_out(root: Path, files: Iterable[DataFile]) -> None:
    """Make sure that the official files themselves are no links out of the folder; folders are looked at by name.

    Raises:
        BadData: one is; the message names it, and the option that allows it.
    """
    for file in files:
        if not file.is_folder:
            safe_path(root, file.name)


def missing(root: Path, what: Sequence[str]) -> MissingData:
    """An error that ``what`` is not under ``root``, to be raised; each begins with the name of a file."""
    return MissingData(f"not in {root}: {', '.join(what)}; {_remedy(root, what)}")


def _remedy(root: Path, what: Sequence[str]) -> str:
    """What to do, by one look into the two folders; ``data doctor`` looks at all below them."""
    above, name = root.parent, root.name
    names = [each.partition(" ")[0] for each in what]
    if any((above / each).is_file() for each in names):
        folder = Path(os.path.abspath(above))
        if folder.name == name:
            return f"{above} is the folder of {name} itself: give --data-root {folder.parent}"
        return f"{above} holds it: link it with 'anymal-eval data link {name} --from {above} --data-root DIR'"
    places = [each for each in (root, above) if each.is_dir()]
    archives = [each for place in places for each in sorted(place.iterdir()) if each.name.lower().endswith(ARCHIVES)]
    if archives:
        shown = listed([str(each) for each in archives], 3)
        return f"{shown} may hold it: 'anymal-eval data doctor {name} --data-root {above} --fix' unpacks what is needed"
    return (
        f"put it there, or name the folder above {name}/ with --data-root ('anymal-eval data fetch {name}' fetches "
        f"what is public, 'data doctor {name}' looks for other names)"
    )


def medium(root: Path, folder: str, name: str, row: Fields) -> str:
    """The absolute path of a medium that an annotation file names.

    ``folder`` is fixed by the benchmark's layout, ``name`` comes from the file and may not leave that folder. Links are
    followed as :func:`anymal_eval.media.location.safe_path` says.

    Raises:
        BadData: it is absolute, climbs out with ``..``, or a link leads out of the data folder.
    """
    if not name or "\0" in name:
        raise row.bad(f"{name!r} is no file name")
    try:
        return safe_file(str(root.absolute()), name, "" if folder == "." else folder)
    except BadData as error:
        raise row.bad(str(error)) from None


def medium_within(root: Path, folder: str, path: str, row: Fields) -> str:
    """The same where the annotation file names the folder too, as in ``img/08291.png``."""
    inside = path.removeprefix(f"{folder}/")
    return medium(root, folder if inside != path else ".", inside, row)


def first_of(candidates: Sequence[str]) -> str:
    """The first path that exists, or the first at all: a medium may be absent until it is opened."""
    if len(candidates) == 1:
        return candidates[0]
    # Not Path.exists, which raises where a name is longer than the file system takes.
    return next((path for path in candidates if os.path.exists(path)), candidates[0])


def refuse_doubles(ids: Iterable[str], file: Path | str, what: str = "id") -> None:
    """Make sure that no id comes twice.

    Raises:
        BadData: some do; names the file and the ids.
    """
    counted = Counter(ids)
    if counted.total() > len(counted):
        doubles = [name for name, count in counted.items() if count > 1]
        raise BadData(f"{file}: {len(doubles)} double {what}{'s' * (len(doubles) > 1)}: {listed(doubles)}")


def read_lines(file: Path, bad: Callable[[str, BadData], None] | None = None) -> Iterator[Fields]:
    """The rows of a JSON lines file.

    Args:
        file: the file.
        bad: called with the place and the error of a line that is no JSON object, which is then left out.

    Raises:
        BadData: a line is no JSON object, or its bytes are no UTF-8, and ``bad`` is not given.
    """
    for number, data in read_json_lines(file, bad=bad):
        try:
            row = Fields(data, file, f"line {number}")
        except BadData as error:
            if bad is None:
                raise
            bad(f"{file}: line {number}", error)
            continue
        yield row
