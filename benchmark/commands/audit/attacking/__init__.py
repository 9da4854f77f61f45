"""The attacks of an audit: cells, their stored outcomes, and the workers that run what is not stored yet."""
