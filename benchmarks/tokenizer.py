"""Strings in all scripts, tokenized here and by the official program: how many differ.

    python -m benchmarks.tokenizer [--strings 100000] [--seed 10]

The strings are those of tests/metrics/tokenizer_strings.py. It needs a Java runtime.
"""

import argparse

from anymal_eval.metrics import _ptb, _ptb_java
from tests.metrics.tokenizer_strings import UnicodeStrings

SHOWN = 20


def main() -> int:
    """Print the number of strings that differ, and the shortest; return 1 where there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strings", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=10)
    given = parser.parse_args()
    made = list(UnicodeStrings(given.seed).captions(given.strings))
    both = zip(made, _ptb_java.tokenise_all(made), _ptb.tokenise_all(made), strict=True)
    differ = sorted(
        ((one, official, ours) for one, official, ours in both if official != ours), key=lambda row: len(row[0])
    )
    print(f"{len(differ)} of {len(made):,} strings differ")
    for row in differ[:SHOWN]:
        print("  ", *map(ascii, row))
    return 1 if differ else 0


if __name__ == "__main__":
    raise SystemExit(main())
