"""The demo model's language model: a small LLaMA that reads a caption and answers questions about it.

The modality tokens later take the place of the caption: the projectors learn to give this model the information of a
caption. Several questions share one caption in a row; each attends to the caption and itself only, so that a caption is
read once for all of them.

Shapes:  b rows · t positions · v vocabulary
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from anymal_eval.checkpoints.loading import library
from anymal_eval.demo import Pair
from anymal_eval.demo.wordings import TOPICS
from anymal_eval.training.demo_model.optimizer import Schedule
from anymal_eval.training.demo_model.recipe import Course
from anymal_eval.training.demo_model.world import CAPTION, QUESTIONS, Scenes, question_text, sample_questions, sentences

VOCABULARY = 1024  # nearly every word of the demo world is one token
ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ '<|answer|> ' + message['content'] + eos_token }}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|answer|>' }}{% endif %}"
)
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
ANSWER = "<|answer|>"
SHARES = {"image": 0.44, "video": 0.3, "audio": 0.1, "imu": 0.09, "text": 0.07}  # of the rows
RARE = {"word": 0.2, "two": 0.12}  # of the rows about pictures: memes, and pictures of two groups
LONGEST = 88  # tokens of a row: questions that do not fit are left out
BLIND = 0.08  # fraction of rows without a caption
# Against overfitting to wordings, of which a question has few: the fractions that lose a word, and that get one more.
DROPPED, INSERTED = 0.15, 0.15
SEEN = [text for topic in TOPICS.values() for text in topic.seen]
WORDS = sorted({word for text in SEEN for word in text.split(" ") if "{" not in word})
READING = 0.1  # the weight of the caption's own tokens in the loss
IGNORED = -100


def make_tokenizer(scenes: Scenes) -> Any:
    """A byte-level BPE of the training split's texts, with the chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    fast = Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*SPECIAL.values(), ANSWER],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(sentences(scenes), trainer)
    made = library().PreTrainedTokenizerFast(
        tokenizer_object=fast, additional_special_tokens=[ANSWER], padding_side="left", **SPECIAL
    )
    made.chat_template = TEMPLATE
    return made


def make_model(tokenizer: Any) -> Any:
    """The model with fresh weights."""
    auto = library()
    settings = auto.AutoConfig.for_model(
        **ARCHITECTURE,
        vocab_size=len(tokenizer) + 4,  # the markers of the four media, which are never embedded
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return auto.AutoModelForCausalLM.from_config(settings)


class Rows:
    """Training rows: a caption, then questions that each attend to the caption and themselves."""

    def __init__(self, scenes: Scenes, tokenizer: Any, seed: int) -> None:
        self._scenes, self._tokenizer = scenes, tokenizer
        self._random = Random(seed)
        self._ids: dict[str, list[int]] = {}
        self._rare: dict[str, list[Pair]] = {name: [] for name in RARE}
        for pair in scenes.pairs["image"]:
            name = rare(pair)
            if name in RARE:
                self._rare[name].append(pair)

    def batch(self, rows: int) -> dict[str, Tensor]:
        """``input_ids``, ``position_ids``, ``labels``, ``weights`` (b, t) and the mask (b, 1, t, t)."""
        drawn = [self._row() for _ in range(rows)]
        longest = max(len(row.ids) for row in drawn)
        out = {
            "input_ids": torch.zeros(rows, longest, dtype=torch.long),
            "position_ids": torch.zeros(rows, longest, dtype=torch.long),
            "labels": torch.full((rows, longest), IGNORED),
            "weights": torch.zeros(rows, longest),
        }
        part = torch.full((rows, longest), -1)  # 0 the caption, k the kth question
        for at, row in enumerate(drawn):
            size = len(row.ids)
            out["input_ids"][at, :size] = torch.tensor(row.ids)
            out["position_ids"][at, :size] = torch.tensor(row.positions)
            out["labels"][at, :size] = torch.tensor(row.labels)
            out["weights"][at, :size] = torch.tensor(row.weights)
            part[at, :size] = torch.tensor(row.parts)
        sees = (part[:, :, None] == part[:, None, :]) | (part[:, None, :] == 0)
        causal = torch.ones(longest, longest, dtype=torch.bool).tril()
        allowed = (sees & causal) | torch.eye(longest, dtype=torch.bool)
        out["attention_mask"] = torch.zeros(rows, 1, longest, longest).masked_fill(~allowed[:, None], -1e9)
        return out

    def _row(self) -> "_Row":
        kind = self._random.choices(list(SHARES), list(SHARES.values()))[0]
        if kind == "text":
            questions = self._random.sample(self._scenes.texts, QUESTIONS)
            return self._build("", [(question_text(one), one.answer) for one in questions])
        pair = self._random.choice(self._candidates(kind))
        return self._build(self._caption(pair), self._questions(pair))

    def _candidates(self, kind: str) -> Sequence[Pair]:
        """The scenes to choose from; rare ones come more often than the world draws them."""
        drawn = self._random.random()
        for name, fraction in RARE.items():
            if kind == "image" and drawn < fraction and self._rare[name]:
                return self._rare[name]
            drawn -= fraction
        return self._scenes.pairs[kind]  # type: ignore[index]

    def _caption(self, pair: Pair) -> str:
        if self._random.random() < BLIND:
            return ""
        # The projectors will be aligned with the canonical caption: half of the rows have it.
        return pair.captions[0] if self._random.random() < 0.5 else self._random.choice(pair.captions)

    def _questions(self, pair: Pair) -> list[tuple[str, str]]:
        """The caption itself and some questions, with their answers."""
        drawn = sample_questions(self._random, pair)
        return [(CAPTION, pair.captions[0]), *((self._varied(question_text(one)), one.answer) for one in drawn)]

    def _varied(self, question: str) -> str:
        """The question, in some cases without a word, or with one of another wording."""
        parts, drawn = question.split(" "), self._random.random()
        if len(parts) < 4:
            return question
        if drawn < DROPPED:
            del parts[self._random.randrange(1, len(parts) - 1)]
        elif drawn < DROPPED + INSERTED:
            parts.insert(self._random.randrange(1, len(parts) + 1), self._random.choice(WORDS))
        return " ".join(parts)

    def _build(self, caption: str, questions: Sequence[tuple[str, str]]) -> "_Row":
        tokenizer = self._tokenizer
        head = [tokenizer.bos_token_id, *self._encode(caption)]
        row = _Row(
            ids=list(head),
            positions=list(range(len(head))),
            labels=list(head),
            weights=[0.0] + [READING] * (len(head) - 1),
            parts=[0] * len(head),
        )
        for k, (question, answer) in enumerate(questions, start=1):
            prompt = [*self._encode(question), tokenizer.convert_tokens_to_ids(ANSWER)]
            completion = [*self._encode(f" {answer}"), tokenizer.eos_token_id]
            size = len(prompt) + len(completion)
            if len(row.ids) + size > LONGEST:
                continue
            row.ids += [*prompt, *completion]
            row.positions += range(len(head), len(head) + size)
            row.labels += [*prompt, *completion]
            row.weights += [0.0] * len(prompt) + [1.0] * len(completion)
            row.parts += [k] * size
        return row

    def _encode(self, text: str) -> list[int]:
        if text not in self._ids:
            self._ids[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._ids[text]


def rare(pair: Pair) -> str:
    """``word`` for a meme, ``two`` for a picture of two groups, else nothing."""
    topics = {question.topic for question in pair.questions}
    return "word" if "hateful" in topics else "two" if "color of" in topics else ""


@dataclass(kw_only=True)
class _Row:
    ids: list[int]
    positions: list[int]
    labels: list[int]
    weights: list[float]
    parts: list[int]


def loss_of(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Weighted mean cross-entropy of the next token: 1 for answers, READING for the caption, 0 for questions.

    The first token of a question follows the caption's last token, which is not at the position before it: weight 0.
    """
    hidden = model.model(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], attention_mask=batch["attention_mask"]
    ).last_hidden_state
    weights = batch["weights"][:, 1:].flatten()
    targets = weights > 0
    logits = model.lm_head(hidden[:, :-1].flatten(0, 1)[targets])
    losses = cross_entropy(logits, batch["labels"][:, 1:].flatten()[targets], reduction="none")
    return (losses * weights[targets]).sum() / weights.sum()


def train(scenes: Scenes, course: Course, seed: int, log: Callable[[int, float], None]) -> tuple[Any, Any]:
    """The trained language model and its tokenizer."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(scenes)
    model = make_model(tokenizer).train()
    rows = Rows(scenes, tokenizer, seed)
    schedule = Schedule(model, rate=course.rate, steps=course.steps, embedding_rate=course.embedding_rate)
    for step in range(course.steps):
        loss = loss_of(model, rows.batch(course.rows))
        schedule.step(loss)
        log(step, loss.item())
    return model.eval(), tokenizer


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Half precision on disk: half the size, and it is read back as float32."""
    model.half().save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
