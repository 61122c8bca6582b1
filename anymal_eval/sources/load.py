"""Rows to examples: the one place where a task's data is read, checked and given a fingerprint."""

import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from anymal_eval import fingerprint
from anymal_eval.codec import json_writer, read_json
from anymal_eval.errors import FULL, BadData, WrongUse, system_error
from anymal_eval.json_rows import by_identity
from anymal_eval.media.location import ROW, files_in_folders, listing_folders
from anymal_eval.records import Example, Media
from anymal_eval.sources.folder import refuse_doubles, refuse_links_out
from anymal_eval.sources.hub import Hub
from anymal_eval.sources.own import own_file
from anymal_eval.sources.tables import BySplit, Table, without_faults
from anymal_eval.task import RowSource, Split, Task

Kind = Literal["official", "hub", "demo"]
DEMO_EXAMPLES = 200


def load_examples(
    task: Task,
    split: Split,
    kind: Kind,
    root: Path,
    *,
    demo_examples: int = DEMO_EXAMPLES,
    demo_seed: int = 0,
) -> list[Example]:
    """All examples of a split, in the order of the files.

    Args:
        task: the benchmark.
        split: one of its splits.
        kind: where rows come from: files under ``root``, the hub, or the demo world (made if it is not there).
        root: ``DIR``, the folder above ``DIR/<task>``; used by ``official`` alone.
        demo_examples: how many examples the demo world holds.
        demo_seed: its seed.

    Raises:
        MissingData, BadData: one line that names the file, and the row or the ids.
    """
    source = source_of(task, kind)
    folder = data_root(task, split, kind, root, (demo_examples, demo_seed))
    if kind != "hub" and own_file(task) is None:
        refuse_links_out(folder, source.files(split))
    with collector_resting(), listing_folders():
        examples = [task.to_example(row) for row in source.rows(folder, split)]
    named = _name_of(source, folder, split)
    _require_consistent(examples, named, split)
    return _with_demo_groups(examples, folder) if kind == "demo" else examples


def whole_examples(task: Task, split: Split, root: Path) -> tuple[list[Example], list[str]]:
    """The official examples without a fault, and a line for each fault, as far as the files can be read past one.

    Raises:
        MissingData: files are missing.
        BadData: an official file is a link out of the data folder.
    """
    faults: list[str] = []
    source, folder = task.official, data_root(task, split, "official", root)
    if own_file(task) is None:
        refuse_links_out(folder, source.files(split))
    table = source.table(split) if isinstance(source, BySplit) else source
    rows = table.rows_past_faults(folder, split, faults) if isinstance(table, Table) else table.rows(folder, split)
    with listing_folders():
        examples = list(without_faults(map(task.to_example, rows), faults))
    try:
        _require_consistent(examples, _name_of(source, folder, split), split)
    except BadData as error:
        faults += [str(error)] if examples or not faults else []
    return examples, faults


def _require_consistent(examples: list[Example], named: str, split: Split) -> None:
    if not examples:
        raise BadData(f"{named}: no example in split {split.name}")
    refuse_doubles((example.id for example in examples), named)
    for example in examples:
        if example.label is not None and not 0 <= example.label < len(example.options):
            raise BadData(f"{named}: {example.id}: label {example.label} is outside its {len(example.options)} options")


def unavailable(task: Task, kind: Kind) -> str:
    """Why the task cannot have examples of that kind, for a message; empty where it can."""
    if kind == "demo":
        from anymal_eval.demo import tasks

        return "" if task.name in tasks() else "it has no demo data"
    if kind == "hub" and (task.hub is None or (isinstance(task.hub, Hub) and not task.hub.id)):
        return "it has no known copy on the hub"
    return ""


def source_of(task: Task, kind: Kind) -> RowSource:
    """Where the rows of a task come from.

    Raises:
        WrongUse: the task has no demo data, or no hub source.
    """
    if kind != "official" and (file := own_file(task)) is not None:
        raise WrongUse(f"{file} is your own data: it has no {kind} data; leave out --data")
    if kind == "demo" and unavailable(task, kind):
        raise WrongUse(f"task {task.name} has no demo data; give its own data with --data official --data-root DIR")
    if kind != "hub":
        return task.official
    if task.hub is None:
        raise WrongUse(f"task {task.name} has no copy on the hub; use --data official")
    return task.hub


def hub_splits(task: Task) -> tuple[str, ...]:
    """The names of the task's splits that its copy on the hub has; empty where it has none or does not tell."""
    known = task.hub.splits if isinstance(task.hub, Hub) else {}
    return tuple(split.name for split in task.splits if split.name in known)


def with_hub_id(task: Task, hub_id: str | None, config: str | None = None, revision: str | None = None) -> Task:
    """The same task, read from another hub data set (or local folder) with the same columns.

    Args:
        task: the benchmark.
        hub_id: the data set; None for the task's own. One of its names of before or after a move has the others as
            aliases.
        config: its configuration; None for the task's own.
        revision: the commit; None for the one that the task pins, or the newest.

    Raises:
        WrongUse: the task has no hub source.
    """
    source = source_of(task, "hub")
    if not isinstance(source, Hub):
        raise WrongUse(f"the hub source of task {task.name} takes no id")
    named: dict[str, Any] = {"id": hub_id, "config": config, "pinned": revision}
    if hub_id is not None and hub_id != source.id:
        names = [source.id, *source.aliases]
        same = [name for name in names if name.split("/")[:2] == hub_id.split("/")]
        named["aliases"] = tuple(name for name in names if name not in same) if same else ()
        named["config"] = config or next((each for name in same if (each := "/".join(name.split("/")[2:]))), None)
    return replace(task, hub=replace(source, **{key: name for key, name in named.items() if name is not None}))


def data_root(task: Task, split: Split, kind: Kind, root: Path, demo: tuple[int, int] = (DEMO_EXAMPLES, 0)) -> Path:
    """The folder of a task's files, to which media names are relative; ``demo`` is the world's (examples, seed)."""
    if kind != "demo" and (file := own_file(task)) is not None:
        return file.parent
    return (demo_folder(task, split, *demo) if kind == "demo" else root) / task.name


def data_fingerprint(examples: Iterable[Example], root: Path) -> str:
    """A short name for the content of the data: the same wherever the files lie.

    It covers ids, clusters, questions, contexts, options, references, labels and media names relative to
    ``root`` (``DIR/<task>``), in the order given; not the bytes of the media.
    """
    return fingerprints(examples, root)[0]


def content_fingerprint(examples: Iterable[Example]) -> str:
    """A short name for what every copy of a benchmark shares: equal for a hub copy and the official files of one split.

    It covers the pairing keys, questions, contexts, options, references and labels, in the order of the keys; not the
    media, the clusters or the ids, which copies name in their own ways.
    """
    return fingerprints(examples, Path())[1]


def fingerprints(examples: Iterable[Example], root: Path) -> tuple[str, str]:
    """:func:`data_fingerprint` and :func:`content_fingerprint`, most of whose text is the same and is written once."""
    home = str(root.absolute())
    shared: list[str] = []
    quoted = _Quoted()

    def lines() -> Iterator[str]:
        media: tuple[Media, ...] = ()
        named = "[]"
        for item in examples:
            if item.media is not media:  # questions about one picture share it
                media, named = item.media, _JSON([_named(medium, home) for medium in item.media])
            context = _JSON(dict(item.context)) if item.context else "{}"
            # Piece by piece: answers and clusters come again and again, and a writer of lists looks at each anew.
            text = f"{_JSON(item.question)}, {context}, {quoted.all(item.options)}, {quoted.all(item.references)}"
            text = f"{text}, {'null' if item.label is None else _JSON(item.label)}"
            name = _JSON(item.id)
            shared.append(f"[{_JSON(item.key) if item.key else name}, {text}]")
            yield f"[{name}, {quoted[item.cluster]}, {text}, {named}]"

    data = fingerprint.of_lines(lines())
    shared.sort()
    return data, fingerprint.of_lines(shared)


_JSON = json_writer(ensure_ascii=True, sort_keys=True)


class _Quoted(dict[str, str]):
    """Texts as JSON, each written once."""

    def __missing__(self, text: str) -> str:
        found = _JSON(text)
        if isinstance(text, str):  # a task of the user's own may hold anything
            self[text] = found
        return found

    def all(self, texts: Sequence[str] | None) -> str:
        """A list of them; null for None."""
        return "null" if texts is None else f"[{', '.join(map(self.__getitem__, texts))}]"


def missing_media(examples: Iterable[Example]) -> list[str]:
    """The local media files that are not there, each once, in the order of the examples."""
    different = by_identity([example.media for example in examples]).values()  # questions about one picture share it
    names = dict.fromkeys(medium.uri for media in different for medium in media if not medium.uri.startswith(ROW))
    listed = files_in_folders(names)
    # Not Path.is_file, which raises where a name is longer than the file system takes. Not the listed names alone: a
    # file system may take other letters for the same name.
    return [name for name in names if name not in listed and not os.path.isfile(name)]


def demo_folder(task: Task, split: Split, examples: int, seed: int) -> Path:
    """The folder above ``<task>`` where the demo world of that size and seed lies; written if it is not there.

    Raises:
        WrongUse: the demo world has only the default split of every task.
    """
    from anymal_eval.demo import default_root, write_task

    if split.name != task.splits[0].name:
        raise WrongUse(f"the demo world has no split {split.name} of {task.name}; it has {task.splits[0].name}")
    folder = default_root(examples=examples, seed=seed)
    try:
        write_task(task.name, folder, examples=examples, seed=seed)
    except OSError as error:
        if error.errno in FULL:
            raise system_error(error, folder) from None
        raise WrongUse(f"{system_error(error, folder)} (ANYMAL_EVAL_CACHE names the folder of the cache)") from None
    return folder


@contextmanager
def collector_resting() -> Iterator[None]:
    """No garbage collection: millions of small records come, or thousands of modules, and almost none is garbage.

    Looking takes half of the time of reading, and a fifth of that of importing torch and transformers.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _with_demo_groups(examples: list[Example], folder: Path) -> list[Example]:
    # The wordings that training never uses are listed in a file beside the official ones, which have no place for them.
    from anymal_eval.demo import GROUPS

    groups = read_json(folder / GROUPS)
    return [replace(item, groups={**item.groups, **groups.get(item.id, {})}, key="") for item in examples]


def _named(medium: Media, root: str) -> list[object]:
    # In a row's name, what stands before the revision may be a local folder: it only locates the data.
    in_row = medium.uri.startswith(ROW)
    name = medium.uri.rpartition("@")[2] if in_row else medium.uri.removeprefix(f"{root}/")
    return [medium.kind, name, medium.start_s, medium.end_s]


def _name_of(source: RowSource, root: Path, split: Split) -> str:
    if isinstance(source, Hub):
        return f"{source.id} {split.name}"
    files: Sequence[Path] = [root / file.name for file in source.files(split) if not file.is_folder]
    return str(next((file for file in files if file.is_file()), root))
