"""Outputs for people and pipelines: tables of runs and papers, checks against a baseline, exports, the gallery."""
