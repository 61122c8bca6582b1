"""Every task without its media, and with those of other examples: under each protocol, on real files too."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from anymal_eval import catalog, protocols
from anymal_eval.errors import BadData
from anymal_eval.models import PLAIN_WORDING
from anymal_eval.protocols.prompting import build_request
from anymal_eval.records import Example, Media, Request
from anymal_eval.sources.ablation import ablated
from anymal_eval.sources.load import load_examples
from anymal_eval.task import Task
from tests.conftest import DEMO_TASKS


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYMAL_EVAL_CACHE", str(tmp_path_factory.getbasetemp() / "plumbing-world"))


def read(name: str) -> tuple[Task, list[Example]]:
    task = catalog.tasks().get(name, "TASK", Task)
    return task, load_examples(task, task.split(None), "demo", Path("none"), demo_examples=24)


def check_derangement(examples: Sequence[Example], shuffled: Sequence[Example]) -> None:
    owners: dict[Media, set[str]] = defaultdict(set)
    for example in examples:
        for medium in example.media:
            owners[medium].add(example.cluster)
    gives: dict[str, set[str]] = defaultdict(set)
    for before, after in zip(examples, shuffled, strict=True):
        assert (before.id, before.question, before.references) == (after.id, after.question, after.references)
        assert [medium.kind for medium in before.media] == [medium.kind for medium in after.media]
        for medium in after.media:
            assert before.cluster not in owners[medium], f"{before.id} keeps its own"
            gives[before.cluster] |= owners[medium]
    # Every cluster gets from one other, and every cluster gives to one other.
    assert all(len(givers) == 1 for givers in gives.values())
    assert Counter(name for givers in gives.values() for name in givers) == dict.fromkeys(gives, 1)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("name", DEMO_TASKS)
def test_shuffled_media_is_a_derangement_over_clusters(name: str) -> None:
    _, examples = read(name)
    shuffled = ablated(examples, "shuffled-media")
    check_derangement(examples, shuffled)
    assert shuffled == ablated(examples, "shuffled-media")


def test_shuffled_media_of_the_real_files(golden: Path, tmp_path: Path) -> None:
    import shutil

    for file in ("val.csv", "map_vid_vidorID.json"):
        (tmp_path / "nextqa").mkdir(exist_ok=True)
        shutil.copy(golden / "nextqa" / file, tmp_path / "nextqa" / file)
    task = catalog.tasks().get("nextqa", "TASK", Task)
    examples = load_examples(task, task.split("val"), "official", tmp_path)
    assert len(examples) == 4_996
    check_derangement(examples, ablated(examples, "shuffled-media"))


def test_one_cluster_alone_cannot_be_shuffled() -> None:
    alone = [Example(id=str(at), cluster="c", kind="caption", media=(Media(kind="image", uri="x"),)) for at in range(3)]
    with pytest.raises(BadData, match=r"only one cluster \(c\)"):
        ablated(alone, "shuffled-media")


def wording(request: Request) -> list[tuple[str, str]]:
    return [
        (message.role, "".join(part for part in message.parts if isinstance(part, str))) for message in request.messages
    ]


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("protocol", catalog.protocols().names())
@pytest.mark.parametrize("name", DEMO_TASKS)
def test_no_media_takes_the_placeholder_and_leaves_the_words(name: str, protocol: str) -> None:
    task, examples = read(name)
    words = protocols.get(protocol)
    for before, after in zip(examples, ablated(examples, "no-media"), strict=True):
        whole, blind = (build_request(item, task, PLAIN_WORDING, words) for item in (before, after))
        assert whole.media == before.media
        assert blind.media == ()
        assert wording(blind) == wording(whole)
        assert (blind.candidates, blind.decoding) == (whole.candidates, whole.decoding)
        assert "{media}" not in str(blind.messages)
