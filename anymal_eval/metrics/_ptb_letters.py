"""The characters that make words."""

LETTERS = "A-Za-zªµºÀ-ÖØ-öø-ˁ"
DIGITS = "0-9"
