"""Numbers: pure functions from stored predictions to metrics, intervals and tests."""
