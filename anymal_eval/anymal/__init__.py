"""The AnyMAL network: frozen encoders, projectors into the LLM's space, a causal LLM. Knows no benchmark."""
