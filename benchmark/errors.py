"""Mistakes of users: one clear line and exit code 2. Any other error is a bug and shows its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from reports.numbers.labels import visible

LONGEST_LINE = 2000
"""Characters of a message, at most."""
LONGEST_QUOTE = 100
"""Characters of a value that a message quotes, at most."""


class ConfigError(Exception):
    """The command or configuration is wrong; the message names the field, the value and the valid choices.

    It is one line however the words of others that it quotes are written.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(message: str) -> str:
    """A message as one line of at most `LONGEST_LINE` characters, which no terminal takes for a command."""
    line = visible(" ".join(message[: 2 * LONGEST_LINE].splitlines()))
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."


def quoted(value: object) -> str:
    """A value as Python writes it, cut off after `LONGEST_QUOTE` characters."""
    # What is quoted may be as long as a file.
    value = value[: LONGEST_QUOTE + 1] if isinstance(value, str) else value
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= LONGEST_QUOTE + 2 else f"{text[:LONGEST_QUOTE]}..."


def nearest(word: str, valid: Iterable[str]) -> str:
    """The end of an error message about an unknown name: `; did you mean 'x'?` and the valid choices."""
    choices = sorted(valid)
    # Words are compared letter by letter, which takes the square of their length.
    close = difflib.get_close_matches(word[:LONGEST_QUOTE], choices, n=1, cutoff=0.5)
    listed = ", ".join(choices) or "none"
    return f"; did you mean {close[0]!r}? (valid: {listed})" if close else f"; valid: {listed}"
