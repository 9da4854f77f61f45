"""Continual defenses. One file per method; its file name is its name on the command line."""
