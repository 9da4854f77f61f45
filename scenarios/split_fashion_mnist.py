"""Split Fashion-MNIST: 5 tasks of 2 classes with 12,000 train and 2,000 test images each, or other tasks of equal size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from scenarios.base import Progress, RawTask
from scenarios.parts.copies import Copies
from scenarios.parts.labels import Counts
from scenarios.parts.small_images.idx import IdxReader
from scenarios.parts.small_images.parquet import SmallParquetReader
from scenarios.parts.small_images.reader import SmallImages, SmallReader, read_copy
from scenarios.parts.splits import SplitScenario

FASHION_MNIST = SmallImages(
    name="fashion_mnist",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    image_shape=(1, 28, 28),
    counts=Counts(train=6000, test=1000),
    fingerprint="ecb6394045a3826cf7789a97eae91a0ca1bd0717fe5afcd87920d11e92c7a9af",
)

COPIES: Copies[SmallReader] = Copies(
    called="Fashion-MNIST",
    # The names that torchvision, the published repository and a clone of the Hugging Face repository give to the folder.
    folders=(
        "",
        "FashionMNIST/raw",
        "raw",
        "fashion_mnist",
        "fashion-mnist",
        "fashion_mnist/fashion_mnist",
        "fashion-mnist/data/fashion",
    ),
    layouts=(IdxReader, SmallParquetReader),
    fetched_by="FashionMNIST",
    installed=(Path("/usr/share/datasets/fashion-mnist"),),
    hint="install it with apt-get install dataset-fashion-mnist (Debian and its relatives)",
)


class SplitFashionMnist(SplitScenario):
    """Fashion-MNIST (Xiao et al. 2017), by default T-shirt/top and Trouser, Pullover and Dress, ...; images uint8 (N, 1, 28, 28).

    Read from IDX files, gzipped or not, or from parquet files.
    """

    version = 1
    image_shape = FASHION_MNIST.image_shape
    # Over the 60,000 training images; the customary constants.
    mean = (0.2860,)
    std = (0.3530,)
    classes = FASHION_MNIST.classes
    data_name = FASHION_MNIST.name

    images: ClassVar[SmallImages] = FASHION_MNIST
    """The data set; another number of images per class reads a smaller copy."""

    def parts(self, classes: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        return [read_copy(self.images, COPIES, self.source, progress)]
