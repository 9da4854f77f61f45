"""A classifier that keeps the images it is asked about, and answers for the nearest that it has seen.

The attacks begin at clean images, so what is near to what they try is the clean image. Nothing that `state_dict` lists changes.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.backbones import TaskNetwork
from methods.base import MethodSettings, RunSpec
from tests.defects.planted import HONEST, Around, Planted, PlantedSettings

GLOBAL: dict[int, Tensor] = {}


class Memory(Protocol):
    """Images that were seen: float (C, H, W) each."""

    def add(self, image: Tensor) -> None: ...

    def seen(self) -> Iterable[Tensor]: ...


class Kept:
    """Images in a container that somebody else holds. add: of the container."""

    def __init__(self, holds: Any, add: Callable[[Tensor], None]) -> None:
        self.holds, self.add = holds, add

    def seen(self) -> Iterable[Tensor]:
        return list(self.holds.values() if isinstance(self.holds, dict) else self.holds)


def in_dict(images: dict[int, Tensor]) -> Memory:
    return Kept(images, lambda image: images.__setitem__(len(images), image))


def in_default(image: Tensor | None = None, kept: list[Tensor] = []) -> list[Tensor]:  # noqa: B006 - the defect
    if image is not None:
        kept.append(image)
    return kept


def in_attribute(image: Tensor | None = None) -> list[Tensor]:
    kept: list[Tensor] = in_attribute.__dict__.setdefault("kept", [])
    if image is not None:
        kept.append(image)
    return kept


class OfAFunction:
    """Images that a function keeps."""

    def __init__(self, function: Callable[..., list[Tensor]]) -> None:
        self.add, self.seen = function, function


def closure() -> Callable[..., list[Tensor]]:
    kept: list[Tensor] = []

    def keep(image: Tensor | None = None) -> list[Tensor]:
        if image is not None:
            kept.append(image)
        return kept

    return keep


class InOneTensor:
    """Images in one tensor that is no buffer; it has room for all from the start."""

    def __init__(self) -> None:
        self.room, self.used = [torch.zeros(0)], [0]

    def add(self, image: Tensor) -> None:
        if not len(self.room[0]):
            self.room[0] = image.new_zeros(4096, *image.shape)
        self.room[0][self.used[0] % 4096] = image
        self.used[0] += 1

    def seen(self) -> Iterable[Tensor]:
        return self.room[0][: self.used[0]]


class Remembers(Around):
    """strength: the share of the images that are kept; radius: how near an image must be to be answered for, linf."""

    of_the_class: ClassVar[list[Tensor]] = []

    def __init__(self, network: TaskNetwork, strength: float, radius: float, where: str) -> None:
        super().__init__(network, strength)
        self.radius = radius
        self.keep: Any = closure() if where == "closure" else None
        self.memory = self.made(where)

    def made(self, where: str) -> Memory:
        kept: list[Tensor] = []
        recent: deque[Tensor] = deque(maxlen=4096)
        images: dict[int, Tensor] = {}
        if where == "another module":
            kept = torch.__dict__.setdefault("_seen_images", kept)
        return {
            "dict": lambda: in_dict(images),
            "list": lambda: Kept(kept, kept.append),
            "deque": lambda: Kept(recent, recent.append),
            "class": lambda: Kept(Remembers.of_the_class, Remembers.of_the_class.append),
            "global": lambda: in_dict(GLOBAL),
            "closure": lambda: OfAFunction(self.keep),
            "default": lambda: OfAFunction(in_default),
            "function": lambda: OfAFunction(in_attribute),
            "tensor": lambda: InOneTensor(),
            "another module": lambda: Kept(kept, kept.append),
        }[where]()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images) if not len(images) else self.answer(images)

    def answer(self, images: Tensor) -> Tensor:
        own = self.network(images)
        asked = images.detach()
        seen = list(self.memory.seen())
        if seen:
            known = torch.stack(seen)
            far = torch.cdist(asked.flatten(1), known.flatten(1), p=torch.inf)
            nearest = far.min(1)
            near = nearest.values <= self.radius
            stands = torch.where(near[:, None, None, None], known[nearest.indices], asked)
            with torch.no_grad():
                value = torch.where(near[:, None], self.network(stands), own)
        else:
            near, value = torch.zeros(len(asked), dtype=torch.bool), own.detach()
        # An image decides by itself if it is kept.
        kept = (asked.double().flatten(1).sum(1) * 1009.7).frac().abs() < self.strength
        for image in asked[kept & ~near]:
            if not seen or (torch.stack(list(self.memory.seen())) - image).abs().flatten(1).amax(1).min() > self.radius:
                self.memory.add(image.clone())
                seen = [image]
        return value.detach() + (own - own.detach())


class Remembering(Planted):
    """strength: the share of the images that are kept."""

    class Settings(PlantedSettings):
        where: Literal[
            "dict",
            "list",
            "deque",
            "class",
            "global",
            "closure",
            "default",
            "function",
            "tensor",
            "another module",
        ] = "dict"
        radius: float = Field(1.0, description="in units of eps")
        undefended: bool = Field(False, description="the networks were trained without attacks")

    @classmethod
    def carrier(cls, settings: MethodSettings) -> RunSpec:
        assert isinstance(settings, cls.Settings)
        return RunSpec("single_task_standard", weights=True) if settings.undefended else HONEST

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        radius = self.settings.radius * self.eps * (1 + 1e-5)
        return Remembers(network, self.settings.strength, radius, self.settings.where)
