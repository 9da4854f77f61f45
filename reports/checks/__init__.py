"""The checks: each judges stored evidence for one reason to distrust a number."""
