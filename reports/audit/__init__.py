"""The report of an audit: the effect of each protocol shortcut."""
