"""A hub on the loopback interface: as much of huggingface.co's interface as downloads use, over folders on disk."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from anymal_eval.network import hub_reachable
from tests.checkpoints.fake_uploads import Uploads

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


class FakeHub(ThreadingHTTPServer):
    """Serves ``root/OWNER/NAME``.

    Attributes:
        read: the files that were read, as OWNER/NAME/FILE.
        lists: the paths of requests about a repository.
        cards: licence, gate and whether it is private, by OWNER/NAME.
        blobs: large files that were uploaded, by their SHA-256.
        pulls: repository, title and files of each pull request.
        refusals: status and text of the answer to POST, by the start of the path.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.read: list[str] = []
        self.lists: list[str] = []
        self.cards: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.pulls: list[tuple[str, str, dict[str, bytes]]] = []
        self.refusals: dict[str, tuple[int, str]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(Uploads):
    server: FakeHub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:  # noqa: N802
        self._serve(body=False)

    def do_GET(self) -> None:  # noqa: N802
        self._serve(body=True)

    def _serve(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        if path.startswith("api/models/"):
            self.server.lists.append(path)
            return self._api(path.removeprefix("api/models/"))
        repository, found, rest = path.partition("/resolve/")
        file = self.server.root / repository / rest.partition("/")[2]
        if not found or not file.is_file():
            return self._reply(404, {"X-Error-Code": "EntryNotFound"}, b"")
        content = file.read_bytes()
        if body:
            self.server.read.append(f"{repository}/{rest.partition('/')[2]}")
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return self._reply(200, {**headers, "Accept-Ranges": "bytes"}, content, send=body)

    def _api(self, path: str) -> None:
        name = "/".join(path.split("/")[:2])
        folder = self.server.root / name
        if not folder.is_dir():
            return self._reply(404, {"X-Error-Code": "RepoNotFound"}, b'{"error": "Repository not found"}')
        files = sorted(each for each in folder.rglob("*") if each.is_file())
        names = [str(each.relative_to(folder)) for each in files]
        if "/tree/" in path:
            rows = [
                {"type": "file", "path": each, "size": (folder / each).stat().st_size, "oid": "0" * 40}
                for each in names
            ]
            return self._reply(200, {}, json.dumps(rows).encode())
        card = self.server.cards.get(name, {})
        facts = {
            "id": name, "sha": COMMIT, "private": card.get("private", False), "gated": card.get("gated", False),
            "cardData": {"license": card.get("license")}, "downloads": 0, "likes": 0, "tags": [],
            "siblings": [{"rfilename": each, "size": (folder / each).stat().st_size} for each in names],
        }  # fmt: skip
        return self._reply(200, {"X-Repo-Commit": COMMIT}, json.dumps(facts).encode())

    def _reply(self, status: int, headers: dict[str, str], content: bytes, *, send: bool = True) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if send:
            self.wfile.write(content)


@contextmanager
def serving(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The hub that huggingface_hub reaches, and an empty cache for it."""
    hub = FakeHub(root)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    hub_reachable.cache_clear()
    try:
        yield hub
    finally:
        hub_reachable.cache_clear()
        hub.shutdown()
        hub.server_close()
        thread.join()
