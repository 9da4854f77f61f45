"""Commands for authors of plug-ins: `check` and `new-method`."""
