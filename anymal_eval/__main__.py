"""``python -m anymal_eval`` is the command line."""

from anymal_eval.cli.main import main

if __name__ == "__main__":
    main()
