"""Weights: found, verified, fingerprinted and loaded, for the model wrappers and for the network."""
