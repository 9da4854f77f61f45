"""Images of old tasks that are kept, as they were read: neither augmented nor attacked, which happens anew at each replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from scenarios.base import ImageSet
from scenarios.canonical import centre
from scenarios.parts.augmentation import Size, to_float


@dataclass(frozen=True, slots=True)
class KeptImages:
    """Images of old tasks, on the device of the network.

    images: uint8 (M, C, H, W), as they were read; they may be larger than what the network sees.
    labels: int64 (M,), as of the stream's images.
    tasks: int64 (M,), the task that each image comes from.
    logits: float32 (M, classes), answers to be kept; -inf for classes that were not among the answers. None: not kept.
    """

    images: Tensor
    labels: Tensor
    tasks: Tensor
    logits: Tensor | None = None

    @classmethod
    def of(cls, part: ImageSet, task: int) -> KeptImages:
        """All images of a part of a task, on the device of its labels."""
        return cls(part.images.to(part.labels.device), part.labels, torch.full_like(part.labels, task))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> KeptImages:
        """The images whose tensors these are, by the names of `tensors`."""
        return cls(tensors["images"], tensors["labels"], tensors["tasks"], tensors.get("logits"))

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, for a state."""
        found = {"images": self.images, "labels": self.labels, "tasks": self.tasks}
        return found if self.logits is None else found | {"logits": self.logits}

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, places: Tensor) -> KeptImages:
        """Some of the images: places int64 (K,)."""
        logits = None if self.logits is None else self.logits[places]
        return KeptImages(self.images[places], self.labels[places], self.tasks[places], logits)

    def joined(self, other: KeptImages) -> KeptImages:
        """These images and then those of another one, which keeps logits if this one does."""
        logits = None
        if self.logits is not None and other.logits is not None:
            most = max(self.logits.shape[1], other.logits.shape[1])
            logits = torch.cat([_widened(self.logits, most), _widened(other.logits, most)])
        images, labels, tasks = (
            torch.cat([getattr(self, name), getattr(other, name)]) for name in ("images", "labels", "tasks")
        )
        return KeptImages(images, labels, tasks, logits)

    def as_seen(self, size: Size) -> Tensor:
        """The images as a network sees them if nothing augments them: float32 (M, C, *size) in [0, 1]."""
        return to_float(centre(self.images, size))


def _widened(logits: Tensor, classes: int) -> Tensor:
    return F.pad(logits, (0, classes - logits.shape[1]), value=-torch.inf)


def reservoir_places(seen: int, offered: int, capacity: int, generator: torch.Generator) -> Tensor:
    """The places that a reservoir gives to images that are offered one after another: int64 (offered,), -1 for none.

    Algorithm R (Vitter 1985): image number n, from 0, takes place n while there is room; later one of 0..n at random, and is kept
    if there is such a place. Each of n images is then kept with the same probability. An image may be put in the place of another
    one of the same call.

    seen: images that were offered before.
    """
    device = generator.device
    number = torch.arange(seen, seen + offered, device=device)
    # In float64: a place of 0..n is drawn with a probability that is off by no more than rounding.
    draw = torch.rand(offered, generator=generator, device=device, dtype=torch.float64)
    drawn = torch.minimum((draw * (number + 1)).long(), number)
    place = torch.where(number < capacity, number, drawn)
    return torch.where(place < capacity, place, -1)


class Reservoir:
    """A memory of fixed capacity, in which every image that was ever offered is with the same probability.

    capacity: the most images that it keeps.
    seen: images that were offered so far.
    kept: those that are kept; None before the first.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.seen = capacity, 0
        self.kept: KeptImages | None = None

    def __len__(self) -> int:
        return 0 if self.kept is None else len(self.kept)

    def offer(
        self,
        part: ImageSet,
        task: int,
        generator: torch.Generator,
        logits_of: Callable[[KeptImages], Tensor] | None = None,
    ) -> None:
        """Offer each image of a part of a task once, in a random order.

        generator: on the device of the part's labels.
        logits_of: images that come to be kept → the logits to keep with them, float32 (K, classes); None: none are kept.
        """
        order = torch.randperm(len(part), generator=generator, device=generator.device)
        places = reservoir_places(self.seen, len(part), self.capacity, generator)
        # The last one that was put in a place is the one that stays there.
        stays = {place: image for image, place in zip(order.tolist(), places.tolist(), strict=True) if place >= 0}
        self.seen += len(part)
        if not stays:
            return
        new = KeptImages.of(part.select(torch.tensor(list(stays.values()), device=part.labels.device)), task)
        if logits_of is not None:
            new = replace(new, logits=logits_of(new))
        both = new if self.kept is None else self.kept.joined(new)
        # Each place by the number of its image among old and new ones.
        numbers = list(range(len(self))) + [-1] * (min(self.capacity, self.seen) - len(self))
        for number, place in enumerate(stays, len(self)):
            numbers[place] = number
        self.kept = both.select(torch.tensor(numbers, device=both.labels.device))

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, for a state."""
        return {} if self.kept is None else self.kept.tensors()

    def load(self, tensors: Mapping[str, Tensor], seen: int) -> None:
        """Take over what `tensors` and `seen` were."""
        self.kept, self.seen = KeptImages.from_tensors(tensors) if tensors else None, seen
