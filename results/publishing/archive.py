"""A file of packed records: a plain zip archive without compression, which every zip program reads.

The bytes follow from the records alone: members stand in order, with one time for all and nothing of the machine. Whatever a
stranger hands over, nothing is written before names, kinds and sizes of all members are known to be those of records: a name has
no way out of its run's folder, a link is no record, and without compression nothing is larger than the file itself.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from results import schema
from results.files import StoreError, canonical_json
from results.records import DIRECTORY_DIGITS

FORMAT, VERSION = "continual-adversarial-records", 1
CONTENTS = "contents.json"
"""The first member: the format, its version, and a line on each run."""
MOST_CONTENTS = 64 * 2**20
"""Bytes of it, at most."""
_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip archive knows."""
_CHUNK = 2**20
_QUOTE = 100
_LABEL = 500
"""Characters of a run's label, at most."""

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9 ._+=,()@%-]{0,199}[A-Za-z0-9_)])?"
_RECORD = re.compile(
    rf"config\.json|tasks\.parquet|failures\.jsonl|(?:{'|'.join(schema.TABLES)})/{_NAME}\.parquet"
    rf"|adversarial/{_NAME}\.safetensors"
)
_WEIGHTS = re.compile(
    rf"checkpoints/{_NAME}\.json|checkpoints/blobs/[0-9a-f]{{64}}\.safetensors|handed_over/{_NAME}\.safetensors"
)
_RUN = re.compile(rf"[0-9a-f]{{{DIRECTORY_DIGITS}}}")
_MEMBER = re.compile(rf"(?P<run>{_RUN.pattern})/(?P<file>[^\0]+)")

Bad = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
)
"""Errors that reading a foreign or damaged archive raises: a place before its beginning is an OSError."""


def is_record(file: str, *, weights: bool) -> bool:
    """True if a path inside a run's folder, with slashes, is that of a record. weights: True if those of weights count too."""
    return bool(_RECORD.fullmatch(file) or (weights and _WEIGHTS.fullmatch(file)))


@dataclass(frozen=True)
class PackedRun:
    """A run in an archive.

    name: of its folder, the first digits of its hash.
    label, seed: of the run, as the archive says.
    files: paths inside its folder, sorted.
    size: bytes of all of them.
    """

    name: str
    label: str
    seed: int
    files: tuple[str, ...]
    size: int

    def __str__(self) -> str:
        return f"{self.label} seed {self.seed} ({self.name[:8]})"


def write_archive(path: Path, runs: Sequence[tuple[Path, Mapping[str, Any], Sequence[str]]]) -> None:
    """Write an archive of runs.

    runs: the directory of each, its identity, and the paths of its records in there.
    Raises StoreError if a record cannot be read, OSError if nothing can be written.
    """
    ordered = sorted(runs, key=lambda run: run[0].name)
    about = {
        directory.name: {"label": identity["label"], "seed": identity["seed"], "files": len(files)}
        for directory, identity, files in ordered
    }
    contents = canonical_json({"format": FORMAT, "version": VERSION, "runs": about}).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_member(CONTENTS), contents)
        for directory, _, files in ordered:
            for file in sorted(files):
                member = _member(f"{directory.name}/{file}")
                with _readable(directory / file) as source, archive.open(member, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, _CHUNK)


def _readable(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise StoreError(f"{path}: not readable ({error.strerror})") from error


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _TIME)
    # Unix, whatever system writes it: equal records give equal bytes.
    member.create_system = 3
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    return member


class RecordArchive:
    """An archive that was opened and found to be one.

    path: of the file.
    runs: in it, by name of their folder.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self._archive = path, archive
        self.runs = {run.name: run for run in _runs_in(archive, path.stat().st_size)}

    def extract(self, run: PackedRun, folder: Path) -> Path:
        """Write the files of a run into a folder of its name below `folder`, which is there and has none; return that folder.

        Raises StoreError if a member is damaged, OSError if nothing can be written.
        """
        directory = folder / run.name
        directory.mkdir()
        for file in run.files:
            target = directory.joinpath(*PurePosixPath(file).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as written:
                written.writelines(self._content(f"{run.name}/{file}"))
        return directory

    def _content(self, member: str) -> Iterator[bytes]:
        """The content of a member, in pieces. Reading checks its checksum, and ends at its size."""
        try:
            with self._archive.open(member) as source:
                while piece := source.read(_CHUNK):
                    yield piece
        except Bad as error:
            raise _no_archive(self.path, error) from error


@contextmanager
def opened(path: Path) -> Iterator[RecordArchive]:
    """Open an archive. Raises StoreError, naming the file, for anything else: foreign, truncated, or made to do harm."""
    try:
        archive = zipfile.ZipFile(path)
    except Bad as error:
        raise _no_archive(path, error) from error
    with archive:
        try:
            found = RecordArchive(path, archive)
        except Bad as error:
            raise _no_archive(path, error) from error
        yield found


def _no_archive(path: Path, error: BaseException) -> StoreError:
    told = (error.strerror if isinstance(error, OSError) else None) or str(error)
    reason = " ".join(told.split()) or type(error).__name__
    return StoreError(f"{path}: not a whole file of packed records ({reason[:200]})")


def _runs_in(archive: zipfile.ZipFile, size: int) -> list[PackedRun]:
    """The runs of an archive. Raises ValueError if a member is not a record. size: of the file, bytes."""
    members = archive.infolist()
    for member in members:
        _check_member(member)
    if sum(member.file_size for member in members) > size:
        raise ValueError("its members are larger than the file")
    if len({member.filename.casefold() for member in members}) < len(members):
        raise ValueError("two members have the same name")
    about = _contents(archive, members)
    files: dict[str, list[zipfile.ZipInfo]] = defaultdict(list)
    for member in members[1:]:
        found = _MEMBER.fullmatch(member.filename)
        if found is None or found["run"] not in about or not is_record(found["file"], weights=True):
            raise ValueError(f"{_quoted(member.filename)} is no record of a run in it")
        files[found["run"]].append(member)
    return [_run(name, said, files[name]) for name, said in sorted(about.items())]


def _quoted(name: str) -> str:
    """A name as Python writes it, cut off: a stranger's may be as long as 65,535 letters."""
    return repr(name[:_QUOTE])


def _check_member(member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    # A name ends at a zero for the library, and not for other programs.
    if kind not in (0, stat.S_IFREG) or member.is_dir() or member.orig_filename != member.filename:
        raise ValueError(f"{_quoted(member.filename)} is no ordinary file")
    if member.flag_bits & 0x1:
        raise ValueError(f"{_quoted(member.filename)} is encrypted")
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        raise ValueError(f"{_quoted(member.filename)} is compressed; `zip -0` packs without compression")


def _contents(archive: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo]) -> dict[str, Any]:
    """The line on each run, by name. Raises ValueError if the first member is not that of this format."""
    if not members or members[0].filename != CONTENTS or members[0].file_size > MOST_CONTENTS:
        raise ValueError(f"its first member is not {CONTENTS}")
    try:
        said = json.loads(archive.read(members[0]))
    except RecursionError:
        said = None
    if not isinstance(said, dict) or said.get("format") != FORMAT or not isinstance(said.get("runs"), dict):
        raise ValueError(f"{CONTENTS} is of another format")
    if said.get("version") != VERSION:
        raise ValueError(f"written in version {said.get('version')!r} of the format, this program reads {VERSION}")
    about: dict[str, Any] = said["runs"]
    return about


def _run(name: str, said: Any, members: Sequence[zipfile.ZipInfo]) -> PackedRun:
    """A run of an archive. said: of it, in the contents."""
    fields = said if isinstance(said, dict) else {}
    label, seed, count = (fields.get(field) for field in ("label", "seed", "files"))
    # The name becomes that of a folder, and a run without a file would be checked by no member's name.
    if not _RUN.fullmatch(name) or not members:
        raise ValueError(f"{_quoted(name)} is no run in it")
    if not isinstance(label, str) or len(label) > _LABEL or type(seed) is not int:
        raise ValueError(f"{CONTENTS} does not say what run {name!r} is")
    if count != len(members):
        raise ValueError(f"run {name!r} has {len(members)} files of {count!r}")
    files = tuple(sorted(member.filename.partition("/")[2] for member in members))
    return PackedRun(name, label, seed, files, sum(member.file_size for member in members))
