"""The version of this code: of the package, and of the checkout it is run from. Nothing here imports torch."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMIT = "COMMIT"
"""The file of a copy of this code that says from which commit it was made."""


def version() -> str:
    """Name and version of the package, and the commit if this is a checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    commit = git_commit()
    return f"{project['name']} {project['version']}" + (f" (commit {commit})" if commit else "")


def git_commit() -> str | None:
    """The commit this code is at, with `+changes` if files differ from it; None outside a checkout, or a copy that says it."""
    if (copied := ROOT / COMMIT).is_file():
        return copied.read_text(encoding="utf-8").strip() or None

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = "+changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return None
