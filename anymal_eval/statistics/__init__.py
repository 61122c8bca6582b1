"""Intervals, paired tests and verdicts over any metric's per-example statistics.

=================  ==============================================================================
``intervals``      a value with its interval, one run
``paired``         the difference between two runs on the same examples, tested
``chance``         the tests under it, on bare numbers
``multiplicity``   Holm over the tasks of one check
``power``          the smallest difference that a comparison could have seen
``verdict``        better, same, worse or cannot tell
``noise``          how much a number moves when nothing but the machine changed
``gain``           how many per cent one value is above another
``resample``       clusters and the seeded weightings that all of them draw
=================  ==============================================================================

Clusters are the unit of chance everywhere: questions about one picture are right or wrong together. Everything random
has a fixed seed and depends on the clusters' names, not on the order of the examples: one run gives one set of digits.
scipy and statsmodels are imported inside functions: a table without intervals does not wait for them.
"""
