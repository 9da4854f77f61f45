"""The version of the published leaderboard; `python -m results.version` prints it, with the digest of the records.

`results/published/VERSION` holds the number. CHANGES.md has a section for each version with the digest of its records, newest
first. The digest shows if records changed without a new version.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

from results.files import StoreError

PUBLISHED = Path(__file__).parent / "published"
CHANGED = "+changed"
_SECTION = re.compile(r"^## (?P<version>\S+).*?^records: `(?P<digest>[0-9a-f]{64})`$", re.DOTALL | re.MULTILINE)


def leaderboard_version(published: Path | str = PUBLISHED) -> str | None:
    """The version: `1.0`; `1.0+changed` if the records are not those of that version; None if no version is kept."""
    path = Path(published) / "VERSION"
    if not path.is_file():
        return None
    version = path.read_text(encoding="utf-8").strip()
    return version if released(published).get(version) == records_digest(published) else version + CHANGED


def released(published: Path | str = PUBLISHED) -> dict[str, str]:
    """Version → digest of its records, newest first, as CHANGES.md has them.

    Raises StoreError if two sections have the same version.
    """
    path = Path(published) / "CHANGES.md"
    sections = list(_SECTION.finditer(path.read_text(encoding="utf-8"))) if path.is_file() else []
    found = {section["version"]: section["digest"] for section in sections}
    if len(found) < len(sections):
        raise StoreError(f"{path}: two sections have the same version")
    return found


def records_digest(published: Path | str = PUBLISHED) -> str:
    """SHA-256 over name and content of every file of the records, in order: 64 hex digits."""
    root = Path(published)
    total = hashlib.sha256()
    for path in sorted(path for path in root.glob("*/**/*") if path.is_file() and not path.name.startswith(".")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{content}  {path.relative_to(root).as_posix()}\n".encode())
    return total.hexdigest()


def main() -> int:
    print(f"leaderboard {leaderboard_version() or 'without a version'}")
    print(f"records: `{records_digest()}`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
