"""What `verify` looks at: records held against themselves, the data, the presets and the checkpoints. Nothing is written."""
