"""Finds tasks, models, metrics and protocols by file name, and imports only what is asked for."""

import ast
import difflib
import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from anymal_eval.errors import BadDefinition, NotInCatalog
from anymal_eval.paths import PACKAGE, builtin_tasks

T = TypeVar("T")


class Catalog:
    """The public files of some folders: ``vqav2.py`` defines the thing named ``vqav2``.

    Folders come in order of precedence, the user's own before the built-in ones. Files that start with an
    underscore are helpers and are never listed. Dashes and underscores in a name are the same.
    """

    def __init__(self, kind: str, folders: Sequence[Path], ending: str = ".py") -> None:
        """Look through ``folders`` for files with that ending. Opens none."""
        self.kind = kind
        self._files: dict[str, Path] = {}
        for folder in reversed(folders):
            for file in sorted(folder.glob(f"[!_]*{ending}")):
                self._files[file.name.removesuffix(ending)] = file

    def names(self) -> list[str]:
        """All names, sorted. Imports nothing."""
        return sorted(self._files)

    def summary(self, name: str) -> str:
        """The first line of the file's docstring, or a TOML file's ``summary``. Imports nothing."""
        file = self.file(name)
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".toml":
            return str(tomllib.loads(text).get("summary", ""))
        docstring = ast.get_docstring(ast.parse(text)) or ""
        return docstring.partition("\n")[0]

    def file(self, name: str) -> Path:
        """The file that defines ``name``.

        Raises:
            NotInCatalog: none does; the message offers the nearest names.
        """
        for known in (name, name.replace("-", "_"), name.replace("_", "-")):
            if known in self._files:
                return self._files[known]
        near = difflib.get_close_matches(name, self._files, n=3) or self.names()
        raise NotInCatalog(f"no {self.kind} named {name!r}; did you mean {' or '.join(near)}?")

    def get(self, name: str, attribute: str, of_type: type[T]) -> T:
        """Import one file and return what it defines.

        Raises:
            NotInCatalog: no file has that name; the message offers the nearest ones.
            BadDefinition: the file lacks the attribute, or it has another type or name.
        """
        file = self.file(name)
        found = getattr(self.module(name), attribute, None)
        if not isinstance(found, of_type):
            raise BadDefinition(f"{file} must define {attribute}: {of_type.__name__}")
        if getattr(found, "name", file.stem) != file.stem:
            raise BadDefinition(f"{file} must define the {self.kind} named {file.stem!r}")
        return found

    def module(self, name: str) -> ModuleType:
        """Import the file that defines ``name``."""
        file = self.file(name)
        if (file.parent / "__init__.py").exists() and file.is_relative_to(PACKAGE):
            return importlib.import_module(f"anymal_eval.{file.parent.name}.{file.stem}")
        module_name = f"_anymal_eval_{self.kind}s.{file.stem}"
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


def tasks(extra: Sequence[Path] = ()) -> Catalog:
    """The benchmarks; ``extra`` are the user's own folders."""
    return Catalog("task", [*extra, builtin_tasks()])


def models() -> Catalog:
    """The model wrappers."""
    return Catalog("model", [PACKAGE / "models"])


def metrics() -> Catalog:
    """The metrics."""
    return Catalog("metric", [PACKAGE / "metrics"])


def protocols(extra: Sequence[Path] = ()) -> Catalog:
    """The protocols: one TOML each."""
    return Catalog("protocol", [*extra, PACKAGE / "protocols"], ".toml")


def published() -> Catalog:
    """Tables of published numbers: one TOML a paper."""
    return Catalog("published table", [PACKAGE / "published"], ".toml")
