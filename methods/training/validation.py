"""The validation images that a classifier gets right: what every decision during training is made by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Validation:
    """The validation images that a classifier gets right.

    clean_correct: bool (N,), of the images as they are.
    robust_correct: bool (N,), under the validation attack: right at every iterate.
    """

    clean_correct: Tensor
    robust_correct: Tensor

    @property
    def clean(self) -> float:
        """Clean accuracy, 0 to 1."""
        return float(self.clean_correct.double().mean())

    @property
    def robust(self) -> float:
        """Accuracy under the validation attack, 0 to 1."""
        return float(self.robust_correct.double().mean())

    def to_json(self) -> dict[str, str]:
        """Both as text, for checkpoints and records; `from_json` gives the same back."""
        return {"clean": _to_text(self.clean_correct), "robust": _to_text(self.robust_correct)}

    @staticmethod
    def from_json(values: Mapping[str, str]) -> Validation:
        """Read what `to_json` wrote. Raises ValueError for any other text."""
        return Validation(_from_text(values["clean"]), _from_text(values["robust"]))

    @staticmethod
    def joined(parts: Sequence[Validation]) -> Validation:
        """The outcomes of several tasks' images, one after another."""
        return Validation(
            torch.cat([part.clean_correct for part in parts]), torch.cat([part.robust_correct for part in parts])
        )


def _to_text(correct: Tensor) -> str:
    """A bool tensor (N,) as `N:hex`, eight images to a byte."""
    return f"{len(correct)}:{np.packbits(correct.cpu().numpy()).tobytes().hex()}"


def _from_text(text: str) -> Tensor:
    count, _, digits = text.partition(":")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8), count=int(count))
    return torch.from_numpy(bits.astype(bool))
