"""Models: the boundary between the harness and a network, a server or a file of answers.

A model of your own needs ``Model`` and ``PlainText`` only. One over a language model of transformers also uses
``PreparedRequest`` and the functions that batch requests and make responses, together with ``anymal_eval.generation``.
"""

from anymal_eval.models._prepared import (
    PreparedRequest,
    answer_in_groups,
    completed_response,
    failed_response,
    media_key,
    media_reader,
    nbytes,
    ranked_response,
    refuse_markers,
    require_context,
    respond,
)
from anymal_eval.models._protocols import (
    PLAIN_WORDING,
    Comparing,
    Expecting,
    Logging,
    Model,
    PlainText,
    Prepared,
    Question,
    Refilling,
    Refusing,
    SelfTesting,
    Streaming,
)
from anymal_eval.models._selection import ModelSpec, choose_model, given_model, split_address, wrapper
from anymal_eval.models._shown import Showing, ShownPrompt

__all__ = [
    "PLAIN_WORDING",
    "Comparing",
    "Expecting",
    "Logging",
    "Model",
    "ModelSpec",
    "PlainText",
    "Prepared",
    "PreparedRequest",
    "Question",
    "Refilling",
    "Refusing",
    "SelfTesting",
    "Showing",
    "ShownPrompt",
    "Streaming",
    "answer_in_groups",
    "choose_model",
    "completed_response",
    "failed_response",
    "given_model",
    "media_key",
    "media_reader",
    "nbytes",
    "ranked_response",
    "refuse_markers",
    "require_context",
    "respond",
    "split_address",
    "wrapper",
]
