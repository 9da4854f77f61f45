"""Uncertainty of metrics, tests between methods, and ranks. Everything is deterministic: resamples are drawn from fixed seeds."""
