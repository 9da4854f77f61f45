"""The superclasses of CIFAR-100 from the first copy that is found, whatever its layout."""

from __future__ import annotations

from collections.abc import Sequence

from scenarios.base import Progress, RawTask, SourceOptions
from scenarios.parts.cifar100.classes import SUPERCLASSES
from scenarios.parts.cifar100.parquet import ParquetReader
from scenarios.parts.cifar100.pickles import PickleReader
from scenarios.parts.cifar100.published import compared_with_published
from scenarios.parts.cifar100.reader import COMPLETE, Reader
from scenarios.parts.cifar100.tree import TreeReader
from scenarios.parts.copies import Copies
from scenarios.parts.decoded_cache import DecodedTask, load_or_decode, source_key
from scenarios.parts.decoding import ticking
from scenarios.parts.labels import Counts

COPIES: Copies[Reader] = Copies(
    called="CIFAR-100",
    # The names that torchvision, CPG and a clone of the Hugging Face repository give to the folder.
    folders=(
        "",
        "cifar100",
        "cifar-100-python",
        "cifar100_org",
        "data",
        "cifar100/cifar-100-python",
        "cifar100/cifar100_org",
        "cifar100/data",
        "cifar100/cifar100",
    ),
    layouts=(PickleReader, ParquetReader, TreeReader),
    fetched_by="CIFAR100",
)


def read_superclasses(
    names: Sequence[str], source: SourceOptions, counts: Counts, progress: Progress | None = None
) -> list[RawTask]:
    """The named superclasses as tasks of five classes each, images uint8 (N, 3, 32, 32), in this order.

    counts: of a complete copy; other ones than `COMPLETE` read a data set of the same classes and another size.

    Other images than the published ones are another data set, and a warning says so. Raises DataError.
    """
    folder, layout = COPIES.find(source)
    reader = layout(folder, counts)
    options = {"counts": [counts.train, counts.test]}
    keys = {
        name: source_key(reader.kind, reader.folder, reader.source_files(name), {**options, "superclass": name})
        for name in names
    }

    def decode(lacking: Sequence[str]) -> dict[str, DecodedTask]:
        total = len(lacking) * 5 * (counts.train + counts.test)
        return reader.read(lacking, ticking(progress, "decoding CIFAR-100", total))

    decoded = load_or_decode(keys, decode)
    tasks = [decoded[name].to_raw(name, SUPERCLASSES[name]) for name in names]
    # A data set of another size is nobody's copy of the published one.
    return compared_with_published(tasks) if counts == COMPLETE else tasks
