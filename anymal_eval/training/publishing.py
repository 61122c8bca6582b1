"""Uploads a checkpoint of the network to the hub with its model card, and downloads one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anymal_eval import paths
from anymal_eval.anymal import encoders, publishing
from anymal_eval.anymal.backbones import placed
from anymal_eval.anymal.checkpoint_facts import CARD, DEMO, PROJECTORS, CheckpointFacts, located, read
from anymal_eval.anymal.config import paths_of
from anymal_eval.anymal.inspection import licence_of
from anymal_eval.checkpoints.locating import find, may_be_repository
from anymal_eval.checkpoints.uploading import require_name, upload
from anymal_eval.errors import BadCheckpoint, OtherRun, WrongUse
from anymal_eval.models.anymal import fingerprint_of
from anymal_eval.report.model_card import ModelCard
from anymal_eval.scoring.verification import open_verified
from anymal_eval.store.atomic import storage_errors
from anymal_eval.store.results import Results
from anymal_eval.training import record
from anymal_eval.training.load import CHECKPOINT

_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Push:
    """What is uploaded.

    Attributes:
        network: a checkpoint folder, or ``anymal:demo``.
        name: OWNER/NAME of the hub.
        backbones: the hub ids of frozen parts, by ``llm`` or medium.
        results: folders of runs of this checkpoint.
        private: whether a new repository is private.
    """

    network: str
    name: str
    backbones: Mapping[str, str] = field(default_factory=dict)
    results: Sequence[Path] = ()
    private: bool = False


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The files of an upload.

    Attributes:
        push: what for.
        files: by name; a file as it is, or its content.
        elsewhere: the frozen parts that are neither on the hub nor in the checkpoint, by name.
    """

    push: Push
    files: Mapping[str, Path | bytes]
    elsewhere: Mapping[str, str]

    @property
    def lines(self) -> list[str]:
        """What is uploaded, and what others must have besides."""
        sizes = {name: len(it) if isinstance(it, bytes) else it.stat().st_size for name, it in self.files.items()}
        kind = "private" if self.push.private else "public"
        lines = [f"{self.push.name} ({kind}), {sum(sizes.values()) / _BYTES:.1f} MiB"]
        lines += [f"  {name}, {size:,} bytes" for name, size in sizes.items()]
        return lines + [
            f"  {part} ({path}) is on no hub that this checkpoint names: --backbone {part}=OWNER/NAME, or others give "
            f"-o {part}=PATH"
            for part, path in self.elsewhere.items()
        ]

    @property
    def card(self) -> str:
        """The model card."""
        content = self.files[CARD]
        return content.decode() if isinstance(content, bytes) else ""


def prepare(push: Push) -> Prepared:
    """Choose the files and write the card. Uses no network.

    Raises:
        WrongUse, BadCheckpoint, BadDefinition: no checkpoint that can be uploaded.
        OtherRun: results of another model.
    """
    require_name(push.name)
    if push.network != DEMO and not paths.expanded(push.network).is_dir() and may_be_repository(push.network):
        raise BadCheckpoint(
            f"{push.network}: there is no such folder; anymal_eval checkpoints pull makes one of the hub's"
        )
    facts = read(located(push.network))
    made = publishing.published(facts, push.backbones)
    card = ModelCard(
        name=push.name,
        facts=made.facts,
        licences=_licences(facts),
        elsewhere=made.elsewhere,
        training=record.read(facts.folder.parent) if facts.folder.resolve().name == CHECKPOINT else {},
        results=[_results(run, facts) for run in push.results],
        is_demo=facts.folder.resolve() == paths.demo_model().resolve() or facts.note == "the demo model",
    )
    files = dict(made.files) | {CARD: card.text.encode()}
    publishing.require_no_token(files, facts.folder)
    return Prepared(push=push, files=files, elsewhere=made.elsewhere)


def send(prepared: Prepared) -> str:
    """Upload what was prepared.

    Returns:
        The address of the commit.

    Raises:
        WrongUse: the hub refuses, or the repository holds another model; nothing was changed.
    """
    push = prepared.push

    def replaced(names: Collection[str]) -> list[str]:
        others = [name for name in names if name == "config.json" or name.endswith(".safetensors")]
        if others and PROJECTORS not in names:
            raise WrongUse(f"{push.name} holds another model ({others[0]}): choose another name")
        return [name for name in names if publishing.is_part(name)]

    return upload(push.name, prepared.files, private=push.private, message="AnyMAL checkpoint", replaced=replaced)


def pull(name: str, out: Path) -> CheckpointFacts:
    """Download a checkpoint of the hub into a folder of its own.

    Args:
        name: OWNER/NAME, perhaps with ``@REVISION``.
        out: the folder; an older checkpoint there is replaced.

    Returns:
        What it says of itself.

    Raises:
        BadCheckpoint: the hub does not give it, or it is none.
        WrongUse: ``out`` holds other files.
        StorageFull: there is no space.
    """
    if not may_be_repository(name) or paths.expanded(name).exists():
        raise WrongUse(f"{name!r:.120} is no name of a repository of the hub: write OWNER/NAME, perhaps with @REVISION")
    facts = read(located(name))
    with storage_errors(out):
        publishing.copy(facts, out)
    return read(out)


def _licences(facts: CheckpointFacts) -> dict[str, str]:
    """The licences of the frozen parts, by their cards on this machine, or those of their kind."""
    found = {str(name): encoders.licence_of(part.encoder.kind) for name, part in facts.config.modalities.items()}
    for part, path in paths_of(placed(facts)).items():
        place = Path(path) if Path(path).exists() else find(path) if may_be_repository(path) else None
        if place is not None:
            found[part] = licence_of(place) or found.get(part, "")
    return {part: licence for part, licence in found.items() if licence}


def _results(run: Path, facts: CheckpointFacts) -> Results:
    opened = open_verified(run)
    wanted = fingerprint_of(facts, opened.manifest.model.get("options", {}), facts.frozen)
    found = opened.manifest.identity.get("fingerprint")
    if found != wanted:
        raise OtherRun(f"{run} holds results of another model than {facts.folder} ({found}, not {wanted})")
    return opened.results
