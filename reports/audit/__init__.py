"""The report of an audit: what each protocol shortcut is worth."""
