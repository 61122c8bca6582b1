"""Responses to answers, answers to statistics, statistics to measurements."""
