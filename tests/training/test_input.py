"""Batches are read ahead: the same batches, the same place to resume from, and an error that names its sample."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anymal_eval.errors import MediaError, MediaTruncated, OtherRun
from anymal_eval.media.reader import MediaReader
from anymal_eval.models.anymal.media_inputs import MediaInput, MediaInputs, media_digest
from anymal_eval.records import Media
from anymal_eval.training import features
from anymal_eval.training.ahead import Ahead
from anymal_eval.training.batches import Batches, Collator, Planned, UnreadableSamples
from anymal_eval.training.features import FeatureEncoder, Openers
from anymal_eval.training.load import load_network
from anymal_eval.training.mixture import SampleOrder
from anymal_eval.training.order import BatchPartition, Streamed
from anymal_eval.training.run import train
from anymal_eval.training.samples import Sample
from anymal_eval.training.sources import TrainingData
from tests.training.conftest import align_job, every_step, logged


def test_items_come_in_order_and_an_error_where_its_item_was_due() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            if number == 7:
                raise ValueError("the eighth")
            made.append(number)
            yield number

    ahead = Ahead(items(), 2, lambda may_wait: None)
    for number in range(7):
        assert next(ahead) == number
        assert len(made) <= number + 1 + 2 + 1  # taken, queued, and the one that waits for its place
    with pytest.raises(ValueError, match="the eighth"):
        next(ahead)
    assert next(ahead, "ended") == "ended"
    endless = Ahead(itertools.count(), 2, lambda may_wait: None)
    assert next(endless) == 0
    endless.close()
    assert not endless._thread.is_alive()


def test_it_waits_for_room_only_while_something_is_ready() -> None:
    """Else a batch larger than the room would never come."""

    def wait(may_wait: Any) -> None:
        while may_wait():
            pass

    assert list(itertools.islice(Ahead(iter(range(5)), 4, wait), 5)) == [0, 1, 2, 3, 4]


@dataclass
class BareCollator:
    """As ``Collator`` without a network: a batch is its samples' names."""

    unreadable: UnreadableSamples = field(default_factory=UnreadableSamples)
    encoder: Any = field(default_factory=lambda: SimpleNamespace(wait_for_room=lambda may_wait: None, waited=0.0))

    plan = Collator.plan

    def _tokenized(self, sample: Sample) -> Sample:
        return sample

    def __post_init__(self) -> None:
        self.encoder.prepare = lambda media: {}

    def finish(self, planned: Planned) -> list[str]:
        self.unreadable.marks = planned.marks
        return [sample.id for sample in planned.samples]


def streamed(samples: Sequence[Sample], found: list[str], state: Mapping[str, Any] | None = None) -> SampleOrder:
    """Five shards, each of which reports a line when it is read."""

    def stream(number: int) -> Iterator[Sample]:
        found.append(f"line {len(found)}")
        return iter(samples[number::5])

    data = TrainingData(name="s", fingerprint="s", shards=5, stream=stream, unreadable=found)
    order = Streamed([data], BatchPartition(batch_size=3), 0, lambda *each: None)
    if state is not None:
        order.load_state_dict(dict(state))
    return order


def test_the_position_is_that_of_the_batches_that_were_taken(folder: Path) -> None:
    samples = list(align_job(folder, folder).data[0].samples or ())
    plain_lines: list[str] = []
    plain = streamed(samples, plain_lines)
    expected, states, counts = [], [], []
    for step in range(20):
        expected.append([sample.id for sample in plain.take(step, 0)])
        states.append(json.dumps(plain.state_dict()))
        counts.append(len(plain_lines))
    for stop in (1, 4, 11):
        lines: list[str] = []
        collator = BareCollator()
        collator.unreadable.data = [TrainingData(name="s", fingerprint="s", shards=5, unreadable=lines)]
        batches = Batches(streamed(samples, lines), collator, 20, 1, 3)  # type: ignore[arg-type]
        taken: list[Any] = list(itertools.islice(batches, stop))
        assert taken == expected[:stop]
        assert json.dumps(batches.position) == states[stop - 1]
        assert len(collator.unreadable.all_reasons()) == counts[stop - 1]  # not what was read ahead
        position = json.loads(json.dumps(batches.position))
        batches.close()
        again = Batches(streamed(samples, [], position), BareCollator(), 20, 1)  # type: ignore[arg-type]
        again.start = stop
        rest: list[Any] = list(again)
        assert rest == expected[stop:]


def test_what_crashes_in_a_worker_names_its_sample(
    folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(0 <= row["input_wait"] <= 1 for row in logged(whole))
    real = MediaInputs.make

    def make(self: MediaInputs, media: Media, frames: int) -> MediaInput:
        if media.uri.endswith("5.png"):
            raise RuntimeError("a processor broke")
        return real(self, media, frames)

    monkeypatch.setattr(MediaInputs, "make", make)
    train(every_step(align_job(folder, tmp_path / "out", steps=4)))
    [(where, reason)] = json.loads((tmp_path / "out" / "training.json").read_text())["unreadable"].items()
    assert where == f"{folder / 'data' / 'pairs.jsonl'}: line 6"
    assert "5.png" in reason
    assert "a processor broke" in reason


def test_what_is_read_ahead_is_counted_until_it_is_encoded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where two batches wait for one medium, and where one is broken; what has no room waits for it."""
    network = load_network(align_job(folder, folder))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    names = [*(str(folder / "data" / f"{number}.png") for number in range(3)), str(tmp_path / "bad.png")]
    media = [Media(kind="image", uri=name) for name in names]
    with closing(FeatureEncoder(network, Openers())) as encoder:
        first, second = encoder.prepare(media[:2]), encoder.prepare(media)
        wait([one for one in second.values() if isinstance(one, Future)])
        size = 3 * 32 * 32 * 4  # of a preprocessed picture
        assert encoder._ahead_bytes == 3 * size
        looks: list[int] = []
        encoder.wait_for_room(lambda: bool(looks.append(1)))  # type: ignore[func-returns-value]
        assert not looks  # there is room
        monkeypatch.setattr(features, "AHEAD_BYTES", 2 * size)
        encoder.wait_for_room(lambda: bool(looks.append(1)))  # type: ignore[func-returns-value]
        assert looks  # there is none, and the batch is due
        one, other = encoder.finish(first), encoder.finish(second)
        assert [type(found) for found in other.values()].count(MediaError) == 1
        assert all(torch.equal(one[key], other[key]) for key in one)  # type: ignore[arg-type]
        assert encoder._ahead_bytes == 0
        assert not encoder._running
        assert all(isinstance(found, torch.Tensor | MediaError) for found in encoder.prepare(media).values())


def test_large_pictures_decoded_at_a_fraction_of_their_size(folder: Path, tmp_path: Path) -> None:
    """Close to the whole picture scaled down, damage is still found, and their features are others in the cache."""
    rng = np.random.default_rng(0)
    pixels = np.asarray(
        Image.fromarray(rng.integers(0, 255, (9, 12, 3), np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
    )
    file = tmp_path / "large.jpg"
    Image.fromarray(pixels).save(file, quality=90)
    media = Media(kind="image", uri=str(file))
    with MediaReader() as reader:
        whole, small = reader.image(media), reader.image(media, 100)
        assert (whole.shape, small.shape) == ((480, 640, 3), (120, 160, 3))
        assert reader.image(media, 300).shape == whole.shape
        scaled = np.asarray(Image.fromarray(whole).resize((160, 120), Image.Resampling.BOX))
        assert np.abs(scaled.astype(int) - small).mean() < 1
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(MediaTruncated):
            reader.image(media, 100)
    assert media_digest(media, 0, "content", 64) != media_digest(media, 0, "content")
    sound = replace(media, kind="audio")
    assert media_digest(sound, 0, "content", 64) == media_digest(sound, 0, "content")
    train(align_job(folder, tmp_path / "out", steps=1, warmup=0))
    with pytest.raises(OtherRun, match="decode was None, now 'reduced'"):
        train(align_job(folder, tmp_path / "out", steps=1, warmup=0, decode="reduced"))
