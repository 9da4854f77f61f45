"""Uncertainty of metrics, tests between methods, and ranks. Everything is deterministic: resamples are drawn from fixed seeds.

A notebook imports from here: `from reports.numbers.statistics import mcnemar`.
"""

from reports.numbers.statistics.comparisons import mcnemar as mcnemar
