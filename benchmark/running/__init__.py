"""Running: engines execute jobs, attack what was learned and record the outcomes."""
