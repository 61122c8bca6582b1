"""Thinking: what a reasoning model writes before its answer, between the tags of its family.

Tags as the families' chat templates and the reasoning parsers of vLLM and SGLang have them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

BUDGET = 4096  # tokens of thinking, where none are given


@dataclass(frozen=True, kw_only=True)
class Tags:
    """The thinking of a family of models.

    Attributes:
        opening: the text that opens it.
        closing: the text that closes it, after which the answer comes.
    """

    opening: str
    closing: str

    def opens(self, text: str) -> int:
        """Where the thinking starts in a text that starts with it, perhaps after white space; else -1."""
        blank = len(text) - len(text.lstrip())
        end = blank + len(self.opening)
        return end if text[blank:end].lower() == self.opening.lower() else -1

    def closes(self, text: str) -> tuple[int, int]:
        """Where the first closing tag starts and ends; (-1, -1) where there is none."""
        found = re.search(re.escape(self.closing), text, re.IGNORECASE)
        return found.span() if found else (-1, -1)


# Qwen3, DeepSeek-R1, InternVL3.5, GLM-4.1V, MiMo-VL and most others think in the first; EXAONE in <thought>.
_NAMED = ("think", "thinking", "thought", "reasoning", "reason", "reflection", "seed:think")
FAMILIES = (
    *(Tags(opening=f"<{name}>", closing=f"</{name}>") for name in _NAMED),
    Tags(opening="<|think|>", closing="<|/think|>"),
    Tags(opening="[THINK]", closing="[/THINK]"),  # Magistral
    Tags(opening="◁think▷", closing="◁/think▷"),  # Kimi-VL
    Tags(opening="<|channel|>analysis", closing="<|channel|>final<|message|>"),  # gpt-oss
    Tags(opening="<|START_THINKING|>", closing="<|END_THINKING|>"),  # Command A
    Tags(opening="<|begin_of_thought|>", closing="<|end_of_thought|>"),  # OpenThinker
)
# What some families put around the answer that follows.
_AROUND = (
    ("<answer>", "</answer>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|begin_of_box|>", "<|end_of_box|>"),
)
_SWITCH = re.compile(r"(?<![.\w'\"])(enable_thinking|thinking)(?![\w'\"])")
_TEXTS = re.compile(r"'[^']*'|\"[^\"]*\"")
_MARKS = re.compile(r"[<\[◁]")  # one of these is in every tag; most answers hold none


@dataclass(frozen=True, kw_only=True)
class Thought:
    """A text with thinking before its answer.

    Attributes:
        thinking: without its tags.
        answer: what follows it; None where the thinking does not end.
    """

    thinking: str
    answer: str | None


def split(text: str) -> Thought | None:
    r"""Separate the thinking at the start of a text from the answer; None where there is none.

    A text with a closing tag alone counts: many chat templates write the opening tag into the prompt.

    >>> split("<think>A cat? No.</think>\n\na dog")
    Thought(thinking='A cat? No.', answer='a dog')
    >>> split("A cat? No.</think>a dog").answer
    'a dog'
    >>> split("<think>A cat? No, wait").answer is None
    True
    >>> split("a dog")
    """
    if not _MARKS.search(text):
        return None
    for tags in FAMILIES:
        start, (end, after) = tags.opens(text), tags.closes(text)
        if start >= 0 or end >= 0:
            inside = text[max(start, 0) : end if end >= 0 else None]
            return Thought(thinking=inside.strip(), answer=_unwrapped(text[after:].strip()) if end >= 0 else None)
    return None


def _unwrapped(answer: str) -> str:
    for before, after in _AROUND:
        if answer.startswith(before):
            return answer.removeprefix(before).removesuffix(after).strip()
    return answer


def answer_start(text: str) -> int | None:
    """Where in a text the answer starts: 0 without thinking, None while the thinking has not ended."""
    for tags in FAMILIES:
        _, after = tags.closes(text)
        if after >= 0:
            return after
        if tags.opens(text) >= 0:
            return None
    return 0


def opened_by(prompt: str) -> str:
    r"""The opening tag that a prompt ends with, so that the model starts inside its thinking; else empty.

    >>> opened_by("<|im_start|>assistant\n<think>\n")
    '<think>'
    """
    end = prompt.rstrip()
    return next((tags.opening for tags in FAMILIES if end.endswith(tags.opening)), "")


def closed_by(prompt: str) -> bool:
    """Whether a prompt ends with thinking that is over, by which templates switch it off."""
    end = prompt.rstrip()
    return any(end.endswith(tags.closing) for tags in FAMILIES)


def switch_of(template: str) -> str:
    """The variable by which a chat template switches thinking on and off; empty where it has none.

    >>> switch_of("{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}")
    'enable_thinking'
    """
    code = _TEXTS.sub("''", " ".join(re.findall(r"{%.*?%}|{{.*?}}", template, re.DOTALL)))
    found = _SWITCH.search(code)
    return found.group() if found else ""


def thinks(template: str, prompt: str) -> bool:
    """Whether a model with this chat template may think before it answers this prompt, which the template wrote."""
    if closed_by(prompt):
        return False
    return bool(opened_by(prompt) or switch_of(template) or any(tags.opening in template for tags in FAMILIES))


def special_tags(special: Mapping[str, int]) -> dict[int, str]:
    """The tags that are special tokens of a tokenizer, which decoding would leave out, by their ids."""
    parts = {part for tags in FAMILIES for part in re.findall(r"<\|[^|]+\|>", tags.opening + tags.closing)}
    parts |= {tag for tags in FAMILIES for tag in (tags.opening, tags.closing)}
    return {number: token for token, number in special.items() if token in parts}
