"""`audit`: the worth of each protocol shortcut of the thesis. The command line imports this package, and nothing else does."""
