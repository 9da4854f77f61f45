"""Attacks that others wrote or made: algorithms of torchattacks, the stand-in that they are given, and submitted images."""
