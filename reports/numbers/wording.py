"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 part`, `12 parts`, `1,200 parts`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
