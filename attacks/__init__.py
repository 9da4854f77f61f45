"""Attacks on classifiers. One file per attack; its file name is its name on the command line."""
