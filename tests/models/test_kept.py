"""What is kept of a failure is its message, and not the frames that hold the broken file."""

import gc
import weakref

import pytest

from anymal_eval.errors import MediaError, MediaTimeout
from anymal_eval.models._kept import Kept


class Content:
    """Stands for the bytes of a file."""


def test_a_failure_is_told_again_and_lets_go_of_its_file() -> None:
    kept: Kept[int] = Kept(1 << 20, lambda _: 1)
    alive: list[weakref.ref[Content]] = []

    def make() -> int:
        content = Content()
        alive.append(weakref.ref(content))
        try:
            raise OSError(f"{type(content).__name__} is truncated")
        except OSError as error:
            raise MediaTimeout("clip.mp4: the decoder was killed") from error

    for _ in range(3):
        with pytest.raises(MediaTimeout, match=r"^clip\.mp4: the decoder was killed$") as caught:
            kept.get("clip.mp4", make)
        assert caught.value.kind == "timeout"
        del caught
    gc.collect()
    assert kept.made == 1
    assert [one() for one in alive] == [None]


def test_a_value_is_made_once() -> None:
    kept: Kept[int] = Kept(1 << 20, lambda _: 1)
    assert [kept.get("a", lambda: 1), kept.get("a", lambda: 2), kept.find("a"), kept.find("b")] == [1, 1, 1, None]
    with pytest.raises(MediaError):
        kept.get("b", lambda: (_ for _ in ()).throw(MediaError("b.jpg: it is empty")))
