"""Mistakes of users: one clear line and exit code 2. Any other error is a bug and shows its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConfigError(Exception):
    """The command or configuration is wrong; the message names the field, the value and the valid choices."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """The end of an error message about an unknown name: `; did you mean 'x'?` and the valid choices."""
    choices = sorted(valid)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    listed = ", ".join(choices) or "none"
    return f"; did you mean {close[0]!r}? (valid: {listed})" if close else f"; valid: {listed}"
