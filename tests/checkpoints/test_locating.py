"""A checkpoint is a local folder or a repository of the hub; a name that is neither is refused in one line."""

import json
from pathlib import Path

import pytest

from anymal_eval.checkpoints.hub import hub_facts
from anymal_eval.checkpoints.loading import architecture
from anymal_eval.checkpoints.locating import locate, locate_config
from anymal_eval.errors import BadCheckpoint
from anymal_eval.network import hub_reachable

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a hub that cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def cached(hub: Path, name: str) -> Path:
    """A repository in the hub's cache with a ``config.json`` and nothing else."""
    home = hub / f"models--{name.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    (snapshot / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 128}))
    return snapshot


@pytest.mark.parametrize("name", ["owner/model", "old-model-without-owner"])
def test_a_repository_in_the_cache(name: str, hub: Path) -> None:
    snapshot = cached(hub, name)
    assert locate(name) == snapshot
    assert locate_config(name) == snapshot / "config.json"


def test_a_configuration_needs_no_weights(hub: Path) -> None:
    cached(hub, "owner/model")
    assert architecture("owner/model", None).hidden_size == 128
    assert architecture("owner/other", {"model_type": "llama", "hidden_size": 64}).hidden_size == 64


def test_a_folder_comes_first(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(hub, "owner/model")
    (hub / "owner" / "model").mkdir(parents=True)
    monkeypatch.chdir(hub)
    assert locate("owner/model") == Path("owner/model")


@pytest.mark.parametrize("name", ["./model", "/model", "~/no-such-model", "a/b/c", "a\\b", "model", "a model"])
def test_what_can_only_be_a_folder(name: str) -> None:
    for find in (locate, locate_config):
        with pytest.raises(BadCheckpoint, match="no such folder"):
            find(name)


def test_a_repository_that_is_not_there() -> None:
    for find in (locate, locate_config):
        with pytest.raises(BadCheckpoint, match="cache does not hold it while HF_HUB_OFFLINE is set"):
            find("owner/model")


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"holds no config\.json"):
        locate_config(str(tmp_path))


def test_without_a_network_a_repository_is_refused_at_once(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    # A port on which nothing listens: the hub's own client would try it six times, for half a minute.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub_reachable.cache_clear()
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    try:
        for find in (locate, locate_config):
            with pytest.raises(BadCheckpoint, match="cache does not hold it while the hub cannot be reached"):
                find("OWNER/NAME")
    finally:
        hub_reachable.cache_clear()
    assert not waits


def test_without_a_network_the_hub_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def requested(*_: object, **__: object) -> None:
        pytest.fail("a request to a hub that cannot be reached")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", requested)
    for offline, endpoint in ((True, "https://huggingface.co"), (False, "http://127.0.0.1:9")):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        hub_reachable.cache_clear()
        try:
            found = hub_facts("owner/model")
        finally:
            hub_reachable.cache_clear()
        assert found.problem == "it is not on this machine, and the hub cannot be reached"
        assert found.remedy == "hf download owner/model, where there is a network"


def test_home_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "checkpoint").mkdir()
    assert locate("~/checkpoint") == tmp_path / "checkpoint"
    with pytest.raises(BadCheckpoint, match="there is no such home folder"):
        locate("~nobody-of-this-name/checkpoint")
