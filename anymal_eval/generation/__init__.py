"""Text generation and option ranking with a language model of transformers; knows no benchmark and no wrapper."""
