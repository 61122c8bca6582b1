"""The version of the package. It stands alone, so that any part can import it."""

__version__ = "0.2.0"
