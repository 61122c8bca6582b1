"""The flow of an evaluation: resolve, load, generate, score, write. The command line, training and Python use it."""
