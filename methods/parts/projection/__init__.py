"""Gradient projection: the inputs of layers as columns, bases of them, and gradients that leave the bases alone."""
