"""A run is resumed where its data have moved and are the same: another name on the hub, another folder, new notes."""

from dataclasses import replace
from typing import Any

import pytest

from anymal_eval.errors import OtherRun
from anymal_eval.store.manifest import Manifest, TaskEntry, resumed

ENTRY = TaskEntry(
    version=1, split="val", data="hub", examples="e", n=1, n_split=1, n_expected=1, labelled=True, protocol="plain",
    prompts="p", reading={},
)  # fmt: skip
OLD = {"id": "lmms-lab/VQAv2", "revision": "a" * 40}


def manifest(source: dict[str, Any], **entry: Any) -> Manifest:
    return Manifest(run="r", identity={}, environment={}, tasks={"vqav2": replace(ENTRY, source=source, **entry)})


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (OLD, OLD | {"id": "lmms-lab-encoder/VQAv2"}),
        (OLD, OLD | {"notes": ["the hub copy has no split val"]}),
        ({"file": "/a/my.jsonl", "metrics": ["cider"]}, {"file": "/b/my.jsonl", "metrics": ["cider"]}),
    ],
    ids=["name on the hub", "notes", "file"],
)
def test_what_has_moved_is_the_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    # An earlier version recorded no fingerprint of the content.
    found = resumed(manifest(before), manifest(now, content="c"))
    assert (found.tasks["vqav2"].source, found.tasks["vqav2"].content) == (now, "c")


@pytest.mark.parametrize(
    ("before", "now", "differing"),
    [
        (manifest(OLD), manifest(OLD | {"revision": "b" * 40}), "source"),
        (manifest({"file": "/a/my.jsonl", "metrics": ["cider"]}), manifest({"metrics": ["bleu"]}), "source"),
        (manifest(OLD, content="c"), manifest(OLD, content="d"), "content"),
        (manifest({"id": "a/b", "revision": ""}), manifest({"id": "c/d", "revision": ""}), "source"),
    ],
)
def test_what_is_other_data_is_refused(before: Manifest, now: Manifest, differing: str) -> None:
    with pytest.raises(OtherRun, match=f"holds vqav2 with another {differing}:"):
        resumed(before, now)
