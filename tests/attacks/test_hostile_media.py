"""Hostile media in a run: each is an error row of its example, in a process that may take 2 GB of addresses."""

import io
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from anymal_eval.errors import MediaError, WrongUse
from anymal_eval.media.broken import TooLarge, Truncated
from anymal_eval.media.budget import MediaBudget, hold_resized
from anymal_eval.media.declared import CHECKS, cut_box
from anymal_eval.media.reader import MediaReader
from anymal_eval.models import media_reader
from anymal_eval.models.anymal import Options
from anymal_eval.records import Media
from tests.attacks.hostile_media import QUICK, attacks, lay
from tests.attacks.hostile_sounds import caf_header, wav
from tests.conftest import ROOT

TWO_GB = 2 << 30


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (TWO_GB, TWO_GB))


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("hostile")
    return folder, lay(folder, (each for each in attacks(folder) if each.name in QUICK))


def test_every_one_is_an_error_row_and_the_run_is_complete(chosen: tuple[Path, list[str]]) -> None:
    folder, tasks = chosen
    done = subprocess.run(
        [
            sys.executable, "-m", "anymal_eval", "run", "--tasks", ",".join(tasks),
            "--model", "tests.attacks.reading_model:Reads", "--tasks-dir", folder / "tasks",
            "--data-root", folder / "data", "--out", folder / "run", "--threads", "2",
        ],
        cwd=ROOT, capture_output=True, text=True, preexec_fn=limited, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    found = {}
    for task in tasks:
        for line in (folder / "run" / task / "responses.jsonl").read_text().splitlines():
            row = json.loads(line)
            found[row["id"]] = row["failure"]
    assert found.keys() == set(QUICK)
    assert all(failure is not None for failure in found.values()), found
    assert {failure["kind"] for failure in found.values()} == {"media", "truncated"}, found
    for name, failure in found.items():
        assert name in failure["message"]
        assert len(failure["message"].splitlines()) == 1
        assert (failure["kind"] == "truncated") == name.startswith(("cut", "hole", "claims")), failure


def test_a_processor_that_would_enlarge_a_thin_picture_is_not_run() -> None:
    """CLIP's scales the shorter side: 224 x 2,240,000 of a row of 10,000 pixels."""

    class Clip:
        size = {"shortest_edge": 224}  # noqa: RUF012
        do_resize = True

    hold_resized(MediaBudget(), Clip(), 4000, 3000)
    hold_resized(MediaBudget(), Clip(), 100, 20_000)
    with pytest.raises(TooLarge, match="10000 x 1, which the model's processor makes 501760000 pixels of"):
        hold_resized(MediaBudget(), Clip(), 1, 10_000)
    hold_resized(MediaBudget.times(32), Clip(), 1, 10_000)
    Clip.size = {"shortest_edge": 224, "longest_edge": 980}
    hold_resized(MediaBudget(), Clip(), 1, 10_000)


def test_the_decoder_is_held_to_the_memory_of_a_medium(tmp_path: Path) -> None:
    """A clip whose frames the budget lets pass, and whose memory it does not."""
    (attack,) = (each for each in attacks(tmp_path) if each.name == "9408_x_9408.mov")
    media = attack.write(tmp_path)
    large = MediaBudget(pixels=10**9, clip_pixels=10**9, memory_bytes=100 << 20)
    with MediaReader(budget=large) as reader:
        with pytest.raises(MediaError, match="exceeded the memory of a medium"):
            reader.video(media, 1)
        sound = Media(kind="audio", uri=str(tmp_path / "absent.wav"))
        with pytest.raises(MediaError, match="No such file"):
            reader.audio(sound, 16_000)


def test_nothing_is_printed_about_a_large_picture(tmp_path: Path) -> None:
    """PIL warns from 89 megapixels on, and refuses from 179 on; the budget is the limit before both."""
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    script = f"""
from anymal_eval.errors import MediaError
from anymal_eval.media.reader import MediaReader
from anymal_eval.records import Media
with MediaReader() as reader:
    try:
        reader.image(Media(kind="image", uri={str(tmp_path / "large.png")!r}))
    except MediaError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "10000 x 10000 is over 64000000 pixels; media_budget=2 lets it pass" in done.stdout
    assert done.stderr == ""


def test_the_budget_is_an_option_that_lets_larger_media_pass(tmp_path: Path) -> None:
    """A picture of 300 : 1 is over the default of 200 : 1."""
    Image.new("RGB", (3000, 10)).save(tmp_path / "wide.png")
    wide = Media(kind="image", uri=str(tmp_path / "wide.png"))

    def options(budget: float) -> Options:
        return Options(checkpoint="", media_budget=budget)

    with media_reader(options(1.0)) as reader, pytest.raises(MediaError, match="media_budget=2 lets it pass"):
        reader.image(wide)
    with media_reader(options(2.0)) as reader:
        assert reader.image(wide).shape == (10, 3000, 3)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(WrongUse, match="media_budget must be a positive number"):
            media_reader(options(wrong))


class Counted(io.BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


def test_a_header_is_read_to_a_bound() -> None:
    """A hole is as many parts as it has room for; the sounds' checks run in the process of the run."""
    hole = bytes(4 << 20)
    parts = {
        b"caff": caf_header() + hole,
        b"RIFF": wav(16_000, 1, 16, b"")[:-8] + hole,
        b"riff": bytes(40) + (bytes(16) + (24).to_bytes(8, "little")) * 20_000,
        b"FORM": b"FORM\0\0\0\0AIFF" + hole,
    }
    for magic, content in parts.items():
        file = Counted(content)
        CHECKS[magic](file, len(content))
        assert 10_000 < file.reads < 40_000, magic
    boxes = Counted(b"\0\0\0\x08ftyp" + b"\0\0\0\x08free" * 50_000)
    assert cut_box(boxes) is None
    assert boxes.reads == 10_000
    pages = Counted(b"OggS" + 4 * hole)
    with pytest.raises(Truncated):
        CHECKS[b"OggS"](pages, 4 + 4 * len(hole))
    assert pages.reads == 32
