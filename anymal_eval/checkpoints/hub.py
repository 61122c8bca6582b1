"""What the hub says of a repository before anything of it is downloaded."""

from dataclasses import dataclass
from typing import Any

from anymal_eval.checkpoints.files import PICKLED, is_any, skipped_in
from anymal_eval.checkpoints.locating import download_command, repository_of
from anymal_eval.network import hub_reachable


@dataclass(frozen=True, kw_only=True)
class HubFacts:
    """A repository.

    Attributes:
        address: of its page.
        files: number of files of weights that would be downloaded.
        size: their bytes.
        weights: safetensors or pickles.
        licence: as its card says.
        gated: whether its licence must be accepted first.
        problem: why the hub does not say; empty where it does.
        remedy: what to do about that.
    """

    address: str
    files: int = 0
    size: int = 0
    weights: str = ""
    licence: str = ""
    gated: bool = False
    problem: str = ""
    remedy: str = ""


def hub_facts(name: str) -> HubFacts:
    """The files, the licence and the gate of ``OWNER/NAME``, perhaps with ``@REVISION``."""
    import httpx2
    import huggingface_hub
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    repository, revision = repository_of(name)
    address = f"{huggingface_hub.constants.ENDPOINT}/{repository}"
    unreachable = HubFacts(
        address=address,
        problem="it is not on this machine, and the hub cannot be reached",
        remedy=f"{download_command(name)}, where there is a network",
    )
    if huggingface_hub.constants.HF_HUB_OFFLINE or not hub_reachable():
        return unreachable
    try:
        hub = huggingface_hub.HfApi()
        found: Any = hub.model_info(repository, revision=revision or None, files_metadata=True, timeout=10)
    except GatedRepoError:
        return HubFacts(
            address=address, problem="its licence is not accepted", remedy=f"accept it at {address}, then hf auth login"
        )
    except RepositoryNotFoundError:
        return HubFacts(
            address=address,
            problem="the hub has no such repository, or it is private",
            remedy="check the name, or hf auth login",
        )
    except (OfflineModeIsEnabled, httpx2.TransportError):
        return unreachable
    except (HfHubHTTPError, HFValidationError) as error:
        return HubFacts(address=address, problem=str(error).strip().splitlines()[0], remedy="check the name")
    sizes = {each.rfilename: each.size or 0 for each in found.siblings or ()}
    wanted = set(sizes) - set(skipped_in(sizes, pickled="alone"))
    tensors = [each for each in wanted if each.endswith(".safetensors")]
    weights = tensors or [each for each in wanted if is_any(each, PICKLED)]
    return HubFacts(
        address=address,
        files=len(weights),
        size=sum(sizes[each] for each in weights),
        weights="" if not weights else "safetensors" if tensors else "pickles",
        licence=str((found.card_data or {}).get("license") or ""),
        gated=bool(found.gated),
    )
