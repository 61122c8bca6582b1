"""Where bytes come from, and paths that lead elsewhere."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from anymal_eval.errors import BadData, MediaError
from anymal_eval.media.location import MANY, listing_folders, safe_path
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Media


def test_paths_inside_are_kept_as_written(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    assert safe_path(tmp_path, "val/1.jpg") == tmp_path / "val/1.jpg"
    assert safe_path(tmp_path, "val/../val/a b #1.jpg") == tmp_path / "val/../val/a b #1.jpg"
    (tmp_path / "link").symlink_to(tmp_path / "val")
    assert safe_path(tmp_path, "link/1.jpg") == tmp_path / "link/1.jpg"


def test_a_data_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    assert safe_path(tmp_path / "data", "1.jpg") == tmp_path / "data" / "1.jpg"


@pytest.mark.parametrize(
    "relative", ["../x.jpg", "val/../../x.jpg", "/etc/passwd", "out/x.jpg", "file.jpg", "loop/x", "", ".", "a\0b"]
)
def test_paths_out_are_refused_by_name(tmp_path: Path, relative: str) -> None:
    root = tmp_path / "data"
    (root / "val").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path)
    (root / "file.jpg").symlink_to("/etc/passwd")
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(BadData) as caught:
        safe_path(root, relative)
    assert repr(relative) in str(caught.value)


def test_a_neighbour_of_like_name_is_outside(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="out of the data folder"):
        safe_path(tmp_path / "data", "../data2/x.jpg")


def test_a_file_over_the_budget_is_not_read(tmp_path: Path) -> None:
    """The refusal names the factor that lets it pass, as that of any other limit does."""
    with (tmp_path / "hole.bin").open("wb") as file:
        file.truncate(300 << 20)
    large = Media(kind="image", uri=str(tmp_path / "hole.bin"))
    with MediaReader() as reader, pytest.raises(MediaError) as caught:
        reader.read_bytes(large)
    assert str(caught.value) == (
        f"{large.uri}: refused for its size: a file of 314572800 bytes is over 268435456 bytes; "
        "media_budget=2 lets it pass"
    )


def test_rows_come_from_the_opener(tmp_path: Path) -> None:
    item = Media(kind="image", uri="row:vqav2#7")
    with MediaReader(opener={"row:vqav2#7": b"seven"}.__getitem__) as reader:
        assert reader.read_bytes(item) == b"seven"
        assert reader.digest(item) == hashlib.sha256(b"seven").hexdigest()
    with MediaReader() as reader, pytest.raises(MediaError, match=r"row:vqav2#7: .*not open here"):
        reader.read_bytes(item)


def test_an_opener_that_fails_is_a_media_error() -> None:
    def opener(uri: str) -> bytes:
        raise ConnectionResetError(104, "Connection reset by peer")

    with MediaReader(opener=opener) as reader:
        for ask in (reader.read_bytes, reader.digest, reader.image, reader.imu):
            with pytest.raises(MediaError, match="row:a#1: Connection reset by peer"):
                ask(Media(kind="image", uri="row:a#1"))
        with pytest.raises(MediaError, match="row:a#1: Connection reset"):
            reader.video(Media(kind="video", uri="row:a#1"), 2)
        with pytest.raises(MediaError, match="row:a#1: Connection reset"):
            reader.audio(Media(kind="audio", uri="row:a#1"), 16_000)


def test_digests_of_files(tmp_path: Path) -> None:
    path = tmp_path / "a#b.bin"
    path.write_bytes(b"x" * 100_000)
    with MediaReader() as reader:
        assert reader.digest(Media(kind="image", uri=str(path))) == hashlib.sha256(b"x" * 100_000).hexdigest()
        assert reader.digest(Media(kind="image", uri="nowhere", digest="known")) == "known"
        with pytest.raises(MediaError, match="nowhere: No such file"):
            reader.digest(Media(kind="image", uri="nowhere"))


def test_importing_is_light_and_starts_nothing() -> None:
    code = (
        "import sys, threading, anymal_eval.media.location as l; assert 'numpy' not in sys.modules\n"
        "from anymal_eval.media import MediaReader; MediaReader().close()\n"
        "assert not {'av', 'scipy', 'torch', 'subprocess.Popen'} & set(sys.modules), sorted(sys.modules)\n"
        "assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("links", [False, True])
def test_a_folder_of_many_files_is_listed_and_its_links_are_found(tmp_path: Path, links: bool) -> None:
    root = tmp_path / "data"
    (root / "val").mkdir(parents=True)
    (tmp_path / "outside.jpg").write_bytes(b"x")
    names = [f"val/{number}.jpg" for number in range(2 * MANY)]
    if links:
        (root / names[-1]).symlink_to(tmp_path / "outside.jpg")
    with listing_folders():
        found = [safe_path(root, name) for name in names[:-1]]
        assert found == [root / name for name in names[:-1]]
        if links:
            with pytest.raises(BadData, match="out of the data folder"):
                safe_path(root, names[-1])
        else:
            assert safe_path(root, names[-1]) == root / names[-1]
        with pytest.raises(BadData, match="out of the data folder"):
            safe_path(root, f"../{names[0]}")
