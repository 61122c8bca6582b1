"""What to type where Python lacks a package that this one needs. Imports the standard library alone."""

import importlib.util
import shlex
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent
OLDEST = (3, 11)


def needs_newer_python() -> str:
    """One line where this Python is older than the package's code; empty otherwise."""
    if sys.version_info >= OLDEST:
        return ""
    found = ".".join(map(str, sys.version_info[:3]))
    return f"anymal_eval needs Python {OLDEST[0]}.{OLDEST[1]} or newer; {sys.executable} is {found}; {_remedy()}"


def lacking(error: ImportError) -> str:
    """One line for a package that cannot be imported because it is not installed; empty for any other error.

    >>> lacking(ModuleNotFoundError("No module named 'anymal_eval.cli.gone'", name="anymal_eval.cli.gone"))
    ''
    """
    top = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not top or top in sys.stdlib_module_names:
        return ""
    if top == __name__.partition(".")[0] or _is_there(top):  # a fault of ours, or another version of that package
        return ""
    return f"the Python package {top} is not installed for {sys.executable}; {_remedy()}"


def _is_there(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _remedy() -> str:
    """How to use an environment that has the packages, or to install them into this one."""
    home = PACKAGE.parent
    activate = home / ".venv" / "bin" / "activate"
    of_environment = Path(sys.prefix).resolve() == (home / ".venv").resolve()
    if activate.is_file() and not of_environment:
        return f"activate the environment that has it: source {shlex.quote(_short(activate))}"
    if (home / "pyproject.toml").is_file():
        where = _short(home)
        again = f"{shlex.quote(sys.executable)} -m pip install -e {shlex.quote(where)}"
        return f"install what it needs: {again}, or make -C {shlex.quote(where)} demo, which makes {where}/.venv"
    return f"install it with what it needs: {shlex.quote(sys.executable)} -m pip install anymal_eval"


def _short(path: Path) -> str:
    """A path relative to the working folder where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (OSError, ValueError):
        return str(path)
