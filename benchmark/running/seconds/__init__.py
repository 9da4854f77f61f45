"""Seconds of a run: those that it took, by purpose, and those that it has left."""
