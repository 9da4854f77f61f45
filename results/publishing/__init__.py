"""Records that leave a results folder: published in the repository (`python -m results.publishing`), or packed as one file."""

from results.publishing.published import main, publish

__all__ = ["main", "publish"]
