"""Models: the boundary between the harness and a network, a server or a file of answers.

The public names are these; files with an underscore are this part's own.
"""

from anymal_eval.models._protocols import PLAIN_WORDING, Expecting, Model, PlainText, Prepared, Refusing
from anymal_eval.models._selection import ModelSpec, choose_model, given_model, wrapper

__all__ = [
    "PLAIN_WORDING",
    "Expecting",
    "Model",
    "ModelSpec",
    "PlainText",
    "Prepared",
    "Refusing",
    "choose_model",
    "given_model",
    "wrapper",
]
