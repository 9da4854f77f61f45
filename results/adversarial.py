"""Stored adversarial images: they broke a classifier, and let a number be checked without running the attack again.

There is one safetensors file per evaluation part. It holds images that still break the classifier in 8 bits as uint8, and the
others as they were, as float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from results.files import StoreError, whole_file

FOLDER = "adversarial"


@dataclass(frozen=True, slots=True)
class AdversarialImages:
    """The images of one evaluation that are classified wrong.

    attacked: int64 (N,), test-set ids of all samples that were attacked.
    samples: int64 (M,), test-set ids of the images that are held.
    images: float32 (M, C, H, W) in [0, 1].
    in_bytes: bool (M,), True for images that are whole numbers of 255ths, and are stored as such.
    """

    attacked: Tensor
    samples: Tensor
    images: Tensor
    in_bytes: Tensor

    def among(self, samples: Iterable[int]) -> AdversarialImages:
        """The part of it that is of these samples."""
        wanted = torch.tensor(sorted(samples), dtype=torch.int64)
        mine = torch.isin(self.samples, wanted)
        attacked = self.attacked[torch.isin(self.attacked, wanted)]
        return AdversarialImages(attacked, self.samples[mine], self.images[mine], self.in_bytes[mine])


def path_of(run: Path, part: str) -> Path:
    """The file of one part of a run's evaluations."""
    return run / FOLDER / f"{part}.safetensors"


def write_images(path: Path, kept: AdversarialImages, notes: Mapping[str, str]) -> None:
    """Put the images of one part in place. notes: stored with them, as text."""
    exact = kept.in_bytes
    tensors = {
        "attacked": kept.attacked,
        "samples_uint8": kept.samples[exact],
        "images_uint8": (kept.images[exact] * 255).round().to(torch.uint8),
        "samples_float32": kept.samples[~exact],
        "images_float32": kept.images[~exact],
    }
    with whole_file(path) as temporary:
        temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, dict(notes)))


def read_images(path: Path) -> tuple[AdversarialImages, dict[str, str]]:
    """The images of one part and its notes. Raises StoreError, naming the file, if it is not whole."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        samples = torch.cat([tensors["samples_uint8"], tensors["samples_float32"]])
        images = torch.cat([tensors["images_uint8"].float() / 255, tensors["images_float32"]])
        attacked = tensors["attacked"]
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise StoreError(f"{path}: not readable as adversarial images ({str(error).splitlines()[0]})") from error
    if attacked.dim() != 1 or samples.dim() != 1 or images.dim() != 4:
        raise StoreError(f"{path}: not readable as adversarial images (of other shapes)")
    if len(samples) != len(images):
        raise StoreError(f"{path}: not readable as adversarial images ({len(images)} images of {len(samples)} samples)")
    in_bytes = torch.arange(len(samples)) < len(tensors["samples_uint8"])
    return AdversarialImages(attacked, samples, images, in_bytes), notes


def attacked_samples(run: Path) -> dict[tuple[str, int], set[int]]:
    """The samples of a run that were attacked with their images kept, by evaluation id and the task after which it was.

    A file that is unreadable, or whose name is no evaluation's, counts as empty.
    """
    found: dict[tuple[str, int], set[int]] = {}
    for path in sorted((run / FOLDER).glob("*.safetensors")):
        try:
            identifier, turn, _ = path.stem.split(".")
            with safe_open(path, framework="pt") as file:
                samples = file.get_tensor("attacked").flatten().tolist()
        except (OSError, SafetensorError, ValueError):
            continue
        found.setdefault((identifier, int(turn)), set()).update(samples)
    return found
