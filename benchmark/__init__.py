"""The harness: presets, plans, runs, evaluation and the command line."""
