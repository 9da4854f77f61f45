"""Parts that attacks are made of: gradient ascent, walks, losses, projections, squares, shared runs, a guard of classifiers."""
