"""Stored adversarial images: what broke a classifier, so that a number can be checked without running an attack again.

One safetensors file per evaluation part beside its predictions: images that still break the classifier in 8 bits as uint8, the
others as they were, float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from results.files import StoreError, whole_file

FOLDER = "adversarial"


@dataclass(frozen=True, slots=True)
class AdversarialImages:
    """The images of one evaluation that are classified wrong.

    attacked: int64 (N,), test-set ids of all that were attacked; samples: int64 (M,), of those that are wrong; images: float32
    (M, C, H, W) in [0, 1]; in_bytes: bool (M,), which are whole numbers of 255ths and stored as such.
    """

    attacked: Tensor
    samples: Tensor
    images: Tensor
    in_bytes: Tensor

    def among(self, samples: Iterable[int]) -> AdversarialImages:
        """What is held of these samples."""
        wanted = torch.tensor(sorted(samples), dtype=torch.int64)
        mine = torch.isin(self.samples, wanted)
        attacked = self.attacked[torch.isin(self.attacked, wanted)]
        return AdversarialImages(attacked, self.samples[mine], self.images[mine], self.in_bytes[mine])


def path_of(run: Path, part: str) -> Path:
    return run / FOLDER / f"{part}.safetensors"


def write_images(path: Path, kept: AdversarialImages, notes: Mapping[str, str]) -> None:
    """Put the images of one part in place. notes: what they are of, as text."""
    exact = kept.in_bytes
    tensors = {
        "attacked": kept.attacked,
        "samples_uint8": kept.samples[exact],
        "images_uint8": (kept.images[exact] * 255).round().to(torch.uint8),
        "samples_float32": kept.samples[~exact],
        "images_float32": kept.images[~exact],
    }
    with whole_file(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, dict(notes))


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
    if len(samples) != len(images):
        raise StoreError(f"{path}: not readable as adversarial images ({len(images)} images of {len(samples)} samples)")
    in_bytes = torch.arange(len(samples)) < len(tensors["samples_uint8"])
    return AdversarialImages(attacked, samples, images, in_bytes), notes


def attacked_samples(run: Path) -> dict[tuple[str, int], set[int]]:
    """By (evaluation id, after which task) the samples whose images a run holds, or would if they had broken.

    A file that cannot be read, or is named by no evaluation, holds nothing.
    """
    found: dict[tuple[str, int], set[int]] = {}
    for path in sorted((run / FOLDER).glob("*.safetensors")):
        try:
            identifier, turn, _ = path.stem.split(".")
            with safe_open(path, framework="pt") as file:
                samples = file.get_tensor("attacked").tolist()
        except (OSError, SafetensorError, ValueError):
            continue
        found.setdefault((identifier, int(turn)), set()).update(samples)
    return found
