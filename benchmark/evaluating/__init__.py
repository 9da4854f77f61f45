"""Evaluating: one classifier is attacked, validated or probed; everything here is a value."""
