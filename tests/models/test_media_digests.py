"""A file that has not changed is not opened to know its digest; one that may have changed is."""

import os
from pathlib import Path

import pytest

from anymal_eval import fingerprint
from anymal_eval.media.reader import MediaReader
from anymal_eval.models.anymal.media_digests import NAME, MediaDigests
from anymal_eval.models.anymal.media_inputs import media_digest
from anymal_eval.records import Media


def test_a_changed_picture_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "CLOCK_GRAIN_S", 0.0)
    picture = tmp_path / "one.png"
    picture.write_bytes(b"one")
    media = Media(kind="image", uri=str(picture))
    with MediaReader() as reader:
        first = MediaDigests(reader, tmp_path).of(media)
        again = MediaDigests(reader, tmp_path)
        with monkeypatch.context() as sealed:
            sealed.setattr(MediaReader, "digest", lambda *_: pytest.fail("opened"))
            assert again.of(media) == first
        times = picture.stat()
        picture.write_bytes(b"two")
        os.utime(picture, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if nothing had been
        second = again.of(media)
        assert second != first
        with (tmp_path / NAME).open("r+b") as file:  # a flipped bit in the line of the second
            file.seek(-5, os.SEEK_END)
            file.write(b"0" if second[-2:-1] != "0" else b"1")
        assert MediaDigests(reader, tmp_path).of(media) == second
        monkeypatch.setattr(fingerprint, "CLOCK_GRAIN_S", 60.0)
        young = tmp_path / "young.png"
        young.write_bytes(b"young")
        before = (tmp_path / NAME).read_bytes()
        again.of(Media(kind="image", uri=str(young)))
        assert (tmp_path / NAME).read_bytes() == before, "what was just written may change unseen"


def test_features_of_motions_in_tables_are_not_those_of_earlier_versions() -> None:
    """Earlier versions kept the order of a table's columns; arrays are read as they were."""
    before = fingerprint.of(["a", "imu", 0.0, 5.0, None])
    digests = [
        media_digest(Media(kind="imu", uri=name, start_s=0.0, end_s=5.0), 8, "a") for name in ("m.npy", "m.csv", "m")
    ]
    assert digests[0] == before
    assert digests[1] == digests[2] != before
