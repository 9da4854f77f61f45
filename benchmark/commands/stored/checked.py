"""Packed runs, extracted where they are to go and verified as far as their records go. Nothing of a run that fails is kept."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.commands.verify.command import findings_in
from benchmark.commands.verify.findings import Finding
from benchmark.commands.verify.presets import Origin
from benchmark.running.progress.alive import exists
from results.file_names import file_name
from results.files import StoreError
from results.publishing.archive import PackedRun, RecordArchive, opened
from results.records import Results, Run, read_run

FOLDER = ".merging"
"""The folder beside the runs in which packed runs are extracted."""
ROWS_PER_BYTE, FEW_ROWS = 20, 10_000
"""A part with more rows than this, for so many bytes, was made to fill the memory: each outcome has a margin of its own."""
UNPACKED_PER_BYTE, FEW_BYTES = 100, 2**24
"""Likewise for the bytes that its rows take before they are compressed. Published tables take up to 5.5 times their bytes."""

NOWHERE = Origin(None, None, "records alone were read", Finding("presets", "", (), "records alone were read"))


@contextmanager
def staging(results: Path) -> Iterator[Path]:
    """A folder on the file system of `results` for as long as the block lasts. Those that a kill left behind are deleted."""
    root, host = results / FOLDER, file_name(socket.gethostname())
    try:
        root.mkdir(parents=True, exist_ok=True)
        for left in root.glob(f"*@{host}@*"):
            pid = left.name.partition("@")[0]
            # Under its own number a process finds what one before it left, as the first of a container does.
            if not (pid.isdecimal() and exists(int(pid))) or pid == str(os.getpid()):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=root, prefix=f"{os.getpid()}@{host}@"))
    except OSError as error:
        raise StoreError(f"{results}: cannot be written ({error.strerror}); choose another folder") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        # It stays while another process is merging.
        with suppress(OSError):
            root.rmdir()


def require_mergeable(path: Path, beside: Path) -> None:
    """Raise StoreError, one line, if a run of an archive would be taken in nowhere. beside: a folder that can be written."""
    with opened(path) as archive, staging(beside) as folder:
        for packed in archive.runs.values():
            shutil.rmtree(extracted(archive, packed, folder).directory)


def extracted(archive: RecordArchive, packed: PackedRun, folder: Path) -> Run:
    """Extract a run into `folder` and verify it by its own records. Raises StoreError, one line, if anything does not hold."""
    try:
        directory = archive.extract(packed, folder)
        run = read_run(directory)
        _require_sane(run, packed)
        findings = findings_in(run, Results([run], []), NOWHERE)
    except StoreError as error:
        # The folder is gone when somebody reads this.
        raise StoreError(f"run {packed}: {str(error).replace(f'{folder}{os.sep}', '')}") from error
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror})") from error
    except (RecursionError, MemoryError) as error:
        raise StoreError(f"run {packed}: its records are larger than this machine can read") from error
    problems = [f"{finding.part}: {problem}" for finding in findings for problem in finding.problems]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise StoreError(f"run {packed} does not hold: {problems[0]}{more}")
    return run


def _require_sane(run: Run, packed: PackedRun) -> None:
    """Raise StoreError for a run that is another one than its folder says, or that was made to do harm when it is read."""
    if not run.hash.startswith(packed.name) or (run.label, run.seed) != (packed.label, packed.seed):
        raise StoreError("its configuration is of another run")
    if not all(isinstance(demand, dict) for demand in run.config.get("protocols", {}).values()):
        raise StoreError("a demand in its configuration cannot be read")
    for path in run.directory.rglob("*.parquet"):
        try:
            about = pq.read_metadata(path)
        except (OSError, pa.ArrowException):
            # Whoever verifies the run names the part.
            continue
        size, rows = path.stat().st_size, about.num_rows
        unpacked = sum(about.row_group(index).total_byte_size for index in range(about.num_row_groups))
        if rows > FEW_ROWS + ROWS_PER_BYTE * size or unpacked > FEW_BYTES + UNPACKED_PER_BYTE * size:
            where = f"{path.parent.name}/{path.name}"
            raise StoreError(f"{where}: {rows:,} rows and {unpacked:,} bytes in a file of {size:,} bytes")
