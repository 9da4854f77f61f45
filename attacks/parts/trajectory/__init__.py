"""Walks from a starting point, step by step, with a look at every iterate: clean, noise, FGSM and PGD are made of them.

A walk is one trajectory: iterate 0 (the start) to iterate k, k gradients and k + 1 forward passes. `lanes` says which walks there
are and where they start, `walk` walks them, `outcomes` makes of them what each attack found.
"""
