"""A confined process: classifiers are made there from a stored state alone, and answer without anything else in reach."""
