"""Parts that methods are made of: owned and pruned weights, subnetworks, goals, stochastic masks."""
