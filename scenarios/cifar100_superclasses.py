"""CIFAR-100 as 20 tasks: each superclass is a task of 5 classes with 2,500 train and 500 test images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from scenarios.base import DataError, Progress, RawTask, Scenario, SourceOptions
from scenarios.parts.cifar100_classes import SUPERCLASSES
from scenarios.parts.cifar100_readers import READERS, Counts, Reader
from scenarios.parts.data_location import DEFAULT_ROOT, describe_folder, search_roots
from scenarios.parts.decoded_cache import DecodedTask, load_or_decode, source_key

# Below each root: what torchvision, CPG and a clone of the Hugging Face repository call the folder.
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

    Read from whichever layout is found (`cifar100_readers`), each giving the same images, split and fingerprint.
    """

    version = 1
    image_shape = (3, 32, 32)
    # Over the 50,000 training images; the customary constants.
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)

    counts: ClassVar[Counts] = Counts()
    """What a complete copy has; another value reads a data set of the same classes and another size."""

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
            done = 0

            def tick(count: int) -> None:
                nonlocal done
                done += count
                if progress is not None:
                    progress("decoding CIFAR-100", done, total)

            return reader.read(lacking, tick)

        decoded = load_or_decode(keys, decode)
        return [decoded[name].to_raw(name, SUPERCLASSES[name]) for name in names]

    def _reader(self) -> Reader:
        """The first complete copy that is found, or else fetched if allowed. Raises DataError without one."""
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
