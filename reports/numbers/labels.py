"""Labels and other names that people give: what one may be, and how any text of theirs is shown."""

from __future__ import annotations

import unicodedata
from hashlib import sha256

LONGEST = 100
"""Characters of a label, at most."""
NO_LABEL = "(no label)"
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of characters that have no look of their own: control characters, marks that turn the direction of text,
halves of characters, and separators of lines."""
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols without ink: fillers of Hangul, and the empty pattern of Braille."""
_JOINERS = "\u200c\u200d"
"""Characters of category Cf that are letters' business: Persian and emoji need them."""
FORMULA = "=+-@"
"""Characters that a spreadsheet takes for the beginning of a formula."""


def visible(text: str) -> str:
    r"""The text in one line, with hidden characters as their escapes: a line break is `\n`, an escape character `\x1b`.

    A terminal obeys none of it, and a table keeps its rows.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(character) if _is_hidden(character) else character for character in text)


def shown_label(label: str) -> str:
    """A stored label as every output shows it: visible, never empty, and at most `LONGEST` characters and a digest.

    Labels that `label_mistake` finds nothing wrong with stay as they are.
    """
    shown = visible(label)
    if _is_blank(shown):
        return NO_LABEL
    return (
        shown
        if len(shown) <= LONGEST
        else f"{shown[:LONGEST]}… {sha256(label.encode('utf-8', 'replace')).hexdigest()[:8]}"
    )


def label_mistake(label: str) -> str:
    """The reason why a text is no label, as the end of a sentence that begins with it; empty if it is one.

    A label has 1 to `LONGEST` characters, one of them to be seen, none hidden, and does not begin like a formula.
    """
    if _is_blank(label):
        return "is blank: it needs a letter, a digit or a sign"
    if len(label) > LONGEST:
        return f"has {len(label)} characters, more than {LONGEST}"
    for character in label:
        if _is_hidden(character):
            kind = "a line break" if character in "\n\r\u2028\u2029" else "a character that cannot be seen"
            return f"holds {kind} (U+{ord(character):04X})"
    if begins_like_a_formula(label):
        return f"begins with {label.lstrip()[0]!r}, which spreadsheets take for a formula"
    return ""


def begins_like_a_formula(text: str) -> bool:
    """True if a spreadsheet may take the text for a formula: it begins with one of `FORMULA`, of any width, or a tab."""
    first = unicodedata.normalize("NFKC", text.lstrip(" ")[:1])
    return first != "" and first in FORMULA + "\t\r\n"


def likeness(label: str) -> str:
    """The key that labels share which readers cannot tell apart: they differ in case, Unicode form, spaces or joiners alone."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    return " ".join(plain.translate(dict.fromkeys(map(ord, _JOINERS))).split())


def _is_hidden(character: str) -> bool:
    if character in _JOINERS:
        return False
    return character in _BLANKS or unicodedata.category(character) in _HIDDEN


def _escape(character: str) -> str:
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(character)
    number = ord(character)
    return short or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")


def _is_blank(text: str) -> bool:
    """True if no character leaves ink: letters, digits, punctuation and symbols do."""
    return not any(unicodedata.category(character)[0] in "LNPS" for character in text if character not in _BLANKS)
