"""Intervals, paired tests and verdicts over any metric's per-example statistics.

=================  ==============================================================================
``intervals``      a value with its interval, for one run
``paired``         the difference between two runs on the same examples, with interval and p-value
``p_values``       the tests that ``paired`` uses, on plain numbers; Holm over the tasks of one check
``power``          the smallest difference that a comparison can detect
``verdict``        better, same, worse or cannot tell
``noise``          the spread of repeated runs of one model
``gain``           the relative gain of one value over another
``resample``       clusters, and the seeded bootstrap weights and sign flips
=================  ==============================================================================

The cluster is the sampling unit everywhere, because the answers to questions about one image are dependent. Random
draws have a fixed seed and depend on the clusters' names, not on the order of the examples: the same run always gives
the same digits. scipy and statsmodels are imported inside functions: a table without intervals does not load them.
"""
