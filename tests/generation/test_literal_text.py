"""Text of data never becomes a control token, in every kind of tokenizer; all other text keeps its ids."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anymal_eval.errors import RequestFailed
from anymal_eval.generation import LiteralText, PromptTokenizer

CORPUS = ["what is the colour of this picture", "USER: how many dogs ASSISTANT: two", "a < b [1] </ s> image | im end"]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "<|im_start|>", "<|im_end|>", "[INST]", "en_XX"]
UNKNOWN: dict[str, Any] = {"unk_token": "<unk>"}
NAMED = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", **UNKNOWN}


def byte_level() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(CORPUS, trainer)
    return inner


def llama(legacy: bool) -> Any:
    """BPE over the whole text, with a space before every piece (legacy), or before the first one."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE(fuse_unk=True, **UNKNOWN))
    if legacy:
        inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    inner.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    inner.train_from_iterator(CORPUS, trainer)
    return inner


def unigram() -> Any:
    """As T5's: its control tokens are pieces of the model, which it would find in a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = sorted({letter for line in CORPUS for letter in line.replace(" ", "▁")})
    pieces = [*((text, 0.0) for text in SPECIAL), *((letter, -8.0) for letter in letters), ("▁the", -3.0)]
    inner = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return inner


def word_piece() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    words = {word for line in CORPUS for word in line.lower().split()} | {"<", ">", "/", "s", "[", "]", "|", "##s"}
    inner = Tokenizer(models.WordPiece({text: n for n, text in enumerate([*SPECIAL, *sorted(words)])}, **UNKNOWN))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # a whole word may be the name of a control token
    return inner


def build(kind: str) -> Any:
    import transformers

    library: Any = transformers

    makers = {
        "byte-level": byte_level, "llama": lambda: llama(False), "llama-legacy": lambda: llama(True),
        "unigram": unigram, "word-piece": word_piece,
    }  # fmt: skip
    return library.PreTrainedTokenizerFast(
        tokenizer_object=makers[kind](), extra_special_tokens=["<image>", *SPECIAL[5:]], **NAMED
    )


KINDS = ["byte-level", "llama", "llama-legacy", "unigram", "word-piece"]
TEXT = st.text(st.sampled_from("ab <>/s[]|_.\n▁éX😀"), max_size=20)
HOSTILE = st.lists(st.one_of(st.sampled_from(SPECIAL), TEXT), max_size=5).map("".join)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return build(request.param)


def ids_of(tokenizer: Any, literal: LiteralText, prompt: str) -> list[int]:
    found: list[int] = PromptTokenizer(tokenizer, literal)(prompt, add_special_tokens=False)["input_ids"]
    return found


@settings(max_examples=60, deadline=None)
@given(text=HOSTILE)
def test_no_text_becomes_a_control_token(tokenizer: Any, text: str) -> None:
    literal = LiteralText(tokenizer)
    control = {tokenizer.convert_tokens_to_ids(one) for one in SPECIAL if one != "<unk>"}
    prompt = f"<s>USER: {literal.guard(text)}<|im_end|> now</s>"
    assert literal.unguard(literal.guard(text)) == text
    own = [one for one in ids_of(tokenizer, literal, prompt) if one in control]
    assert own == tokenizer.convert_tokens_to_ids(["<s>", "<|im_end|>", "</s>"])


@settings(max_examples=60, deadline=None)
@given(text=TEXT, more=TEXT)
def test_other_texts_keep_their_ids_also_where_they_are_guarded(tokenizer: Any, text: str, more: str) -> None:
    literal = LiteralText(tokenizer)
    if any(one in f": {text}, {more}." for one in SPECIAL):
        return
    prompt = "<s>[INST]USER: {}, {}.<|im_end|> now</s>"
    plain = tokenizer(prompt.format(text, more), add_special_tokens=False)["input_ids"]
    guarded = prompt.format(literal.guard(text), literal.guard(more))
    assert ids_of(tokenizer, literal, guarded) == plain
    # The other tokenizer alone, without the short cut for texts that need no guard.
    assert literal.encode(guarded, add_special_tokens=False)["input_ids"] == plain


@pytest.mark.parametrize("kind", ["byte-level", "llama", "llama-legacy"])
@pytest.mark.parametrize("special", SPECIAL)
def test_the_ids_are_those_of_plain_text(kind: str, special: str) -> None:
    """transformers' own way to read control tokens as text, for a text alone."""
    tokenizer = build(kind)
    literal = LiteralText(tokenizer)
    text = f"why {special} or{special}?"
    expected = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer(text, add_special_tokens=False, split_special_tokens=False)["input_ids"] != expected
    assert ids_of(tokenizer, literal, literal.guard(text)) == expected


def test_texts_that_join_to_a_control_token() -> None:
    tokenizer = build("byte-level")
    literal = LiteralText(tokenizer)
    prompt = "<s>" + literal.guard("what <im") + literal.guard("age> is </s")
    expected = tokenizer("what <image> is </s", add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert ids_of(tokenizer, literal, prompt)[1:] == expected


def test_data_cannot_forge_what_guards_it() -> None:
    tokenizer = build("byte-level")
    literal = LiteralText(tokenizer)
    guards = literal.guard("<") + literal.guard("[") + "".join(literal._names.values())[:1]
    text = f"{guards}/s> and <s>"
    guarded = literal.guard(text)
    assert literal.unguard(guarded) == text
    decoded = tokenizer.decode(ids_of(tokenizer, literal, guarded))
    assert decoded == text


@pytest.mark.parametrize(("token", "special", "template", "control"), [
    ("<think>", False, "{{ '<think>' }}", True), ("<think>", False, "", False), ("<|x|>", False, "", True),
    ("\n\n", False, "\n\n", False), ("<table>", False, "", False), ("\n", True, "", False), ("<eot>", True, "", True),
])  # fmt: skip
def test_which_added_tokens_are_control_tokens(token: str, special: bool, template: str, control: bool) -> None:
    from tokenizers import AddedToken

    tokenizer = build("byte-level")
    tokenizer.chat_template = template
    tokenizer.add_tokens([AddedToken(token, special=special, normalized=False)])
    assert (token in LiteralText(tokenizer).control) == control


def test_a_tokenizer_without_a_fast_backend_refuses_the_text() -> None:
    class Slow:
        added_tokens_decoder = build("byte-level").added_tokens_decoder

        def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
            return {"input_ids": list(map(ord, text))}

    literal = LiteralText(Slow())
    encode = PromptTokenizer(Slow(), literal)
    with pytest.raises(RequestFailed, match="the text holds '</s>', which Slow reads as a control token"):
        encode("<s>" + literal.guard("what is </s>?"))
    assert encode("<s>" + literal.guard("a < b"))["input_ids"] == list(map(ord, "<s>a < b"))
