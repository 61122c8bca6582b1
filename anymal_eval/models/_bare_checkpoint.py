"""A checkpoint that is named without its wrapper, or a folder that is none: what to type instead."""

from pathlib import Path

from anymal_eval.anymal import importers
from anymal_eval.anymal.config import preset_names
from anymal_eval.anymal.recognition import what_it_is
from anymal_eval.checkpoints.files import read_json
from anymal_eval.checkpoints.locating import CONFIG, locate_config, may_be_repository
from anymal_eval.checkpoints.transformers_folder import architecture, read_config_file
from anymal_eval.errors import BadCheckpoint, WrongUse
from anymal_eval.models._wrapper_for import wrapper_for
from anymal_eval.paths import expanded


def require_wrapper(typed: str) -> None:
    """Refuse ``--model`` with a checkpoint alone.

    Raises:
        WrongUse: it is a folder, a path, a repository of the hub or a preset; with the wrapper to put before it.
    """
    is_path = typed.startswith(("/", "./", "../", "~"))
    if typed in preset_names() and not Path(typed).exists():
        raise WrongUse(f"--model {typed}: {what_it_is(Path(typed))} as --model anymal:OUT/checkpoint")
    if is_path or "/" in typed or Path(typed).exists():
        folder = expanded(typed)
        if folder.is_file():
            raise WrongUse(f"--model {typed} is a file: recorded answers are given as --model replay:{typed}")
        if folder.is_dir():
            raise WrongUse(f"--model {typed} {_of_folder(typed, folder)}")
        if is_path or not may_be_repository(typed):
            raise WrongUse(f"--model {typed}: there is no such folder; a model is NAME:CHECKPOINT, as in hf:FOLDER")
        raise WrongUse(f"--model {typed} {_of_repository(typed)}")


def require_checkpoint(name: str, checkpoint: str) -> None:
    """Refuse a folder of a training, a state or another network's layout where transformers' checkpoint is due.

    Raises:
        BadCheckpoint: with what to type instead.
    """
    folder = expanded(checkpoint)
    if not folder.is_dir() or (folder / CONFIG).is_file():
        return
    found = what_it_is(folder)
    if "holds no config.json" not in found and not (folder / "adapter_config.json").is_file():
        raise BadCheckpoint(f"--model {name}:{checkpoint}: {found}, as --model anymal:...")


def _of_folder(typed: str, folder: Path) -> str:
    if (folder / CONFIG).is_file():
        config = read_json(folder / CONFIG)
        wrapper = wrapper_for(config) if isinstance(config, dict) else None
        if wrapper is not None:
            return f"is a checkpoint without its wrapper: give --model {wrapper}:{typed}"
    try:
        importers.refuse(folder)
        locate_config(str(folder))  # says what adapters need
        config = read_config_file(folder / CONFIG)
    except BadCheckpoint as error:
        ours = what_it_is(folder)
        return f"is no model: {error if 'holds no config.json' in ours or 'LoRA adapters alone' in ours else ours}"
    return f"holds the class {architecture(config)}, which no wrapper takes"


def _of_repository(typed: str) -> str:
    try:
        config = read_config_file(locate_config(typed))
    except BadCheckpoint as error:
        return (
            "names no wrapper: a checkpoint is given as --model hf:"
            f"{typed}, or with another of blip2, instructblip, hf_audio, anymal; its {CONFIG} tells which, but {error}"
        )
    wrapper = wrapper_for(config)
    if wrapper is None:
        return f"is a checkpoint of the class {architecture(config)}, which no wrapper takes"
    return f"is a checkpoint without its wrapper: give --model {wrapper}:{typed}"
