"""Jobs and images on their way to another machine, with the files of this one that they name: plug-ins, pre-trained weights."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.planning.jobs import Job
from scenarios.base import ImageSet, Task
from scenarios.placement import device_for

Ref = TypeVar("Ref")
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class PackedJob:
    """A job that names no file of the machine that it comes from.

    pickled: the job; where it named a file stands a key of `files`.
    files: by SHA-256 and name, whatever `put` gave for the file's bytes.
    """

    pickled: bytes
    files: dict[tuple[str, str], Any]


class Packer:
    """Packs jobs. A file that several of them name is put away once.

    put: takes the bytes of a file, and gives what another machine gets them by.
    """

    def __init__(self, put: Callable[[bytes], Any]) -> None:
        self._put = put
        self._known: dict[str, tuple[tuple[str, str], Any]] = {}

    def pack(self, job: Job) -> PackedJob:
        """The job, ready to travel. Raises OSError if a file that it names is gone."""
        weights = {str(each.preset.file.backbone.pretrained) for each in with_needed(job)}
        files: dict[tuple[str, str], Any] = {}

        def file_of(text: str) -> tuple[str, str] | None:
            """The key of the file that a text of the job names; None if it names none."""
            is_plugin = text.endswith(".py") and os.path.isabs(text)
            if not (is_plugin or text in weights) or not os.path.isfile(text):
                return None
            if text not in self._known:
                content = Path(text).read_bytes()
                self._known[text] = (sha256(content).hexdigest(), Path(text).name), self._put(content)
            key, files[key] = self._known[text]
            return key

        written = io.BytesIO()
        _Pickler(written, file_of).dump(job)
        return PackedJob(written.getvalue(), files)


class _Pickler(pickle.Pickler):
    """Writes the key of a file in the place of its path, wherever in a job that stands."""

    def __init__(self, file: io.BytesIO, file_of: Callable[[str], tuple[str, str] | None]) -> None:
        super().__init__(file)
        self._file_of = file_of

    def persistent_id(self, value: Any) -> tuple[str, str] | None:
        return self._file_of(value) if isinstance(value, str) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, folder: Path) -> None:
        super().__init__(file)
        self._folder = folder

    def persistent_load(self, key: tuple[str, str]) -> str:
        return str(_place(self._folder, key))


def _place(folder: Path, key: tuple[str, str]) -> Path:
    return folder / key[0] / key[1]


def unpacked(packed: PackedJob, folder: Path, get: Callable[[Any], bytes]) -> Job:
    """The job on this machine, its files written below `folder`. get: gives the bytes for what `put` gave."""
    for key, reference in packed.files.items():
        path = _place(folder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(get(reference))
    job: Job = _Unpickler(io.BytesIO(packed.pickled), folder).load()
    return job


def with_needed(job: Job) -> Iterator[Job]:
    """A job, those whose runs it needs, and those that its transfers come from."""
    yield job
    for other in (*job.needs.values(), *job.sources.values()):
        if other is not job:
            yield from with_needed(other)


@dataclass(frozen=True)
class PackedTask:
    """A task whose images are plain arrays, which machines share without copying them.

    said: everything of it but images.
    parts: images, labels and samples of its training, validation and test images.
    """

    said: dict[str, Any]
    parts: dict[str, tuple[NDArray[Any], ...]]

    @classmethod
    def of(cls, task: Task) -> PackedTask:
        said = {field.name: getattr(task, field.name) for field in fields(task) if field.name not in PARTS}
        parts = {name: _arrays(getattr(task, name)) for name in PARTS}
        return cls(said, parts)


def _arrays(part: ImageSet) -> tuple[NDArray[Any], ...]:
    return tuple(tensor.cpu().numpy() for tensor in (part.images, part.labels, part.samples))


def tasks_from(packed: Sequence[PackedTask], device: str) -> list[Task]:
    """The tasks on a device; training images stay on the host if all images would take too much of it."""
    size = sum(part[0].nbytes for task in packed for part in task.parts.values())
    there = device_for(size, device)
    return [Task(**task.said, **_image_sets(task, device, there)) for task in packed]


def _image_sets(task: PackedTask, device: str, train: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, arrays in task.parts.items():
        # Copies, because arrays that machines share cannot be written to.
        images, labels, samples = (torch.from_numpy(np.array(array)) for array in arrays)
        there = train if name == "train" else torch.device(device)
        found[name] = ImageSet(images.to(there), labels.to(device), samples.to(device))
    return found
