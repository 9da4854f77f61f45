"""The checks: what speaks against a number, judged from stored evidence."""
