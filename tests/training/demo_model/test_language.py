"""The rows that the demo's language model reads: questions share a caption and do not see each other."""

from collections import Counter

import pytest
import torch
from torch.nn.functional import cross_entropy

from anymal_eval.demo.wordings import TOPICS
from anymal_eval.training.demo_model import language, world
from anymal_eval.training.demo_model.optimizer import Schedule, muon, orthogonal


@pytest.fixture(scope="module")
def scenes() -> world.Scenes:
    return world.draw({"image": 30, "audio": 8, "video": 6, "imu": 8}, 8, seed=3)


def test_a_question_is_answered_as_if_it_stood_alone(scenes: world.Scenes) -> None:
    tokenizer = language.make_tokenizer(scenes)
    torch.manual_seed(0)
    model = language.make_model(tokenizer).eval()
    rows = language.Rows(scenes, tokenizer, seed=0)
    questions = [("\nWhat color are the shapes?", "red"), ("\nHow many shapes are there?", "2")]
    rows._row = lambda: rows._build("two red stars on the left", questions)  # type: ignore[method-assign]
    with torch.no_grad():
        together = language.loss_of(model, rows.batch(1))
        head = [tokenizer.bos_token_id, *tokenizer("two red stars on the left")["input_ids"]]
        read = model(torch.tensor([head])).logits[0, :-1]
        losses = list(cross_entropy(read, torch.tensor(head[1:]), reduction="none"))
        weights = [language.READING] * len(losses)
        for question, answer in questions:
            ids = tokenizer(f"{question}{language.ANSWER} {answer}{tokenizer.eos_token}")["input_ids"]
            alone = torch.tensor([[*head, *ids]])
            size = len(tokenizer(f" {answer}")["input_ids"]) + 1
            each = cross_entropy(model(alone).logits[0, :-1], alone[0, 1:], reduction="none")[-size:]
            losses += list(each)
            weights += [1.0] * size
    wanted = sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
    assert float(together) == pytest.approx(float(wanted), abs=1e-5)


def test_the_same_seed_gives_the_same_rows(scenes: world.Scenes) -> None:
    tokenizer = language.make_tokenizer(scenes)
    one, other = (language.Rows(scenes, tokenizer, seed=5).batch(4) for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert one["input_ids"].shape[1] <= language.LONGEST


def test_some_questions_lose_a_word_or_get_one_of_a_seen_wording(scenes: world.Scenes) -> None:
    rows, question = language.Rows(scenes, language.make_tokenizer(scenes), seed=7), "\nIs the color of the shapes red?"
    words, seen = question.split(" "), {word for one in TOPICS.values() for text in one.seen for word in text.split()}
    counts = Counter(len(rows._varied(question).split(" ")) - len(words) for _ in range(4000))
    assert counts.keys() == {-1, 0, 1}
    assert abs(counts[-1] / 4000 - language.DROPPED) < 0.03  # five standard deviations
    assert abs(counts[1] / 4000 - language.INSERTED) < 0.03
    for _ in range(500):
        varied = rows._varied(question).split(" ")
        assert (varied[0], "red?" in varied) == (words[0], True)
        assert set(varied) <= {*words, *seen}, "no word that is only in a wording of the evaluation"
    assert rows._varied("\nIs it red?") == "\nIs it red?"


def test_the_template_writes_what_the_rows_hold(scenes: world.Scenes) -> None:
    tokenizer = language.make_tokenizer(scenes)
    messages = [{"role": "user", "content": "\nWhat color are the shapes?"}, {"role": "assistant", "content": "red"}]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole == f"<s>\nWhat color are the shapes?{language.ANSWER} red</s>"
    opened = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert opened == whole.removesuffix(" red</s>")
    assert len(tokenizer(" red")["input_ids"]) == 1


def test_muon_goes_where_torchs_own_goes() -> None:
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(12, 20))
    theirs = torch.nn.Parameter(ours.detach().clone())
    own = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    momentum = torch.zeros_like(ours)
    start = ours.detach().clone()
    for _ in range(5):
        gradient = torch.randn(12, 20)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon([ours], [momentum], 0.01)
        own.step()  # type: ignore[no-untyped-call]
    moved, wanted = (ours - start).detach().flatten(), (theirs - start).detach().flatten()
    # theirs computes in bfloat16, of three digits
    assert float(torch.cosine_similarity(moved, wanted, dim=0)) > 0.999
    assert float(moved.norm() / wanted.norm()) == pytest.approx(1, abs=0.01)
    assert torch.linalg.svdvals(orthogonal(torch.randn(9, 4))).max() < 1.3


def test_the_rate_rises_and_falls() -> None:
    layer = torch.nn.Linear(2, 2)
    schedule = Schedule(layer, rate=1.0, steps=100)
    seen = []
    for _ in range(100):
        seen.append(schedule._factor())
        schedule.step(layer(torch.ones(1, 2)).sum())
    assert seen[0] == pytest.approx(1 / 6)
    assert seen[5] == pytest.approx(1.0)
    assert seen[53] == pytest.approx(0.51, abs=0.01)
    assert seen[-1] == pytest.approx(0.02, abs=0.01)


def test_embeddings_have_a_rate_of_their_own() -> None:
    """The first step of AdamW moves every entry by the rate."""
    network = torch.nn.ModuleDict({"embed": torch.nn.Embedding(3, 4), "norm": torch.nn.LayerNorm(4)})
    schedule = Schedule(network, rate=0.5, steps=10, embedding_rate=0.125)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    schedule.step(sum((value.sum() for value in network.parameters()), start=torch.zeros(())))
    moved = {name: float((before[name] - value.detach()).abs().mean()) for name, value in network.named_parameters()}
    assert moved["norm.bias"] == pytest.approx(0.5, rel=0.02)
    assert moved["embed.weight"] == pytest.approx(0.125, rel=0.02)
