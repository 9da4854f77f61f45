"""The console of every command: words of others are printed as they are, and a terminal obeys none of them."""

from __future__ import annotations

from typing import Any

from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text

from reports.numbers.labels import visible


class PlainConsole(Console):
    """A console for which text is text: labels, paths and messages hold brackets, colons and whatever strangers wrote.

    It reads no markup (`[bold]`) and no names of emoji (`:+1:`) in any text, table or status, and shows hidden characters as
    their escapes. Styles are given as arguments, or by `rich.text.Text`.

    options: as of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Text to print from text as it was given; line breaks stay."""
        return super().render_str("\n".join(visible(line) for line in text.split("\n")), **options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        """A status line while something takes its time."""
        return super().status(Text(visible(status)) if isinstance(status, str) else status, **options)
