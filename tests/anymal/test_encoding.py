"""Features depend on their medium alone: not on its neighbours, their order, or the number of threads."""

import random
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

from anymal_eval.anymal.encoders import Encoder, Medium
from anymal_eval.anymal.encoding import encode_windows, in_calls_of_one_shape
from anymal_eval.anymal.model import AnyMAL

Draw = Callable[..., NDArray[Any]]
THREADS = (1, 2, 3)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Pixels(nn.Module):
    """A vision transformer that is large enough for kernels to divide the work."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        config: Any = transformers.CLIPVisionConfig
        model: Any = transformers.CLIPVisionModel
        self.model = model(config(hidden_size=768, num_hidden_layers=2, intermediate_size=3072, patch_size=16)).eval()

    def forward(self, windows: Tensor) -> Tensor:
        hidden: Tensor = self.model(pixel_values=windows).last_hidden_state
        return hidden


@pytest.fixture(scope="module")
def pixels() -> Encoder:
    return cast(Encoder, Pixels())


@pytest.mark.parametrize("medium", ["image", "audio", "video", "imu"])
def test_any_batch_order_and_number_of_threads(network: AnyMAL, draw: Draw, medium: Medium) -> None:
    sizes = (0.4, 1.0, 2.7, 13.0)
    arrays = [draw(medium, seconds=size) for size in sizes] * (1 if medium in ("audio", "imu") else 2)
    own = [network.preprocess(medium, array, 48_000) for array in arrays]
    alone = [network.encode(medium, [windows])[0] for windows in own]
    assert len(alone[3]) >= len(alone[0])
    for count in THREADS:
        torch.set_num_threads(count)
        assert all(torch.equal(one, two) for one, two in zip(network.encode(medium, own), alone, strict=True))
        order = random.Random(count).sample(range(len(own)), len(own))
        for start in range(0, len(order), 3):
            places = order[start : start + 3]
            found = network.encode(medium, [own[place] for place in places])
            assert all(torch.equal(one, alone[place]) for one, place in zip(found, places, strict=True))
        assert torch.get_num_threads() == count


def test_an_encoder_of_real_size(pixels: Encoder) -> None:
    windows = [torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(place)) for place in range(4)]
    torch.set_num_threads(1)
    with torch.no_grad():
        alone = torch.cat([pixels(window[None].clone()) for window in windows])
    for count in (1, 2):
        torch.set_num_threads(count)
        assert torch.equal(encode_windows(pixels, windows)[0], alone)
        # a view into a larger tensor starts at any address
        moved = torch.empty(4 * windows[0].numel() + 5)[5:].view(4, 3, 224, 224).copy_(torch.stack(windows))
        assert torch.equal(encode_windows(pixels, list(moved))[0], alone)
        assert torch.equal(encode_windows(pixels, windows[2:])[0], alone[2:])


@pytest.mark.parametrize("medium", ["image", "audio", "video", "imu"])
def test_preprocessing_with_any_number_of_threads(network: AnyMAL, draw: Draw, medium: Medium) -> None:
    array = draw(medium, seconds=7.3)
    made = []
    for count in THREADS:
        torch.set_num_threads(count)
        made.append(network.preprocess(medium, array, 44_100))
    assert all(torch.equal(made[0], other) for other in made[1:])


def test_log_mel_of_a_real_extractor_with_any_number_of_threads(rng: np.random.Generator) -> None:
    """At the size of CLAP, whose filter bank is a product that torch would divide among its threads."""
    from anymal_eval.anymal.encoders.clap import Clap

    clap: Any = Clap.__new__(Clap)
    nn.Module.__init__(clap)
    clap._extractor = transformers.ClapFeatureExtractor()
    samples = torch.from_numpy(rng.normal(0, 0.1, 480_000).astype(np.float32))
    made = []
    for count in THREADS:
        torch.set_num_threads(count)
        made.append(clap._log_mel(samples))
    assert made[0].shape == (1001, 64)
    assert all(torch.equal(made[0], other) for other in made[1:])


def test_other_devices_get_calls_of_one_shape(network: AnyMAL, draw: Draw) -> None:
    encoder = network.encoder("image")
    windows = [network.preprocess("image", draw("image"))[0] for _ in range(11)]
    shapes = []
    hook = encoder.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape)))
    with torch.no_grad():
        found, calls = in_calls_of_one_shape(encoder, windows, 4)
        single = in_calls_of_one_shape(encoder, windows[:1], 4)[0]
    hook.remove()
    assert calls == 3
    assert set(shapes) == {(4, *encoder.window_shape)}
    assert len(shapes) == 4
    assert torch.equal(single[0], found[0])
    assert torch.allclose(found, encode_windows(encoder, windows)[0], atol=1e-5)
