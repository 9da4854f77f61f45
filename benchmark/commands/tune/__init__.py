"""`tune`: the values of a grid for which a preset's rows validate best, on its first tasks. No test image is looked at."""
