"""The options of chat models that take pictures, and what they make of a processor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anymal_eval import fingerprint
from anymal_eval.checkpoints.media_processors import limit_pixels, torchvision_name
from anymal_eval.checkpoints.templates import TEMPLATE_BYTES
from anymal_eval.checkpoints.transformers_folder import OpenOptions
from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.models._native_video import NativeVideo
from anymal_eval.paths import expanded


@dataclass(frozen=True, kw_only=True)
class PictureOptions(OpenOptions):
    """For chat models that take pictures, and clips.

    Attributes:
        max_images: how many images or frames a prompt may hold; 0 for no limit, or one in families that take one.
        video: clips in the class's own way (native), or as their frames, each a picture; auto is native where the class
            has one.
        fps: frames a second that native video takes; 0 for the checkpoint's, or its card's.
        max_frames: the most frames of a clip in native video; 0 for the checkpoint's.
        min_pixels, max_pixels: of a picture, as the processor has them; 0 for the checkpoint's.
    """

    max_images: int = 0
    video: Literal["auto", "native", "frames"] = "auto"
    fps: float = 0.0
    max_frames: int = 0
    min_pixels: int = 0
    max_pixels: int = 0


def set_template(processor: Any, file: str) -> dict[str, object]:
    """Give a processor the chat template of a file.

    Returns:
        Its digest by the option's name; empty where no file is named.

    Raises:
        WrongUse: it cannot be read.
    """
    if not file:
        return {}
    path: Path = expanded(file)
    try:
        with path.open("rb") as opened:
            content = opened.read(TEMPLATE_BYTES + 1)
        template = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(
            f"-o chat_template={file}: {getattr(error, 'strerror', None) or 'it is no UTF-8 text'}"
        ) from None
    if not template.strip() or len(content) > TEMPLATE_BYTES:
        raise WrongUse(f"-o chat_template={file}: it must hold a Jinja template of at most {TEMPLATE_BYTES >> 20} MB")
    processor.chat_template = template
    return {"chat_template": fingerprint.of(template)[:12]}


def set_media(processor: Any, folder: Path, options: OpenOptions) -> tuple[NativeVideo | None, dict[str, object]]:
    """Apply the options of pictures and clips to a processor.

    Args:
        processor: of the checkpoint, with its chat template.
        folder: of the checkpoint.
        options: a wrapper's; without those of pictures nothing is done.

    Returns:
        Native video, or None for frames as pictures; and the settings that change an answer, for the fingerprint.

    Raises:
        WrongUse: an option that this processor does not have.
        BadCheckpoint: native video was wanted, and the class has none.
    """
    if not isinstance(options, PictureOptions):
        return None, {}
    given = {name: getattr(options, name) for name in ("min_pixels", "max_pixels") if getattr(options, name)}
    limit_pixels(processor, folder, given)
    if options.fps < 0 or options.max_frames < 0 or not options.fps < float("inf"):
        raise WrongUse("-o fps and -o max_frames must be positive")
    able = has_native_video(processor)
    if options.video == "native" and not able:
        raise BadCheckpoint(
            f"{options.checkpoint}: {type(processor).__name__} takes no clips; leave out -o video=native"
        )
    native = able and options.video != "frames"
    for name in ("fps", "max_frames"):
        if getattr(options, name) and not native:
            raise WrongUse(
                f"-o {name} is for native video; here clips are the protocol's number of frames: leave it out"
            )
    if not able:
        return None, dict(given)
    if not native:
        return None, {"video": "frames", **given}
    video = NativeVideo(processor.video_processor, options.fps, options.max_frames)
    return video, {"video": "native", **video.settings, **given, "by": torchvision_name()}


def has_native_video(processor: Any) -> bool:
    """Whether its class takes clips, and its chat template has a place for them."""
    from transformers import ProcessorMixin

    if getattr(processor, "video_processor", None) is None:
        return False
    own_rendering = type(processor).apply_chat_template is not ProcessorMixin.apply_chat_template
    return own_rendering or "video" in str(processor.chat_template)
