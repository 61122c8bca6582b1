"""Both training stages of an AnyMAL network: alignment of its projectors, then instruction tuning with adapters."""
