"""Inspection: a classifier looked into, its gradients and what it holds in Python. Nothing here attacks it."""
