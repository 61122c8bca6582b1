"""Finds tasks, models, metrics, protocols and encoders by file name. A file is imported when it is used, not before.

An installed package adds its own by entry points of the groups ``anymal_eval.tasks``, ``anymal_eval.models``,
``anymal_eval.metrics``, ``anymal_eval.protocols``, ``anymal_eval.judge_protocols`` and ``anymal_eval.encoders``.
"""

import ast
import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, TypeVar

from anymal_eval.errors import BadDefinition, NotInCatalog
from anymal_eval.paths import PACKAGE, builtin_tasks

T = TypeVar("T")


class Catalog:
    """The public files of some folders: ``vqav2.py``, or the package ``vqav2/``, defines the thing named ``vqav2``.

    Folders come in order of precedence, the user's own before the built-in ones. Files that start with an
    underscore are helpers and are never listed. Dashes and underscores in a name are the same.

    What installed packages add comes last. A name of theirs that is built in, or that two of them have, is listed
    with that fact and refused when it is used; a file in the user's own folders decides which is meant. An entry point
    names a module, or an object in it; for a TOML file, the package that holds the file.
    """

    def __init__(self, kind: str, folders: Sequence[Path], ending: str = ".py", group: str = "") -> None:
        """Look through ``folders`` for files with that ending, and for entry points of ``group``. Opens none."""
        self.kind, self._ending = kind, ending
        self._files: dict[str, Path] = {}
        for folder in reversed(folders):
            self._files |= {file.name.removesuffix(ending): file for file in sorted(folder.glob(f"[!_]*{ending}"))}
            if ending == ".py":
                self._files |= {file.parent.name: file for file in sorted(folder.glob("[!_]*/__init__.py"))}
        self._added: dict[str, list[EntryPoint]] = {}
        for entry in _entry_points(group, tuple(sys.path)) if group else ():
            name = self._known(entry.name) or entry.name
            # A package that is on the path twice is found twice.
            if entry not in self._added.setdefault(name, []):
                self._added[name].append(entry)

    def names(self) -> list[str]:
        """All names, sorted. Imports nothing."""
        return sorted(self._files.keys() | self._added.keys())

    def summary(self, name: str) -> str:
        """One line: a file's docstring, a TOML file's ``summary``, a package's summary. Imports nothing."""
        known = self._known(name)
        if known is None or known not in self._added:
            return _summary(self.file(name))
        entry = self._added[known][0]
        if known in self._files or self._clash(known):
            return self._clash(known) or _summary(self._files[known])
        file = self._located(entry)
        text = _summary(file) if file is not None else ""
        text = text or (str(entry.dist.metadata.json.get("summary", "")) if entry.dist is not None else "")
        return f"{text} [{_package(entry)}]".strip()

    def file(self, name: str) -> Path:
        """The file that defines ``name``; a package's own is imported to find it.

        Raises:
            NotInCatalog: none does; the message offers the nearest names.
            BadDefinition: a package defines it too, or does not hold what it promises.
        """
        known = self._known(name)
        if known is None:
            near = difflib.get_close_matches(name, self.names(), n=3)
            known_names = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(self.names())}"
            raise NotInCatalog(f"no {self.kind} named {name!r}; {known_names}")
        if clash := self._clash(known):
            raise BadDefinition(f"{self.kind} {clash}")
        if known in self._files:
            return self._files[known]
        entry = self._added[known][0]
        if self._ending == ".py":
            self._loaded(entry)
            return Path(sys.modules[entry.module].__file__ or entry.module)
        file = self._located(entry)
        if file is None:
            raise BadDefinition(f"{_package(entry)} has no file {entry.name}{self._ending} in {entry.module}")
        return file

    def get(self, name: str, attribute: str, of_type: type[T]) -> T:
        """Import one file and return what it defines.

        Raises:
            NotInCatalog: no file has that name; the message offers the nearest ones.
            BadDefinition: the file lacks the attribute, or it has another type or name.
        """
        file, known = self.file(name), self._known(name)
        if known is not None and known not in self._files:
            found = self._loaded(self._added[known][0])
        else:
            found = self.module(name)
        if not isinstance(found, of_type):
            found = getattr(found, attribute, None)
        if not isinstance(found, of_type):
            raise BadDefinition(f"{file} must define {attribute}: {of_type.__name__}")
        if getattr(found, "name", known) != known:
            raise BadDefinition(f"{file} must define the {self.kind} named {known!r}")
        return found

    def module(self, name: str) -> Any:
        """Import the file that defines ``name``; where a package's entry point names a class, that class."""
        file, known = self.file(name), self._known(name)
        if known is not None and known not in self._files:
            entry = self._added[known][0]
            found = self._loaded(entry)
            return found if isinstance(found, type) else sys.modules[entry.module]
        is_package = file.name == "__init__.py"
        folder, stem = (file.parent.parent, file.parent.name) if is_package else (file.parent, file.stem)
        if (folder / "__init__.py").exists() and folder.is_relative_to(PACKAGE):
            return importlib.import_module(".".join(("anymal_eval", *folder.relative_to(PACKAGE).parts, stem)))
        module_name = f"_anymal_eval_{self.kind}s.{stem}"
        loaded = sys.modules.get(module_name)
        if loaded is not None and loaded.__file__ == str(file):
            return loaded
        spec = importlib.util.spec_from_file_location(module_name, file)
        if spec is None or spec.loader is None:
            raise BadDefinition(f"{file} cannot be imported")
        module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
        return module

    def _known(self, name: str) -> str | None:
        for known in (name, name.replace("-", "_"), name.replace("_", "-")):
            if known in self._files or known in self._added:
                return known
        return None

    def _clash(self, name: str) -> str:
        """Why that name cannot be used; empty where it can. A file in the user's own folders always can."""
        owners = [_package(entry) for entry in self._added.get(name, [])]
        file = self._files.get(name)
        built_in = file is not None and any(map(file.is_relative_to, (PACKAGE, builtin_tasks())))
        if owners and built_in:
            return f"{name!r} is built in, and {' and '.join(owners)} defines it too: uninstall or rename that one"
        if file is None and len(owners) > 1:
            return f"{name!r} is defined by {' and '.join(owners)}: uninstall all but one"
        return ""

    def _loaded(self, entry: EntryPoint) -> Any:
        try:
            return entry.load()
        except (ImportError, AttributeError) as error:
            raise BadDefinition(
                f"{self.kind} {entry.name!r} of {_package(entry)} is {entry.value}, which cannot be imported: {error}"
            ) from error

    def _located(self, entry: EntryPoint) -> Path | None:
        """The file behind an entry point, found without an import."""
        path = entry.module.replace(".", "/")
        python, ending = (f"{path}.py", f"{path}/__init__.py"), f"{path}/{entry.name}{self._ending}"
        for name in python if self._ending == ".py" else (ending,):
            file = entry.dist.locate_file(name) if entry.dist is not None else None
            if isinstance(file, Path) and file.is_file():
                return file
        return None


@functools.lru_cache(maxsize=16)
def _entry_points(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a group, kept while ``sys.path`` is the same: finding them reads a file of every package."""
    del path
    return tuple(importlib.metadata.entry_points(group=group))


def _package(entry: EntryPoint) -> str:
    return f"package {entry.dist.name} {entry.dist.version}" if entry.dist is not None else "a package"


def _summary(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".toml":
        return str(tomllib.loads(text).get("summary", ""))
    try:
        docstring = ast.get_docstring(ast.parse(text)) or ""
    except SyntaxError as error:
        return f"(does not parse: line {error.lineno}: {error.msg})"
    return docstring.partition("\n")[0]


def tasks(extra: Sequence[Path] = ()) -> Catalog:
    """The benchmarks, installed packages' too; ``extra`` are the user's own folders."""
    return Catalog("task", [*extra, builtin_tasks()], group="anymal_eval.tasks")


def models() -> Catalog:
    """The model wrappers, installed packages' too."""
    return Catalog("model", [PACKAGE / "models"], group="anymal_eval.models")


def metrics() -> Catalog:
    """The metrics, installed packages' too."""
    return Catalog("metric", [PACKAGE / "metrics"], group="anymal_eval.metrics")


def protocols(extra: Sequence[Path] = ()) -> Catalog:
    """The protocols, installed packages' too: one TOML each."""
    return Catalog("protocol", [*extra, PACKAGE / "protocols"], ".toml", group="anymal_eval.protocols")


def encoders() -> Catalog:
    """The network's encoders, installed packages' too."""
    return Catalog("encoder", [PACKAGE / "anymal" / "encoders"], group="anymal_eval.encoders")


def published() -> Catalog:
    """Tables of published numbers: one TOML a paper."""
    return Catalog("published table", [PACKAGE / "published"], ".toml")


def judge_protocols() -> Catalog:
    """How models are made to judge, installed packages' protocols too: one TOML each."""
    return Catalog("judge protocol", [PACKAGE / "judge" / "protocols"], ".toml", group="anymal_eval.judge_protocols")


def list_tasks() -> dict[str, str]:
    """The benchmarks by name, with their one line."""
    return _summaries(tasks())


def list_models() -> dict[str, str]:
    """The model wrappers by name, with their one line."""
    return _summaries(models())


def list_metrics() -> dict[str, str]:
    """The metrics by name, with their one line."""
    return _summaries(metrics())


def list_protocols() -> dict[str, str]:
    """The protocols by name, with their one line."""
    return _summaries(protocols())


def _summaries(known: Catalog) -> dict[str, str]:
    return {name: known.summary(name) for name in known.names()}
