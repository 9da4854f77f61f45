"""Small data sets like CIFAR-10 and Fashion-MNIST, written by the tests in each layout (not itself a test)."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from scenarios.parts.labels import PARTS, Counts
from scenarios.parts.small_images.reader import SmallImages
from scenarios.split_cifar10 import SplitCifar10
from scenarios.split_fashion_mnist import SplitFashionMnist
from tests.scenarios.pictures import encoded, write_parquet
from tests.scenarios.tiny_cifar100 import dump

FEW = Counts(train=10, test=2)


class TinySplitCifar10(SplitCifar10):
    """The real scenario with other expected counts."""

    images = replace(SplitCifar10.images, counts=FEW)


class TinySplitFashionMnist(SplitFashionMnist):
    """The real scenario with other expected counts, whose published images nobody knows."""

    images = replace(SplitFashionMnist.images, counts=FEW, fingerprint="")


@dataclass
class Drawn:
    """One part: images uint8 (N, C, H, W) and numbers of classes, int64 (N,)."""

    images: np.ndarray
    numbers: np.ndarray

    def shuffled(self, seed: int) -> Drawn:
        order = np.random.default_rng(seed).permutation(len(self.numbers))
        return Drawn(self.images[order], self.numbers[order])


DrawnParts = Mapping[str, Drawn]


def drawn(data: SmallImages, seed: int = 0) -> dict[str, Drawn]:
    """A complete copy of random images."""
    rng = np.random.default_rng(seed)
    numbers = {part: np.repeat(np.arange(len(data.classes)), data.counts.of(part)) for part in PARTS}
    return {
        part: Drawn(rng.integers(0, 256, (len(mine), *data.image_shape), dtype=np.uint8), mine)
        for part, mine in numbers.items()
    }


def shuffled(parts: DrawnParts, seed: int) -> dict[str, Drawn]:
    return {part: mine.shuffled(seed) for part, mine in parts.items()}


def write_batches(parts: DrawnParts, folder: Path, python2: bool = True) -> Path:
    """torchvision's layout of CIFAR-10: the training images in five batches."""
    folder.mkdir(parents=True)
    pieces = {
        f"data_batch_{i + 1}": rows for i, rows in enumerate(np.array_split(np.arange(len(parts["train"].numbers)), 5))
    }
    for name, rows in {**pieces, "test_batch": np.arange(len(parts["test"].numbers))}.items():
        mine = parts["test" if name == "test_batch" else "train"]
        content = {
            "batch_label": name,
            "labels": [int(number) for number in mine.numbers[rows]],
            "data": mine.images[rows].reshape(len(rows), -1).copy(),
            "filenames": [f"{i}.png" for i in rows],
        }
        dump(content, folder / name, python2)
    meta = {"label_names": list(SplitCifar10.classes), "num_cases_per_batch": 10000, "num_vis": 3072}
    dump(meta, folder / "batches.meta", python2)
    return folder


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as an IDX file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


def write_idx(parts: DrawnParts, folder: Path, zipped: bool = False) -> Path:
    """torchvision's layout of Fashion-MNIST, or the same files gzipped, as they are published."""
    folder.mkdir(parents=True)
    for part, stem in (("train", "train"), ("test", "t10k")):
        images, numbers = parts[part].images, parts[part].numbers
        for name, array in ((f"{stem}-images-idx3-ubyte", images[:, 0]), (f"{stem}-labels-idx1-ubyte", numbers)):
            content = idx(array)
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
            else:
                (folder / name).write_bytes(content)
    return folder


def write_hub(
    parts: DrawnParts,
    folder: Path,
    *,
    image: str = "image",
    names: Sequence[str] | None = None,
    split_folders: bool = False,
) -> Path:
    """The layout of the Hugging Face hub. split_folders: `train/0000.parquet`, as the hub converts data sets."""
    for part, mine in parts.items():
        contents = [encoded(_picture(each)) for each in mine.images]
        file = folder / part / "0000.parquet" if split_folders else folder / f"{part}-00000-of-00001.parquet"
        write_parquet(file, mine.numbers, image=image, images=contents, names=names)
    return folder


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
