"""CIFAR-100 as 20 tasks: each superclass is a task of 5 classes with 2,500 train and 500 test images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from scenarios.base import DataError, Progress, RawTask, Scenario, SourceOptions
from scenarios.parts.cifar100.classes import SUPERCLASSES
from scenarios.parts.cifar100.parquet import ParquetReader
from scenarios.parts.cifar100.pickles import PickleReader
from scenarios.parts.cifar100.published import compared_with_published
from scenarios.parts.cifar100.reader import Counts, Reader
from scenarios.parts.cifar100.tree import TreeReader
from scenarios.parts.data_location import DEFAULT_ROOT, describe_folder, search_roots
from scenarios.parts.decoded_cache import DecodedTask, load_or_decode, source_key
from scenarios.parts.decoding import ticking

READERS: tuple[type[Reader], ...] = (PickleReader, ParquetReader, TreeReader)

# Below each root: the names that torchvision, CPG and a clone of the Hugging Face repository give to the folder.
_FOLDERS = (
    "",
    "cifar100",
    "cifar-100-python",
    "cifar100_org",
    "data",
    "cifar100/cifar-100-python",
    "cifar100/cifar100_org",
    "cifar100/data",
)


class Cifar100Superclasses(Scenario):
    """20 superclasses in alphabetical order, classes in alphabetical order within each; images uint8 (N, 3, 32, 32).

    Read from the first layout that is found (`READERS`). Each gives the same images, split and fingerprint; other images than the
    published ones are another data set, and a warning says so.
    """

    version = 1
    image_shape = (3, 32, 32)
    # Over the 50,000 training images; the customary constants.
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)

    counts: ClassVar[Counts] = Counts()
    """Images per class of a complete copy; another value reads a data set of the same classes and another size."""

    def task_classes(self) -> list[tuple[str, tuple[str, ...]]]:
        return list(SUPERCLASSES.items())

    def raw_tasks(self, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        reader = self._reader()
        options = {"counts": [self.counts.train, self.counts.test]}
        keys = {
            name: source_key(reader.kind, reader.folder, reader.source_files(name), {**options, "superclass": name})
            for name in names
        }

        def decode(lacking: Sequence[str]) -> dict[str, DecodedTask]:
            total = len(lacking) * 5 * (self.counts.train + self.counts.test)
            return reader.read(lacking, ticking(progress, "decoding CIFAR-100", total))

        decoded = load_or_decode(keys, decode)
        tasks = [decoded[name].to_raw(name, SUPERCLASSES[name]) for name in names]
        # A data set of another size is nobody's copy of the published one.
        return compared_with_published(tasks) if self.counts == Counts() else tasks

    def _reader(self) -> Reader:
        """A reader of the first complete copy found, or of one that is fetched if allowed. Raises DataError without one."""
        roots = search_roots(self.source)
        reader = _find(roots, self.counts)
        if reader is None and self.source.download:
            _download(roots[0] if self.source.data_root is not None else DEFAULT_ROOT)
            reader = _find(roots, self.counts)
        if reader is None:
            raise DataError(_not_found(roots, self.source))
        return reader


def _candidates(roots: Sequence[Path]) -> Iterator[tuple[Path, type[Reader]]]:
    for root in roots:
        for below in _FOLDERS:
            for kind in READERS:
                yield root / below, kind


def _find(roots: Sequence[Path], counts: Counts) -> Reader | None:
    for folder, kind in _candidates(roots):
        try:
            complete = kind.missing(folder) == []
        except OSError as error:
            raise DataError(f"{folder}: cannot be read ({error.strerror})") from error
        if complete:
            return kind(folder, counts)
    return None


def _not_found(roots: Sequence[Path], source: SourceOptions) -> str:
    partial = [
        f"{folder} looks like {kind.kind} but lacks {', '.join(lacking)}"
        for folder, kind in _candidates(roots)
        if (lacking := kind.missing(folder))
    ]
    seen = partial or [describe_folder(root) for root in roots]
    hint = "give the folder that holds it with --data-root" + (
        "" if source.download else ", or fetch it with --download"
    )
    return f"CIFAR-100 not found; looked in {'; '.join(seen)}; {hint}"


def _download(root: Path) -> None:
    """Fetch the published archive into `root/cifar-100-python` through torchvision, which checks its MD5."""
    try:
        from torchvision.datasets import CIFAR100

        CIFAR100(str(root), download=True)
    except (ImportError, OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"CIFAR-100 could not be downloaded into {root} ({reason}); fetch it elsewhere and name it with --data-root"
        ) from error
