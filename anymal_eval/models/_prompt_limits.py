"""How long a prompt may be: by the model's positions, and by the memory that computing it takes."""

from __future__ import annotations

from typing import Any

from anymal_eval.errors import ContextTooLong
from anymal_eval.generation import MemoryForecast, OptionTokenIds, RowShape
from anymal_eval.models._prepared import require_context
from anymal_eval.records import Request

TRAINED = 512  # tokens of a prompt that T5 was trained with, where a checkpoint states no length
BEYOND = 4  # times the trained length: relative positions hold beyond it, and distances over 128 tokens count as one
_UNSTATED = 1 << 20  # tokenizers write a huge number where they know no length


class PromptLimits:
    """The limits of a loaded language model.

    Attributes:
        context: the most tokens of a prompt and its answer; of an encoder-decoder, of the prompt. None for any number.
        forecast: of the memory of a batch.
    """

    def __init__(self, model: Any, tokenizer: Any, context: int = 0, budget: int | None = None) -> None:
        """Read the limits.

        Args:
            model: a causal or encoder-decoder language model of transformers.
            tokenizer: its tokenizer.
            context: the user's limit; 0 takes the model's.
            budget: bytes of a batch; None measures what is free.
        """
        self._encoder_decoder = bool(model.config.is_encoder_decoder)
        self.forecast = MemoryForecast(model, budget)
        config = model.config.get_text_config()
        positions = getattr(config, "max_position_embeddings", None)
        self.context: int | None = context or positions
        self._source = "-o context"
        if not context and self._encoder_decoder:
            self._source = "its positions"
            if positions is None:
                length = getattr(config, "n_positions", None) or getattr(tokenizer, "model_max_length", None)
                stated = length if isinstance(length, int) and 0 < length < _UNSTATED else TRAINED
                self.context = BEYOND * stated
                self._source = f"{BEYOND} times its trained length of {stated}; -o context=N sets another limit"

    def require(self, request: Request, length: int, option_token_ids: OptionTokenIds = ()) -> None:
        """Refuse a prompt that is too long.

        Args:
            request: with the answer's length.
            length: tokens of the prompt, those of media included.
            option_token_ids: of the options to rank.

        Raises:
            ContextTooLong: for the model.
            OutOfMemory: for the memory of this machine.
        """
        if self._encoder_decoder:
            if self.context is not None and length > self.context:
                raise ContextTooLong(
                    f"the prompt of {length} tokens is too long: the model reads {self.context} ({self._source})"
                )
        else:
            require_context(request, length, option_token_ids, self.context)
        options = len(option_token_ids)
        new = max(map(len, option_token_ids), default=request.decoding.most_new_tokens)
        beams = 1 if options else request.decoding.beams
        self.forecast.require(RowShape(prompt=length, new=new, beams=beams, options=options))
