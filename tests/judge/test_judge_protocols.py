"""Judge protocols are pinned: their words are the published ones, and a change of any changes its hash."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from anymal_eval import catalog
from anymal_eval.errors import BadDefinition
from anymal_eval.judge.judge_protocol import DEFAULTS, find

# Numbers by a judge are comparable where these are equal: a change of one is a new protocol, under another name.
PINNED = {
    "anymal-ratings": "1e210f072cad37f6",
    "llava-bench": "8cb571f8c893db93",
    "mm-vet": "5875c3c6e3b810ed",
    "mmbench": "9d98ce9a4006da7d",
    "pairwise": "3cc7342cf71b3463",
    "pairwise-text": "9a997c0de7150b2e",
}
# Of the words in the published files, with single spaces: the prompt of llava_bench_conv in LLaVA's rule.json, and the
# prompts of VLMEvalKit's mmvet.py and build_prompt, at the commits that the protocols name.
WORDS = {
    "llava-bench": "4f81857a1c543b9d63c5a5349cad2f6df533d00062ba1a80d44a974b39df2e13",
    "mm-vet": "0a8b318f3b92c4bbac086139b5122f22d2ca991c272867e77bce5ed611f07d1a",
}
EXACT = {"mmbench": "133b2beaa0ce149aab95c6d01d4629f034e8861c723fc302ab3853a41e690c86"}


def test_shipped_protocols_are_pinned() -> None:
    assert {name: find(name).prompt_hash for name in catalog.judge_protocols().names()} == PINNED
    assert set(DEFAULTS.values()) <= PINNED.keys()
    one = find("pairwise")
    assert replace(one, summary="x", source="x", notes="x").prompt_hash == one.prompt_hash
    for more in ({"user": f"{one.user} "}, {"temperature": 0.5}, {"media": False}, {"max_new_tokens": 9}):
        assert replace(one, **more).prompt_hash != one.prompt_hash


def test_sources_and_licences_are_named() -> None:
    for name in PINNED:
        found = find(name)
        assert found.licence in ("MIT", "Apache-2.0"), name
        assert found.source.startswith("ours") == (found.licence == "MIT"), name
        assert found.source.startswith("ours") or ("https://github.com/" in found.source and found.notes), name


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_words_are_the_published_ones() -> None:
    llava = find("llava-bench")
    before, _, words = llava.user.partition("[System]\n")
    assert digest(" ".join(words.split())) == WORDS["llava-bench"]
    # As eval_gpt_review_bench.py puts it together.
    assert before == (
        "[Context]\n{context}\n\n[Question]\n{prompt}\n\n[Assistant 1]\n{first}\n\n[End of Assistant 1]\n\n"
        "[Assistant 2]\n{second}\n\n[End of Assistant 2]\n\n"
    )
    assert (llava.temperature, llava.max_new_tokens) == (0.2, 1024)
    words, _, last = find("mm-vet").user.partition("\n{prompt}")
    assert digest(" ".join(words.split())) == WORDS["mm-vet"]
    assert last == " | {reference} | {answer} | "
    assert (find("mm-vet").runs, find("mm-vet").max_new_tokens, find("mm-vet").temperature) == (5, 3, 0.0)
    user = find("mmbench").user
    for name in ("question", "options", "answer"):
        user = user.replace(f"{{{name}}}", "{}")
    assert digest(user) == EXACT["mmbench"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('user = "{first}"', "it lacks {second}"),
        ('user = "{first}{second}{answer}"', "{answer} is nothing"),
        ('user = "{first}{second}"\nruns = 5', "only ratings have runs"),
        ('user = "{first}{second}"\ntemperature = 3.0', "temperature from 0 to 2"),
        ('user = "{first}{second}"\nread = "x"', "read: unknown key"),
        ('user = "{first}{second}"\nname = "other"', "name"),
    ],
)
def test_a_file_that_is_wrong_is_one_line(tmp_path: Path, line: str, why: str) -> None:
    file = tmp_path / "own.toml"
    name = "" if "name =" in line else 'name = "own"\n'
    file.write_text(f'{name}summary = "s"\nsource = "ours"\nlicence = "MIT"\nverdict = "side"\n{line}\n')
    with pytest.raises(BadDefinition) as found:
        find(str(file))
    assert why in str(found.value)
    assert "\n" not in str(found.value)
