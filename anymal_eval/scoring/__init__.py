"""Scoring: answers from responses, statistics from answers, measurements from statistics."""
