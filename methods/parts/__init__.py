"""What several methods are made of: owned and pruned weights, subnetworks, goals, stochastic masks."""
