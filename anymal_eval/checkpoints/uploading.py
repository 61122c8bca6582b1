"""Uploads files to a model repository of the hub, in one commit: all of them appear, or none."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anymal_eval.checkpoints.files import MOST_REASON
from anymal_eval.checkpoints.locating import may_be_repository
from anymal_eval.errors import FileUnusable, WrongUse
from anymal_eval.network import hub_reachable

Content = Path | bytes
CARD = "README.md"


def require_name(name: str) -> None:
    """Ensure that a name is one of a repository.

    Raises:
        WrongUse: it is not ``OWNER/NAME``.

    >>> require_name("name-alone")
    Traceback (most recent call last):
    anymal_eval.errors.WrongUse: 'name-alone' is no name of a repository: write OWNER/NAME
    """
    if not may_be_repository(name) or "@" in name:
        raise WrongUse(f"{name!r:.120} is no name of a repository: write OWNER/NAME")


def upload(
    name: str,
    files: Mapping[str, Content],
    *,
    private: bool,
    message: str,
    replaced: Callable[[Collection[str]], Collection[str]],
) -> str:
    """Create the repository where there is none, and commit the files.

    Args:
        name: OWNER/NAME.
        files: by their names in the repository.
        private: whether a new repository is private. One that exists and is public is then refused.
        message: of the commit.
        replaced: takes the names that a repository holds already and gives those to delete; raises where it must not
            be written to.

    Returns:
        The address of the commit.

    Raises:
        WrongUse: the hub refuses, or cannot be reached. No file was changed; a new repository may stay, empty.
    """
    with _hub(name) as hub:
        hub.create_repo(name, private=private, exist_ok=True)
        if private and not hub.model_info(name).private:
            raise WrongUse(f"{name} exists and is public: make it private on the hub first, or choose another name")
        deleted = sorted(set(replaced(hub.list_repo_files(name))) - set(files))
        return str(hub.create_commit(name, _operations(files, deleted), commit_message=message).commit_url)


def propose(name: str, make: Callable[[str], Mapping[str, Content]], *, message: str) -> str:
    """Open a pull request in a repository that exists, so that its owner decides.

    Args:
        name: OWNER/NAME.
        make: takes the text of its ``README.md``, empty where it has none, and gives the files to add or replace.
        message: the title of the pull request.

    Returns:
        Its address.

    Raises:
        WrongUse: the hub refuses, cannot be reached, or has no such repository. Nothing was changed.
    """
    with _hub(name) as hub:
        card = Path(hub.hf_hub_download(name, CARD)) if CARD in hub.list_repo_files(name) else None
        files = make(card.read_text(encoding="utf-8") if card is not None else "")
        made = hub.create_commit(name, _operations(files, ()), commit_message=message, create_pr=True)
        return str(made.pr_url or made.commit_url)


@contextmanager
def _hub(name: str) -> Iterator[Any]:
    """The client of the hub, ready to write; its errors are one line each."""
    import huggingface_hub
    from huggingface_hub import constants

    require_name(name)
    if constants.HF_HUB_OFFLINE or not hub_reachable():
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise WrongUse(f"{name}: not uploaded: {why}; try again where there is a network")
    if huggingface_hub.get_token() is None:
        raise WrongUse(f"{name}: not uploaded: no access token of the hub is set; hf auth login stores one")
    bars: Any = huggingface_hub.utils
    shown = not bars.are_progress_bars_disabled()
    bars.disable_progress_bars()
    try:
        with _refusals(name), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on metadata that the hub would like to have
            yield huggingface_hub.HfApi()
    finally:
        if shown:
            bars.enable_progress_bars()


def _operations(files: Mapping[str, Content], deleted: Collection[str]) -> list[Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    made: list[Any] = [CommitOperationDelete(path_in_repo=each) for each in deleted]
    return made + [CommitOperationAdd(path_in_repo=each, path_or_fileobj=content) for each, content in files.items()]


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turn every error of the client into one line."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except (
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        httpx2.HTTPError,
        RuntimeError,
        ValueError,
    ) as error:
        # An upload of one file fails inside a thread.
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
        text = " ".join(str(cause).split())[:MOST_REASON]
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 0
        remedy = {
            401: "; hf auth login stores a token that may write",
            403: f"; a token with write access to {name.partition('/')[0]} is needed (hf auth login)",
        }.get(status, "")
        raise WrongUse(f"{name}: not uploaded: {text}{remedy}") from error
    except OSError as error:
        raise FileUnusable(f"{name}: not uploaded: {error.strerror or error}") from error
