"""`verify` holds a stored run against itself, its data, its presets and its checkpoints; each finding has its file."""
