"""PandaGPT (Su et al. 2023, arXiv:2305.16355; yxuansu/PandaGPT, openllmplayground/pandagpt_*).

Its folder holds ``pytorch_model.pt``, the trained parameters alone under their module names (``code/model/agent.py``):
``llama_proj`` from ImageBind's vector to one token, and LoRA of alpha 32 on the four projections of Vicuna's attention
(``code/config/openllama_peft.yaml``). ``--llm`` names Vicuna (version 0), ``--encoder`` imagebind_huge.pth.

All media go through the one projector; it was trained on pictures alone. A prompt is ``### Human: <Img>``, the token,
``</Img>``, the question and ``### Assistant:``; an answer ends with ``###``, which is no end token. Two media stand one
after the other here, where upstream adds their tokens up. Depth and thermal images are media that we do not take.
The delta is CC BY-NC 4.0, as is ImageBind.
"""

import re
from functools import partial
from pathlib import Path

from torch import Tensor

from anymal_eval.anymal.config import MEDIA, AnyMALConfig, LLMConfig, ModalityConfig
from anymal_eval.anymal.conversation import MARKER
from anymal_eval.anymal.encoders.imagebind import Options as ImageBindOptions
from anymal_eval.anymal.importers import Given, Imported, _parts
from anymal_eval.anymal.projectors.linear import Options as LinearOptions
from anymal_eval.checkpoints.weights import read_tensors
from anymal_eval.errors import BadCheckpoint

LAYOUT = "PandaGPT (pytorch_model.pt)"
DELTA = "pytorch_model.pt"
TARGETS, ALPHA, DROPOUT = ("q_proj", "k_proj", "v_proj", "o_proj"), 32, 0.1
_PREFIX = "llama_model."
_PROJECTOR = ("llama_proj.weight", "llama_proj.bias")

_MARKED = "".join(f".replace('{mark}', '<Img>{mark}</Img> ')" for mark in map(MARKER.format, MEDIA))
TEMPLATE = (
    "{{ bos_token + '###' }}{% set first = namespace(text='') %}{% for message in messages %}"
    # PandaGPT knows no system message: it is the start of the first question
    "{% if message['role'] == 'system' %}{% set first.text = message['content'] + '\\n' %}"
    "{% elif message['role'] == 'user' %}"
    f"{{{{ ' Human: ' + (first.text + message['content']){_MARKED} + '\\n###' }}}}"
    "{% set first.text = '' %}"
    "{% else %}{{ ' Assistant: ' + message['content'] + '\\n###' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' Assistant:' }}{% endif %}"
)
_LAYER = re.compile(
    rf"base_model\.model\.model\.layers\.\d+\.self_attn\.({'|'.join(TARGETS)})\.lora_[AB]\.(default\.)?weight"
)


def is_one(folder: Path) -> bool:
    """Whether a folder has that layout."""
    return (folder / DELTA).is_file()


def read(folder: Path, given: Given) -> Imported:
    """The network of such a folder.

    Raises:
        BadCheckpoint: the file is damaged, or holds other parameters.
        WrongUse: Vicuna or ImageBind is not given.
    """
    file = folder / DELTA
    state = read_tensors(file)
    shapes = [getattr(state.get(name), "ndim", None) for name in _PROJECTOR]
    if shapes != [2, 1]:
        raise BadCheckpoint(f"{file} holds no {' and '.join(_PROJECTOR)}: it is no delta of PandaGPT")
    adapters, rank = _adapters(state, file)
    what = f"{folder} holds PandaGPT's delta alone; its"
    llm = _parts.require_given(given.llm, "--llm", f"{what} language model is Vicuna, version 0")
    path = _parts.require_given(given.encoder, "--encoder", f"{what} encoder is imagebind_huge.pth")
    # the mean over a medium's windows, then one layer
    projector = LinearOptions(kind="linear", tokens=1, reading="expand")
    modalities = {
        medium: ModalityConfig(
            encoder=ImageBindOptions(kind="imagebind", path=path, medium=medium), projector=projector
        )
        for medium in MEDIA
    }
    layer = {"weight": state[_PROJECTOR[0]], "bias": state[_PROJECTOR[1]]}
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": ALPHA,
        "lora_dropout": DROPOUT,
        "target_modules": list(TARGETS),
    }
    return Imported(
        config=AnyMALConfig(llm=LLMConfig(path=llm, template=TEMPLATE, stop=("###",)), modalities=modalities),
        projectors={f"{medium}.layer.{name}": value.clone() for medium in MEDIA for name, value in layer.items()},
        adapters=partial(_parts.write_adapters, adapters, settings),
    )


def _adapters(state: dict[str, Tensor], file: Path) -> tuple[dict[str, Tensor], int]:
    """The adapters with the names of PEFT, and their rank. Nothing else may stand in the file."""
    found = {name.removeprefix(_PREFIX): value for name, value in state.items() if name not in _PROJECTOR}
    strange = next((name for name in found if not _LAYER.fullmatch(name)), None)
    if strange is not None or not found:
        more = f"holds {strange!r:.80}, which is none" if strange is not None else "holds none"
        raise BadCheckpoint(f"{file} {more} of PandaGPT's adapters (q, k, v and o of each layer)")
    ranks = {value.shape[0 if ".lora_A." in name else 1] for name, value in found.items() if value.ndim == 2}
    if len(ranks) != 1:
        raise BadCheckpoint(f"{file}: its adapters have {len(ranks)} ranks; PandaGPT's have one")
    return found, ranks.pop()
