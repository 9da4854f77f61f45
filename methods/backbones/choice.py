"""The backbone of a preset: by name, width, and start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from methods.backbones.base import Backbone
from methods.backbones.pretrained import NONE, check_pretrained, check_source, load_pretrained, pretrained_identity
from methods.backbones.resnet import CifarResNet18, ResNet18, ResNet50
from methods.backbones.small_conv import SmallConv
from methods.backbones.timm_models import PREFIX, TimmBackbone
from methods.backbones.vgg import VGG16BN
from methods.settings import Strict, setting_added_later

BACKBONES: dict[str, Callable[[tuple[int, int, int], float], Backbone]] = {
    "vgg16_bn": VGG16BN,
    "small_conv": SmallConv,
    "resnet18": ResNet18,
    "resnet50": ResNet50,
    "cifar_resnet18": CifarResNet18,
}


class BackboneChoice(Strict):
    """A backbone by name, its width, and the weights it starts from."""

    name: str = Field(description=f"{', '.join(BACKBONES)}, or {PREFIX}NAME for a model of timm")
    width: float = Field(
        1.0, gt=0, le=4, description="every channel and feature count is int(base · width), at least 1"
    )
    pretrained: str = setting_added_later(
        NONE, description="none, imagenet (torchvision's or timm's weights), or the path of a file of weights"
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if name not in BACKBONES and not name.startswith(PREFIX):
            raise ValueError(f"valid: {', '.join(BACKBONES)}, {PREFIX}NAME")
        return name

    @field_validator("pretrained", mode="before")
    @classmethod
    def _read_nothing(cls, source: object, info: ValidationInfo) -> object:
        return NONE if source is None else source

    @model_validator(mode="after")
    def _check_start(self) -> BackboneChoice:
        check_source(self.name, self.pretrained)
        if self.name.startswith(PREFIX) and self.width != 1:
            raise ValueError(f"width = {self.width:g}: a model of timm has one width, 1")
        return self

    def identity(self) -> dict[str, Any]:
        """As of all settings; a file of weights counts by its bytes."""
        found = super().identity()
        if self.pretrained != NONE:
            found["pretrained"] = pretrained_identity(self.name, self.pretrained)
        return found

    def build(self, image_shape: tuple[int, int, int], mu: float = 1.0) -> Backbone:
        """The backbone for images of this shape (C, H, W), not initialised.

        mu: multiplies the number of parameters, so widths by its root (CPG).
        Raises ValueError, one line, if it does not go with such images, or cannot be so wide.
        """
        if not self.name.startswith(PREFIX):
            backbone = BACKBONES[self.name](image_shape, self.width * mu**0.5)
        elif mu == 1:
            backbone = TimmBackbone(self.name.removeprefix(PREFIX), image_shape)
        else:
            raise ValueError(f"backbone {self.name} has one width and cannot grow")
        backbone.pretrained = self.pretrained != NONE
        return backbone

    def start(self, backbone: Backbone) -> None:
        """Overwrite the weights that were drawn with the pre-trained ones, if there are any. Raises ValueError, one line."""
        if self.pretrained != NONE:
            load_pretrained(backbone, self.name, self.pretrained)

    def check_start(self, backbone: Backbone) -> None:
        """Raise ValueError, one line, unless the pre-trained weights are to be had and are those of `backbone` (on meta)."""
        if self.pretrained != NONE:
            check_pretrained(backbone, self.name, self.pretrained)
