"""Landlock: Linux keeps files from a process that asks for it, without privileges (kernel 5.13 and newer).

The kernel holds C code to it too, which no audit hook sees. Source: https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable

# System calls, the same on every architecture that has them.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH, _NO_NEW_PRIVILEGES = 1, 1, 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""Rights on files that a version of Landlock knows; later ones add rights that are not asked for."""
_CONNECTIONS, _SINCE = 0b11, 4
"""Rights to bind and to connect over TCP, and the version that knows them."""


def restrict(folders: Iterable[str], files: Iterable[str], private: str) -> bool:
    """Keep this thread, and all that it starts, from every file but these. Returns False where there is no Landlock.

    folders: everything in them can be read.
    files: can be read; devices can be written too.
    private: a folder in which everything is allowed.
    """
    if not sys.platform.startswith("linux"):
        return False
    system = ctypes.CDLL(None, use_errno=True)
    version = system.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        return False
    rights = _RIGHTS[min(version, 3)]
    wanted = struct.pack("QQ", rights, _CONNECTIONS) if version >= _SINCE else struct.pack("Q", rights)
    ruleset = system.syscall(_CREATE_RULESET, wanted, ctypes.c_size_t(len(wanted)), 0)
    if ruleset < 0:
        return False

    def allow(path: str, allowed: int) -> None:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        rule = struct.pack("=Qi", allowed & rights, opened)
        system.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        os.close(opened)

    try:
        for folder in folders:
            allow(folder, _READ_FILE | _READ_DIR | _EXECUTE)
        for file in files:
            allow(file, _READ_FILE | (_WRITE_FILE if file.startswith("/dev/") else _EXECUTE))
        # Names alone, everywhere: the import system reads them, and the audit hook is stricter.
        allow("/", _READ_DIR)
        allow(private, rights)
        if system.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            return False
        return bool(system.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)
