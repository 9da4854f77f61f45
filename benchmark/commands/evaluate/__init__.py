"""The command evaluate: anybody's module under a preset's protocol."""
