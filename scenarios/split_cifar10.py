"""Split CIFAR-10: 5 tasks of 2 classes with 10,000 train and 2,000 test images each, or other tasks of equal size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from scenarios.base import Progress, RawTask
from scenarios.parts.copies import Copies
from scenarios.parts.labels import Counts
from scenarios.parts.small_images.cifar10_batches import BatchesReader
from scenarios.parts.small_images.parquet import SmallParquetReader
from scenarios.parts.small_images.reader import SmallImages, SmallReader, read_copy
from scenarios.parts.splits import SplitScenario

CIFAR10 = SmallImages(
    name="cifar10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    image_shape=(3, 32, 32),
    counts=Counts(train=5000, test=1000),
)

COPIES: Copies[SmallReader] = Copies(
    called="CIFAR-10",
    # The names that torchvision and a clone of the Hugging Face repository give to the folder.
    folders=(
        "",
        "cifar10",
        "cifar-10-batches-py",
        "plain_text",
        "cifar10/cifar-10-batches-py",
        "cifar10/plain_text",
        "cifar10/data",
    ),
    layouts=(BatchesReader, SmallParquetReader),
    fetched_by="CIFAR10",
)


class SplitCifar10(SplitScenario):
    """CIFAR-10 (Krizhevsky 2009), by default airplane and automobile, bird and cat, ...; images uint8 (N, 3, 32, 32).

    Read from torchvision's batches or from parquet files. As the published images have no fingerprint here, a copy that was saved
    again with loss is not told from them; its runs have identities of their own.
    """

    version = 1
    image_shape = CIFAR10.image_shape
    # Over the 50,000 training images; the customary constants.
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    classes = CIFAR10.classes
    data_name = CIFAR10.name

    images: ClassVar[SmallImages] = CIFAR10
    """The data set; another number of images per class reads a smaller copy."""

    def parts(self, classes: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        return [read_copy(self.images, COPIES, self.source, progress)]
