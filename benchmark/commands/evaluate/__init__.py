"""The command `evaluate`: somebody's nn.Module under a preset's protocol."""
