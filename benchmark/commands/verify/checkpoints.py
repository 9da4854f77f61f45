"""The checkpoints of a run: every file can be read and is what its name says, and every checkpoint is there that should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from benchmark.commands.verify.findings import Finding, Problems
from benchmark.commands.verify.presets import Made
from benchmark.planning.jobs import Job
from benchmark.planning.stored_runs import task_key
from reports.numbers.wording import counted
from results.checkpoints import Checkpoints, tensor_hash
from results.files import StoreError, read_json
from results.records import Run

NONE_HERE = "there are no checkpoints here (published records have none)"


def verify_checkpoints(run: Run, made: Made | None, turns: Sequence[int]) -> Finding:
    """Read every manifest, hash every blob, and look for the checkpoints that the preset keeps.

    made: the run as its preset makes it; without it nobody knows which checkpoints are kept. turns: after which tasks the
    run was evaluated.
    """
    folder = run.directory / "checkpoints"
    checkpoints, problems = Checkpoints(folder), Problems()
    if not checkpoints.names():
        return Finding("checkpoints", "", (), NONE_HERE)
    blobs = {path.stem: path for path in sorted((folder / "blobs").glob("*.safetensors"))}
    missing = _needed_blobs(folder, checkpoints.names(), problems) - set(blobs)
    problems.add("a blob that is missing", [key[:12] for key in sorted(missing)])
    _verify_blobs(blobs, problems)
    if made is not None:
        kept = _kept(made.job, turns)
        problems.add("a checkpoint that is missing", [f"{name}.json" for name in kept if name not in checkpoints])
    count = f"{counted(len(checkpoints.names()), 'checkpoint')} of {counted(len(blobs), 'blob')}"
    return Finding("checkpoints", count, problems.lines())


def _needed_blobs(folder: Path, names: Sequence[str], problems: Problems) -> set[str]:
    """The hashes of all blobs that the manifests name."""
    needed: set[str] = set()
    for name in names:
        try:
            # `+ ""` raises TypeError for a hash that is not text.
            needed |= {key + "" for key in read_json(folder / f"{name}.json")["tensors"].values()}
        except (StoreError, AttributeError, KeyError, TypeError):
            problems.add("a manifest that cannot be read", [f"{name}.json"])
    return needed


def _verify_blobs(blobs: dict[str, Path], problems: Problems) -> None:
    """Hash the tensor in every blob. blobs: their files by the hash that is their name."""
    for key, path in blobs.items():
        try:
            if tensor_hash(load_file(path)["tensor"]) != key:
                problems.add("a blob whose content is not what its name says", [path.name[:12]])
        except (OSError, SafetensorError, KeyError):
            problems.add("a blob that cannot be read", [path.name[:12]])


def _kept(job: Job, turns: Sequence[int]) -> list[str]:
    """The names of the checkpoints that a run of this job keeps after these turns."""
    keep = job.preset.file.keep
    if keep == "last" or (keep == "auto" and job.claims_unforgetting):
        turns = turns[-1:]
    return [task_key(turn) for turn in turns]
