"""Pre-trained weights of backbones: ImageNet's from torchvision or timm, or a file's."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from methods.backbones.base import Backbone
from methods.backbones.resnet import ResNet
from methods.backbones.timm_models import PREFIX, TimmBackbone, timm_weights

NONE, IMAGENET = "none", "imagenet"

TORCHVISION = {
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
}
"""Torchvision's `IMAGENET1K_V1`: the weights that PackNet, Piggyback and CPG started from. A file's name holds its SHA-256."""

HEADS = ("fc.", "head.", "head_dist.", "classifier.", "heads.")
"""Beginnings of the names of heads, which are not a backbone's unless it has something of that name itself."""


def pretrained_identity(name: str, source: str) -> str:
    """The name of pre-trained weights in a run's identity: a file counts by its bytes, wherever it lies."""
    if source == IMAGENET:
        return f"imagenet {TORCHVISION[name].rpartition('/')[2]}" if name in TORCHVISION else f"imagenet {name}"
    return source if source == NONE else hashlib.sha256(Path(source).read_bytes()).hexdigest()


def check_source(name: str, source: str) -> None:
    """Raise ValueError, one line, unless a backbone of that name can have these weights."""
    if source == IMAGENET and name not in TORCHVISION and not name.startswith(PREFIX):
        known = ", ".join([*TORCHVISION, f"{PREFIX}NAME"])
        raise ValueError(f"{name} has no ImageNet weights; {known} have; or give the path of a file of weights")
    if source not in (NONE, IMAGENET) and not Path(source).is_file():
        raise ValueError(f"{source}: no such file; valid: none, imagenet, or the path of a file of weights")


@torch.no_grad()
def load_pretrained(backbone: Backbone, name: str, source: str) -> None:
    """Overwrite a backbone's weights, batch norm included, with pre-trained ones.

    A wider backbone, one that grew, takes them as its top-left block, in which earlier tasks live.

    name: of the backbone, as in a preset.
    source: imagenet, or the path of a state dict as safetensors or of torch (`weights_only`): by the names of this backbone or of
        torchvision's, with or without a head.
    Raises ValueError, one line, if the weights cannot be fetched or read, or are not this backbone's.
    """
    found = _own_names(backbone, _read(name, source))
    where = f"backbone.pretrained = {source}"
    own = backbone.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    if lacking := sorted(own.keys() - counters - found.keys()):
        raise ValueError(f"{where}: holds no {lacking[0]}, which {name} has: these are weights of another network")
    if other := sorted(found.keys() - own.keys()):
        raise ValueError(f"{where}: holds {other[0]}, which {name} has not: these are weights of another network")
    for key, tensor in found.items():
        target = own[key]
        if tensor.ndim != target.ndim or any(a > b for a, b in zip(tensor.shape, target.shape, strict=True)):
            raise _of_another_width(where, key, tensor, name, target)
        if not target.is_meta:
            target[tuple(slice(0, size) for size in tensor.shape)].copy_(tensor)


def check_pretrained(backbone: Backbone, name: str, source: str) -> None:
    """Raise ValueError, one line, unless a backbone at its first width, on the meta device, is that of the weights."""
    load_pretrained(backbone, name, source)
    own = backbone.state_dict()
    for key, tensor in _own_names(backbone, _read(name, source)).items():
        if tensor.shape != own[key].shape:
            raise _of_another_width(f"backbone.pretrained = {source}", key, tensor, name, own[key])


def _of_another_width(where: str, key: str, tensor: Tensor, name: str, own: Tensor) -> ValueError:
    timm = name.startswith(PREFIX)
    right = (
        "the weights must be of a model for images of the same size"
        if timm
        else "the backbone's width must be that of the weights"
    )
    return ValueError(f"{where}: {key} is {list(tensor.shape)}, {name} has {list(own.shape)}; {right}")


def _own_names(backbone: Backbone, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by their names here, without those of a head."""
    own = backbone.state_dict()
    named = {name: (key, found[key]) for name, key in _with_own_names(backbone, list(found))}
    # Some models of timm have a norm of the features among what they call their head.
    return {name: tensor for name, (key, tensor) in named.items() if name in own or not key.startswith(HEADS)}


def _with_own_names(backbone: Backbone, keys: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of the name here and the name in the file."""
    if isinstance(backbone, ResNet) and "conv1.weight" in keys:
        ours = {theirs: own for own, theirs in backbone.torchvision_names.items()}
        parts = [key.rpartition(".") for key in keys]
        return [(f"{ours.get(module, module)}.{last}", f"{module}{dot}{last}") for module, dot, last in parts]
    if isinstance(backbone, TimmBackbone) and not any(key.startswith("layers.0.") for key in keys):
        return [(f"layers.0.{key}", key) for key in keys]
    return [(key, key) for key in keys]


def _read(name: str, source: str) -> Mapping[str, Tensor]:
    if source == IMAGENET:
        return _imagenet(name)
    return _file(source, Path(source).stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _imagenet(name: str) -> Mapping[str, Tensor]:
    if name.startswith(PREFIX):
        return timm_weights(name.removeprefix(PREFIX))
    url = TORCHVISION[name]
    try:
        found: Mapping[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True, progress=False
        )
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"backbone.pretrained = imagenet: {url} could not be fetched ({reason}); fetch it elsewhere and put it at {file}, or "
            "give its path"
        ) from None
    return found


@lru_cache(maxsize=2)
def _file(path: str, changed: int) -> Mapping[str, Tensor]:
    """The tensors of a file. changed: its time, so that another file in its place is read."""
    where = f"backbone.pretrained = {path}"
    try:
        found: Any = load_file(path)
    except SafetensorError:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        # Damaged bytes can raise anything at all in torch's reader.
        except Exception:
            raise ValueError(f"{where}: neither safetensors nor a state dict saved by torch") from None
    except OSError as error:
        raise ValueError(f"{where}: cannot be read ({error.strerror})") from None
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise ValueError(f"{where}: is no state dict, which maps names to tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}
