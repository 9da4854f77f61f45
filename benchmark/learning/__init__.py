"""Learning: what a method is given while it learns, and how a stored method is restored."""
