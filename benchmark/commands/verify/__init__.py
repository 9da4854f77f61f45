"""`verify` compares a stored run with its data, its presets and its checkpoints; each finding has its file."""
