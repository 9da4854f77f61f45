"""A training under a watch: it ends in the epoch in which robust accuracy falls at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from methods.training.fit import Fit
from methods.training.inner_attack import Batch, InnerAttack
from methods.training.selection import snapshot


class CollapseGuard:
    """Applies the `CollapseWatch` of a training's objective, and keeps the network of the epoch before.

    attack: the inner attack of the training.
    rng: purpose → generator on the images' device.
    most: images that go through the network at once, at most; None: a batch.
    epochs: how many epochs were looked at so far.
    """

    def __init__(
        self, fit: Fit, attack: InnerAttack, rng: Callable[[str], torch.Generator], most: int | None = None
    ) -> None:
        self._fit, self._attack, self._rng, self._most = fit, attack, rng, most
        self._accuracy = 0.0
        self._before: dict[str, Tensor] = {}
        self.epochs = 0

    def collapsed(self, epoch: int, batch: Batch) -> bool:
        """True if `epoch` (from 0) was a collapse; the network of the epoch before is then put back. False without a watch.

        batch: the first batch of the epoch.
        """
        fit, watch = self._fit, self._fit.objective.watch
        if watch is None:
            return False
        self.epochs += 1
        generator = self._rng(f"collapse watch {epoch}")
        accuracy = sum(
            len(part.labels) / len(batch.labels) * watch.accuracy(fit.logits_of(part), part, self._attack, generator)
            for part in batch.parts(self._most)
        )
        if accuracy < self._accuracy - watch.drop:
            fit.network.load_state_dict(self._before)
            return True
        self._accuracy, self._before = accuracy, snapshot(fit.network)
        return False

    @property
    def image_gradients(self) -> int:
        """Image gradients per image of a batch that the watch has taken."""
        watch = self._fit.objective.watch
        return watch.steps * self.epochs if watch else 0
