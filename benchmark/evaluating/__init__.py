"""Evaluating: one classifier under attack, as values."""
