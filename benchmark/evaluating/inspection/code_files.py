"""Files of code: those of Python and of installed packages, those of somebody else, and the data that is written in them."""

from __future__ import annotations

import functools
import importlib.util
import io
import os
import re
import site
import sys
import sysconfig
import tokenize
import zlib
from collections.abc import Iterable
from pathlib import Path

_CODE = re.compile(r"\.(py|pyc|pyd|dll|dylib|so(\.\d+)*)$")
_ABOUT_PACKAGES = re.compile(r"\.(dist-info|egg-info|egg-link)(/|$)|\.pyi$|/py\.typed$")
_OURS = ("attacks", "benchmark", "reports", "results", "scenarios")
_AROUND = r"\s.,;:()'\"/`=\[\]{}_-"
_WORD = re.compile(
    rf"(?:(?<=[{_AROUND}])|^)(?:[A-Z]?[a-z]{{1,19}}|[A-Z]{{1,8}}|[^\W\d_a-zA-Z]{{1,20}})(?=[{_AROUND}]|$)"
)
USUAL_DATA, MOST_DATA = 500, 2000
"""Bytes of data in code, compressed. No method of this repository has more than 400; a digit of 8x8 pixels takes 20 to 30."""


def is_code(path: str) -> bool:
    """True for Python code, source or compiled, and for libraries of machine code."""
    return _CODE.search(path) is not None


def is_about_packages(path: str) -> bool:
    """True for what an installed package says of itself: its version, its entry points, its types."""
    return _ABOUT_PACKAGES.search(path) is not None and path.startswith(package_folders())


@functools.cache
def package_folders() -> tuple[str, ...]:
    """The folders of the standard library and of installed packages, without links, each with a separator at its end."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    found = {*(sysconfig.get_path(name) for name in names), *site.getsitepackages(), site.getusersitepackages()}
    return tuple(sorted(os.path.realpath(path).rstrip(os.sep) + os.sep for path in found if path))


def data_in_code(opened: Iterable[str] = ()) -> dict[str, int]:
    """Files of methods in which data is written, with the bytes of it: modules of this process, and other files of code.

    opened: files of code that count too, absolute, without links. Plug-ins are among them or do not count: there may be others
    in this process.
    Those of the repository are judged each by itself, all others together: what is beyond `USUAL_DATA` in each adds up.
    Installed packages do not count.
    """
    ours: set[str] = set()
    strange = set(opened)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and name.partition(".")[0] not in _OURS and not name.startswith("_plugin_"):
            (ours if name.startswith("methods.") else strange).add(os.path.realpath(file))
    strange = {_source(path) for path in strange} - ours
    surplus = {path: _bytes_of_data(path) - USUAL_DATA for path in ours | strange if not _is_installed(path)}
    together = sum(max(0, surplus[path]) for path in surplus.keys() & strange)
    most = MOST_DATA - USUAL_DATA
    return {
        path: count + USUAL_DATA
        for path, count in sorted(surplus.items())
        if count > most or (count > 0 and together > most and path in strange)
    }


def _is_installed(path: str) -> bool:
    return path.startswith((*package_folders(), "/usr/", "/lib/", "/lib64/"))


def _source(path: str) -> str:
    """The file from which a compiled file was made, if it is there."""
    try:
        source = importlib.util.source_from_cache(path) if path.endswith(".pyc") else path
    except ValueError:
        return path
    return source if os.path.isfile(source) else path


@functools.lru_cache(maxsize=4096)
def _bytes_of_data(path: str) -> int:
    """The compressed size of numbers, and of what is no word in texts and comments. 0 for machine code.

    All bytes of a file that is no Python code count.
    """
    if not path.endswith((".py", ".pyc")):
        return 0
    try:
        content = Path(path).read_bytes()
    except OSError:
        return 0
    try:
        tokens = list(tokenize.tokenize(io.BytesIO(content).readline))
    except (SyntaxError, tokenize.TokenError, ValueError):
        return len(zlib.compress(content))
    kept = [
        _without_words(token) for token in tokens if token.type in (tokenize.NUMBER, tokenize.STRING, tokenize.COMMENT)
    ]
    return len(zlib.compress(" ".join(" ".join(kept).split()).encode()))


def _without_words(token: tokenize.TokenInfo) -> str:
    return token.string if token.type == tokenize.NUMBER else _WORD.sub("", token.string)
