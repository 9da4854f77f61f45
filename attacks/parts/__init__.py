"""What several attacks are made of: gradient ascent, losses, projections, shared runs, and the guard around a classifier."""
