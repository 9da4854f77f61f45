"""Replay: images of old tasks drawn for every step of a training, and what a step then minimises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from methods.parts.image_memory import KeptImages
from methods.training import AroundObjective, Batch, Logits, Objective, Recipe
from scenarios.parts.augmentation import Size, by_name


class Replay:
    """Draws of kept images for one training, other ones in every step, augmented as the stream's own images are.

    A step that draws may be recorded and repeated: nothing waits for the device, and the images stay where they are.

    kept: the images, at least one.
    share: images drawn for each image of the stream.
    augmentation: of the recipe, by name.
    size: (height, width) of what the network sees.
    generators: the first draws images, the second augments them; none of them is used by anything else.
    least: images that a step draws at least, if there are so many.
    """

    def __init__(
        self,
        kept: KeptImages,
        share: float,
        augmentation: str,
        size: Size,
        generators: tuple[torch.Generator, torch.Generator],
        least: int = 1,
    ) -> None:
        self.kept, self.share, self.generators, self.least = kept, share, generators, least
        self._augment, self._size = by_name(augmentation), size

    def count(self, size: int) -> int:
        """Images that are drawn beside so many of the stream: at least `least`, and no more than there are."""
        return min(len(self.kept), max(self.least, round(self.share * size)))

    def draw(self, beside: Batch) -> tuple[Batch, Tensor]:
        """Different kept images, each as likely as any other, and their places int64 (K,) among those kept.

        beside: the images of the stream that they are replayed with, of a step or of a part of it.
        """
        order, augmentation = self.generators
        keys = torch.rand(len(self.kept), generator=order, device=order.device)
        # Stable, so that equal keys are in the same order on every device.
        places = keys.argsort(stable=True)[: self.count(len(beside.labels))]
        images = self._augment(self.kept.images[places], augmentation, self._size)
        return Batch(images, self.kept.labels[places], self.kept.tasks[places], beside.first), places


def side_by_side(batches: list[Batch], factors: list[float] | None = None) -> Batch:
    """Batches as one, which goes through the network and its attack in one pass.

    factors: for a loss that is the sum of the batches' mean losses, each times its factor; None: one mean over all images.
    """
    images, labels, tasks = (
        torch.cat([getattr(batch, name) for batch in batches]) for name in ("images", "labels", "tasks")
    )
    weights = None
    if factors is not None:
        of_each = [
            torch.full((len(batch.labels),), factor * len(labels) / len(batch.labels), device=labels.device)
            for batch, factor in zip(batches, factors, strict=True)
        ]
        weights = torch.cat(of_each)
    return Batch(images, labels, tasks, batches[0].first, weights)


class ReplayingObjective(AroundObjective):
    """An objective around another one, whose steps draw old images that go through the network and its attack too.

    replay: draws them.
    logits_of: batch → the function from images to logits for a batch that mixes tasks.
    draws: how many times a step draws.
    """

    def __init__(self, inner: Objective, replay: Replay, logits_of: Callable[[Batch], Logits], draws: int = 1) -> None:
        super().__init__(inner)
        self.replay, self.logits_of, self.draws = replay, logits_of, draws

    def _times(self, recipe: Recipe) -> float:
        """Images that go through the network for each one of the stream."""
        return 1 + self.draws * self.replay.count(recipe.batch_size) / recipe.batch_size

    def passes(self, recipe: Recipe) -> float:
        return self.inner.passes(recipe) * self._times(recipe)

    def image_gradients(self, recipe: Recipe) -> int:
        return round(self.inner.image_gradients(recipe) * self._times(recipe))
