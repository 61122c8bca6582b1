"""Cleaning of alignment data, as AnyMAL's subset of LAION-2B was: the CAT filter, and faces blurred."""
