"""Several tasks in one set of shared weights: owners, pruning, and the networks of tasks while they are trained."""
