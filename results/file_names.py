"""Names of files made from names of presets, attacks and rows: readable, safe in any file system, and short."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256

LONGEST = 80
"""Letters of a name. A file's name may hold two such names, and file systems allow 255 bytes."""
DIGEST_DIGITS = 8


def file_name(text: str) -> str:
    """The name of a file or folder: `pgd-10 linf 51/255 any` → `pgd-10_linf_51-255_any`.

    Two underscores never stand together, so they can separate two such names. A name longer than `LONGEST` keeps its first
    words and ends with a digest of the whole text: texts that differ only in their last letters get different names.
    """
    readable = _readable(text)
    return readable if len(readable) <= LONGEST else _with_digest(text)


def file_names(texts: Iterable[str]) -> dict[str, str]:
    """Names by text for files that stand side by side: no two texts share a name.

    Texts that would share one, also on file systems that do not tell upper from lower case, get a digest each.
    """
    found = {text: file_name(text) for text in texts}
    shared = Counter(name.casefold() for name in found.values())
    return {text: name if shared[name.casefold()] == 1 else _with_digest(text) for text, name in found.items()}


def _readable(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.=-]+", "_", text.replace("/", "-")).strip("_.") or "_"


def _with_digest(text: str) -> str:
    room = LONGEST - DIGEST_DIGITS - 1
    beginnings = [_readable(text[: space.start()]) for space in re.finditer(r"\s|$", text)]
    # Whole words, unless the first is so long that little would be kept.
    kept = max((name for name in beginnings if len(name) <= room), key=len, default="")
    kept = kept if len(kept) > room // 2 else _readable(text)[:room].rstrip("_.")
    return f"{kept}_{sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]}"
