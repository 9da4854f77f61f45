"""Continual strategies that methods extend: one network for all tasks, a network per task, tasks packed into one network."""
