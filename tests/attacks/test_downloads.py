"""What a file server sends: cut, lied about, replaced, dripped or redirected, a download is whole or one line."""

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anymal_eval.errors import AnyMALEvalError, BadData, IncompleteRun, WrongUse
from anymal_eval.sources.downloading import Patience, address_of, download
from anymal_eval.task import Download
from tests.attacks.file_server import FileServer, Served, serving_files

CONTENT = random.Random(1).randbytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(timeout_s=20, least=1, tries=3, pause_s=0)
URL = "https://data.org/a/file.zip"
PATH = "/data.org/a/file.zip"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving_files() as server:
        yield server


Fetch = Callable[..., int]


@pytest.fixture
def fetch(server: FileServer, tmp_path: Path) -> Fetch:
    """Download the file; gives the bytes that were reported as they came."""

    def call(patience: Patience = QUICK, **facts: object) -> int:
        counted: list[int] = []
        wanted = Download(url=URL, **{"sha256": SHA256, "cited": "a page", **facts})  # type: ignore[arg-type]
        download(wanted, tmp_path / "file.zip", counted.append, mirror=server.url, patience=patience)
        return sum(counted)

    return call


def left(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_whole_file(server: FileServer, fetch: Fetch, tmp_path: Path) -> None:
    server.files[PATH] = Served(CONTENT)
    assert fetch(size=len(CONTENT)) == len(CONTENT)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    assert left(tmp_path) == ["file.zip"]
    (seen,) = server.seen
    assert not {"authorization", "cookie", "range"} & seen.headers.keys()


@pytest.mark.parametrize("validator", ["etag", "modified"])
def test_cuts_are_resumed(validator: str, server: FileServer, fetch: Fetch, tmp_path: Path) -> None:
    served = Served(CONTENT, cuts=[100_000, 250_000, 1])
    if validator == "modified":
        served.etag, served.modified = ['W/"weak"'], "Mon, 02 Jan 2023 00:00:00 GMT"
    server.files[PATH] = served
    assert fetch() == len(CONTENT)
    assert server.ranges_of(PATH) == ["", "bytes=100000-", "bytes=350000-", "bytes=350001-"]
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_later_command_resumes(server: FileServer, fetch: Fetch, tmp_path: Path) -> None:
    server.files[PATH] = Served(CONTENT, cuts=[300_000, 0, 0, 0])
    with pytest.raises(IncompleteRun) as error:
        fetch()
    assert str(error.value) == (
        f"{server.url}{PATH}: the connection was cut after 300,000 of 700,000 bytes, 3 times in a row, after 300,000 "
        "bytes, which are kept: give the same command again"
    )
    assert left(tmp_path) == ["file.zip.part", "file.zip.part.json"]
    server.files[PATH].cuts.clear()
    assert fetch() == len(CONTENT)
    assert server.ranges_of(PATH)[-1] == "bytes=300000-"
    assert left(tmp_path) == ["file.zip"]


@pytest.mark.parametrize(
    "served",
    [
        Served(CONTENT, cuts=[100_000], ranges=False),  # the server starts from the beginning
        Served(CONTENT, cuts=[100_000], etag=[]),  # nothing says whether the file is the same
        Served(CONTENT, cuts=[100_000], etag=['"one"', '"two"']),  # another file since
        Served(CONTENT, length=-1),  # no length: the end of the connection is that of the file
        Served(CONTENT, status=[503, 429]),
    ],
    ids=["no ranges", "no validator", "changed", "no length", "busy"],
)
def test_servers_of_all_kinds(served: Served, server: FileServer, fetch: Fetch, tmp_path: Path) -> None:
    server.files[PATH] = served
    assert fetch() == len(CONTENT)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


PAGE = b"\n<!DOCTYPE html><html>Sign in</html>"
REFUSED: dict[str, tuple[Served, dict[str, object], str]] = {
    "checksum": (Served(b"x" * 9), {}, "its SHA-256 is " + hashlib.sha256(b"x" * 9).hexdigest() + f", not {SHA256}, as "
                 "published (a page); nothing of it is kept"),
    "size": (Served(CONTENT), {"size": 9}, "it has 700,000 bytes, not the 9 that are published (a page)"),
    "size, unsaid": (Served(CONTENT, length=-1), {"size": 9}, "more bytes come than the 9 that it should have"),
    "a page": (Served(PAGE, "text/html; charset=utf-8"), {}, "it is an HTML page, not the file; nothing of it is kept"),
    "a page, unsaid": (Served(PAGE), {"sha256": ""}, "it is an HTML page, not the file; nothing of it is kept"),
    "gone": (Served(status=[410]), {}, "the server answered 410 Gone"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_another(case: str, server: FileServer, fetch: Fetch, tmp_path: Path) -> None:
    served, facts, why = REFUSED[case]
    server.files[PATH] = served
    with pytest.raises(BadData) as error:
        fetch(**facts)
    assert str(error.value) == f"{server.url}{PATH}: {why}"
    assert left(tmp_path) == []


def test_a_server_that_sends_another_part(server: FileServer, fetch: Fetch, tmp_path: Path) -> None:
    server.files[PATH] = Served(CONTENT, cuts=[100_000], range_start=99_999)
    assert fetch() == len(CONTENT)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_drip_is_given_up(server: FileServer, fetch: Fetch) -> None:
    server.files[PATH] = Served(CONTENT, drip=True, length=10**9, ranges=False)
    with pytest.raises(IncompleteRun, match=r"fewer than 1,000,000 bytes came in 0\.1 s, 2 times in a row"):
        fetch(Patience(timeout_s=20, window_s=0.1, least=1_000_000, tries=2, pause_s=0))


def test_redirects(server: FileServer, fetch: Fetch, tmp_path: Path) -> None:
    server.files[PATH] = Served(redirect="/moved")
    server.files["/moved"] = Served(CONTENT)
    assert fetch() == len(CONTENT)
    (tmp_path / "file.zip").unlink()
    for where in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        server.files[PATH] = Served(redirect=where)
        with pytest.raises(BadData) as error:
            fetch()
        assert str(error.value) == f"{server.url}{PATH}: it leads to {where}, which is not followed"
    server.files[PATH] = Served(redirect=PATH)
    with pytest.raises(BadData, match="more than 5 redirects"):
        fetch()
    assert left(tmp_path) == []


def test_other_schemes() -> None:
    for url in ("file:///etc/passwd", "ftp://a.org/b", "/etc/passwd"):
        with pytest.raises(WrongUse, match="only http and https addresses are opened"):
            address_of(url, "")


def test_no_server(fetch: Fetch, server: FileServer, tmp_path: Path) -> None:
    wanted = Download(url=URL)
    with pytest.raises(AnyMALEvalError, match="the server cannot be reached"):
        download(wanted, tmp_path / "f", lambda size: None, mirror="http://127.0.0.1:9", patience=QUICK)
