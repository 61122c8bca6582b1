"""What a model gets that sees nothing: near chance everywhere, by the answers' shares and the options' places."""

import json
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest
from pycocoevalcap.cider.cider import Cider
from scipy.stats import chisquare

from anymal_eval.demo import Question, pairs, write_task
from anymal_eval.records import MediaKind

BLIND = {
    "vqav2": 0.40,
    "textvqa": 0.12,
    "okvqa": 0.20,
    "vizwiz": 0.25,
    "hateful_memes": 0.60,
    "nextqa": 0.30,
    "star": 0.30,
    "how2qa": 0.30,
}


@cache
def _questions() -> tuple[Question, ...]:
    drawn = (*pairs("image", count=2500, split="eval"), *pairs("video", count=500, split="eval"))
    return tuple(question for pair in drawn for question in pair.questions)


@pytest.mark.parametrize("task", BLIND)
def test_the_commonest_answer_of_a_wording_is_rare(task: str) -> None:
    """Knowing the text of each question and its commonest answer scores at most this share."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for question in _questions():
        if question.task == task:
            answers[question.text][question.answer] += 1
    total = sum(sum(found.values()) for found in answers.values())
    # Wordings drawn a handful of times would count as known by chance alone.
    often = [found for found in answers.values() if sum(found.values()) >= 20]
    known = sum(max(found.values()) for found in often) / sum(sum(found.values()) for found in often)
    assert total > 100
    assert known <= BLIND[task]


@pytest.mark.parametrize(("task", "count"), [("nextqa", 5), ("star", 4), ("how2qa", 4), ("scienceqa", 2)])
def test_the_right_option_stands_anywhere(task: str, count: int) -> None:
    places = Counter(q.label for q in _questions() if q.task == task and len(q.options) == count)
    assert chisquare([places[k] for k in range(count)]).pvalue > 0.001


def test_wrong_sentences_do_not_point_at_the_right_one() -> None:
    """Among five sentences about a picture, the one that shares most words with the others is right by chance only."""
    chosen = [q for q in _questions() if q.topic == "school caption" and len(q.options) == 5]
    right = 0.0
    for question in chosen:
        words = [set(option.replace("s", "").split()) for option in question.options]
        shared = [sum(len(mine & other) for other in words) for mine in words]
        best = [k for k, value in enumerate(shared) if value == max(shared)]
        right += (question.label in best) / len(best)
    assert len(chosen) > 30
    assert right / len(chosen) < 0.4


def test_options_differ_and_hold_the_answer() -> None:
    for question in _questions():
        if question.options:
            assert question.label is not None
            assert question.options[question.label] == question.answer
            assert len(set(question.options)) == len(question.options)


@pytest.mark.parametrize("kind", ["image", "audio", "video", "imu"])
def test_a_blind_caption_scores_little(kind: MediaKind) -> None:
    """CIDEr of the canonical caption leaves room above the required 2.0; of the best constant one, none."""
    drawn = [pair.captions for pair in pairs(kind, count=240, split="eval")]
    # Spoilt pictures share one caption; the captioning tasks have none of them.
    captions = dict(enumerate(each for each in drawn if len(set(each)) == 5))
    references = {key: list(value) for key, value in captions.items()}
    scorer = Cider()

    def score(answers: dict[int, list[str]]) -> float:
        return float(scorer.compute_score(references, answers)[0])

    assert score({key: [value[0]] for key, value in captions.items()}) > 5
    common = Counter(value[0] for value in captions.values()).most_common(3)
    assert max(score({key: [text] for key in captions}) for text, _ in common) < 1.5


def test_annotators_disagree_as_people_do(tmp_path: Path) -> None:
    folder = write_task("vqav2", tmp_path, examples=300)
    annotations = json.loads((folder / "v2_mscoco_val2014_annotations.json").read_text())
    votes = [Counter(answer["answer"] for answer in row["answers"]) for row in annotations["annotations"]]
    assert 0.2 < sum(len(found) == 1 for found in votes) / len(votes) < 0.6
    assert min(max(found.values()) for found in votes) >= 7
    types = Counter(row["answer_type"] for row in annotations["annotations"])
    assert types.keys() == {"yes/no", "number", "other"}
    assert max(types.values()) / len(votes) < 0.65
