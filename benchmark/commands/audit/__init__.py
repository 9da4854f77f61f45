"""The audit: what each protocol shortcut of the thesis is worth. The command line imports it, and nothing else does."""
