"""A benchmark harness for any-modality language models, with the AnyMAL network inside."""

__version__ = "0.1.0"
