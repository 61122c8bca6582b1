"""Print every skipped test with its reason, and fail on a reason that is in no list of allowed ones."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def main(report: str, *allowed: str) -> int:
    """Read a JUnit report; return 1 when a skip is not allowed or nothing was run."""
    lines = [line for file in allowed for line in Path(file).read_text(encoding="utf-8").splitlines()]
    reasons = [line for line in lines if line and line[0] != "#"]
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314  # our own report
    surprising = 0
    skipped = 0
    for case in cases:
        for skip in case.iter("skipped"):
            reason = skip.get("message", "")
            known = any(part in reason for part in reasons)
            skipped += 1
            surprising += not known
            print(
                f"skipped{'' if known else ' AND NOT ALLOWED'}: {case.get('classname')}::{case.get('name')}: {reason}"
            )
    print(f"{len(cases)} tests, {skipped} skipped, {surprising} of them not allowed")
    return 1 if surprising or not cases else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
