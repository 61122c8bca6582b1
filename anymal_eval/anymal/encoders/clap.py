"""CLAP's audio tower (HTSAT) at 48 kHz. A clip longer than its window is split into several; nothing is dropped.

The features are the tower's time steps (32 for its 10 s window, which is AnyMAL's number of audio tokens), averaged
over frequency; or its one pooled vector.

The log-mel is computed here: ``ClapFeatureExtractor`` takes a random crop of a long clip, and 112 ms where scipy takes
8 for the same numbers (with its filter bank and padding; compared in the tests). scipy and numpy, not torch: the last
bits of torch's products depend on its number of threads.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anymal_eval.anymal.encoders import Encoder, EncoderOptions, check_form, load_backbone, parts
from anymal_eval.checkpoints.loading import BackboneLoading, checkpoint_errors
from anymal_eval.checkpoints.locating import locate
from anymal_eval.errors import BadCheckpoint, MediaError
from anymal_eval.paths import expanded

_FLOOR = 1e-10  # power below this is silence: -100 dB, as in transformers' power_to_db


@dataclass(frozen=True, kw_only=True)
class Options(EncoderOptions):
    """Options of CLAP.

    Attributes:
        output: the time steps, or one pooled vector a window.
        seconds: of a window, used only to estimate memory where ``path`` is not on this machine.
    """

    output: Literal["steps", "pooled"] = "steps"
    seconds: int = 10


class Clap(Encoder):
    """Audio to features.

    Shapes:  w windows of 10 s · f mel frames · m mel bins · n time steps (1 when pooled) · e width
    """

    medium = "audio"

    def __init__(self, model: Any, extractor: Any, options: Options) -> None:
        super().__init__()
        self.model = model
        config = model.config
        self.width = int(config.patch_embeds_hidden_size * 2 ** (len(config.depths) - 1))
        self.layer = options.output
        self._extractor = extractor
        self._pooled = options.output == "pooled"
        seconds, rate, hop = (extractor.max_length_s, extractor.sampling_rate, extractor.hop_length)
        self.window_shape = (1, int(seconds * rate) // hop + 1, int(config.num_mel_bins))

    def preprocess(self, media: NDArray[Any], sample_rate: int | None = None) -> Tensor:
        """(samples,) at any rate -> (w, 1, f, m) log-mel in dB."""
        check_form(media, "audio")
        rate = int(self._extractor.sampling_rate)
        if sample_rate is None:
            raise MediaError("audio: its sample rate is not known")
        if sample_rate != rate:
            import soxr

            media = np.asarray(soxr.resample(media, sample_rate, rate), dtype=np.float32)
        samples = torch.from_numpy(np.require(media, requirements=["C", "W"]))  # half an hour is 350 MB: no copies
        windows = parts(samples, int(self._extractor.nb_max_samples))
        return torch.stack([self._log_mel(self._fill(window)) for window in windows])[:, None]

    def forward(self, windows: Tensor) -> Tensor:
        """(w, 1, f, m) -> (w, n, e)."""
        dtype = next(self.model.parameters()).dtype
        out = self.model(input_features=windows.to(dtype))
        if self._pooled:
            pooled: Tensor = out.pooler_output
            return pooled[:, None]
        steps: Tensor = out.last_hidden_state  # (w, e, frequencies, n)
        return steps.mean(dim=2).transpose(1, 2)

    @property
    def preprocessing(self) -> str:
        """The extractor's settings, and the windows."""
        return "windows side by side, slaney; " + json.dumps(self._extractor.to_dict(), sort_keys=True, default=str)

    @cached_property
    def _filters(self) -> Any:
        """The mel filter bank, (m, bins), nearly all of it zeros."""
        import scipy.sparse

        return scipy.sparse.csr_array(np.asarray(self._extractor.mel_filters_slaney).T)

    def _fill(self, samples: Tensor) -> Tensor:
        """A short clip filled to a whole window by the extractor's ``padding``."""
        size, have = int(self._extractor.nb_max_samples), samples.shape[-1]
        if have < size and self._extractor.padding == "repeatpad":
            samples = samples.repeat(size // have)
        if have < size and self._extractor.padding == "repeat":
            samples = samples.repeat(size // have + 1)[:size]
        return torch.nn.functional.pad(samples, (0, size - samples.shape[-1]))

    def _log_mel(self, samples: Tensor) -> Tensor:
        """(size,) -> (f, m). In float64, as the extractor's own arithmetic is."""
        import scipy.fft

        size, hop = int(self._extractor.fft_window_size), int(self._extractor.hop_length)
        whole = np.pad(samples.numpy().astype(np.float64), size // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(whole, size)[::hop]
        spectrum = scipy.fft.rfft(frames * np.hanning(size + 1)[:-1])  # (f, bins)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel = self._filters @ power.T
        return torch.from_numpy((10.0 * np.log10(np.maximum(mel, _FLOOR))).T.astype(np.float32))


def build(options: Options, loading: BackboneLoading) -> Clap:
    """Load it from its own checkpoint or from that of both towers.

    Raises:
        BadCheckpoint: a checkpoint with feature fusion, whose crops are random by design.
    """
    from transformers import ClapFeatureExtractor

    model = load_backbone("ClapAudioModel", options, loading)
    if model.config.enable_fusion:
        raise BadCheckpoint(f"{options.path} fuses random crops of long clips; use an unfused CLAP checkpoint")
    if not loading.weights and not expanded(options.path).is_dir():
        plain = ClapFeatureExtractor(feature_size=model.config.num_mel_bins, max_length_s=options.seconds)
        return Clap(model, plain, options)
    folder = locate(options.path, convert=loading.weights)
    with checkpoint_errors(f"{options.path} has no usable preprocessor_config.json"):
        return Clap(model, ClapFeatureExtractor.from_pretrained(folder), options)
