"""Models of timm by name, as backbones. timm is an optional requirement."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from methods.backbones.base import Backbone

PREFIX = "timm:"
"""Before the names of timm's models."""


class TimmBackbone(Backbone):
    """A model of timm (Wightman 2019) without its head: its pooled features.

    It has one width. Weights of convolutions and linear layers are drawn as in every backbone; what else it holds, such as
    embeddings of places, starts as timm draws it, the same for every seed.
    """

    grows = False
    linear_std = 0.02  # of vision transformers in timm; convolutional networks have no other linear layer than the head

    def __init__(self, name: str, image_shape: tuple[int, int, int]) -> None:
        """Raises ValueError, one line, if timm or the model is missing, or if the model does not take such images."""
        timm = _timm(name)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = _created(timm, name, image_shape)
                # Some models give more features than they say, so one is asked, in shapes alone.
                with torch.device("meta"):
                    found = _created(timm, name, image_shape).eval()(torch.empty(2, *image_shape))
        except Exception as error:
            channels, height, width = image_shape
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"backbone {PREFIX}{name} does not take {height}x{width} images of {channels} channels ({reason})"
            ) from None
        if found.ndim != 2:
            raise ValueError(
                f"backbone {PREFIX}{name} gives {list(found.shape[1:])} for an image, and not a row of features"
            )
        super().__init__([model], found.shape[1])


def _created(timm: Any, name: str, image_shape: tuple[int, int, int]) -> nn.Module:
    options: dict[str, Any] = {"num_classes": 0, "in_chans": image_shape[0]}
    try:
        # Transformers are built for one size, and other models know no such option.
        model: nn.Module = timm.create_model(name, img_size=image_shape[1:], **options)
    except TypeError:
        model = timm.create_model(name, **options)
    return model


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError:
        raise ValueError(f"backbone {PREFIX}{name} needs timm, which is not installed: pip install timm") from None
    if name not in timm.list_models():
        alike = timm.list_models(f"*{name.split('.')[0]}*")[:5]
        hint = f"; alike: {', '.join(alike)}" if alike else "; timm.list_models() names them"
        raise ValueError(f"backbone {PREFIX}{name}: timm has no model of this name{hint}")
    return timm


def timm_weights(name: str) -> dict[str, torch.Tensor]:
    """The pre-trained weights of a model, by their names in its state dict. Raises ValueError, one line, if there are none."""
    timm = _timm(name)
    try:
        model: nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"backbone.pretrained = imagenet: timm could not fetch the weights of {name} ({reason}); give a path instead"
        ) from None
    return dict(model.state_dict())
