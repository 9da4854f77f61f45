"""The thesis' exhibits, made from our own records and set beside the published values."""
