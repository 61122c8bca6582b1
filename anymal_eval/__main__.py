"""``python -m anymal_eval`` and ``anymal-eval`` are the command line."""

import sys

from anymal_eval.installation import lacking, needs_newer_python


def main() -> None:
    """Run the command line and exit; one line where this Python lacks what it needs."""
    problem = needs_newer_python()
    if not problem:
        try:
            from anymal_eval.cli.main import main as run
        except ModuleNotFoundError as error:
            problem = lacking(error)
            if not problem:
                raise
        else:
            run()
            return
    print(f"error: {problem}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
