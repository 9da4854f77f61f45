"""Boards: the rows of a preset with their measures, verdicts and ranks."""
