"""Modules as strangers bring them: found out how they must be asked, so that they answer as classifiers do.

A module that answers a tensor of logits for float32 images, and leaves the images alone, is attacked as it is. Any other is
wrapped if it can be measured, with a note, or refused in one line that says what would be right.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from attacks.memory import PROBE_ROWS
from attacks.parts.guard import classifier_kept, random_state_kept
from benchmark.errors import ConfigError

LONGEST = 300
"""Characters of somebody else's message that are shown."""

LOGITS = "logits"
"""The name that libraries give to the logits in what their models return."""


@dataclass(frozen=True)
class WayOfAsking:
    """The way in which a module is asked.

    copies: True if it is handed a copy of the images, because it writes to them.
    dtype: name of the type that images are cast to, such as `float64`; None for float32.
    output: where the logits are in what it returns: a name, or the number of an element; None if it returns them.
    """

    copies: bool = False
    dtype: str | None = None
    output: str | int | None = None

    def of(self, module: nn.Module) -> nn.Module:
        """The classifier that asks the module so: itself if it can be asked as it is."""
        return module if self == WayOfAsking() else AskedModule(module, self)

    def notes(self) -> list[str]:
        """One line for everything that is done to the images or to the answer."""
        found = []
        if self.dtype is not None:
            found.append(f"its weights are {self.dtype}: images are cast to {self.dtype} on their way in")
        if isinstance(self.output, str):
            found.append(f"it returns more than logits: {self.output!r} of what it returns is attacked")
        elif self.output is not None:
            found.append(f"it returns several tensors: element {self.output}, of a column per class, is attacked")
        if self.copies:
            found.append("it writes to the images it is asked about, so it is handed copies; clone() them in `forward`")
        return found


class AskedModule(nn.Module):
    """A classifier: a module, and the way in which it is asked."""

    def __init__(self, module: nn.Module, asking: WayOfAsking) -> None:
        super().__init__()
        self.module, self.asking = module, asking
        # Of this module alone: the one inside is in eval mode, and some refuse to be put there.
        self.training = False

    def forward(self, images: Tensor) -> Any:
        """Logits (N, classes), or whatever else the module returns. images: float (N, C, H, W) in [0, 1]."""
        if self.asking.copies:
            images = images.clone()
        if self.asking.dtype is not None:
            images = images.to(getattr(torch, self.asking.dtype))
        return _taken(self.module(images), self.asking.output)

    def extra_repr(self) -> str:
        return str(self.asking)


def plain(module: nn.Module) -> tuple[nn.Module, list[str]]:
    """The network inside the wrappers that only spread or compile it, and a note on each that changes its arithmetic."""
    notes: list[str] = []
    while True:
        inside = getattr(module, "_orig_mod", None)
        if isinstance(inside, nn.Module):
            notes = ["it is compiled; the network is attacked as it was before torch.compile"]
        elif isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inside = module.module
        else:
            return _as_its_copies(module), notes
        module = inside


def _as_its_copies(module: nn.Module) -> nn.Module:
    """The module as copies of it are: a copy of a traced module or of a graph goes by another name, and is told by that."""
    if any(isinstance(part, torch.jit.ScriptModule | torch.fx.GraphModule) for part in module.modules()):
        # Otherwise the copied weights of a script would belong to a graph.
        with torch.no_grad():
            return copy.deepcopy(module)
    return module


def run_uncompiled() -> AbstractContextManager[object]:
    """Run parts that are compiled as they were before, from now on, or in a `with` block.

    To compile them once more for each shape takes minutes, and a confined process can start no compiler.
    """
    # Nobody has compiled anything if this was never imported, and to import it takes a second.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def check_weights(module: nn.Module) -> None:
    """Raise ConfigError if some weights are not there: they are still to be made, or have no data."""
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        if is_lazy(tensor):
            raise ConfigError(f"{name} has no weights yet; send one batch through the module first")
        if tensor.is_meta:
            raise ConfigError(f"{name} is on the meta device, so it has no data; load the weights with assign=True")


@contextmanager
def ready(module: nn.Module, device: str) -> Iterator[None]:
    """Put a module on a device, frozen and in eval mode; afterwards everything is as it was. Raises ConfigError."""
    check_weights(module)
    training = [each for each in module.modules() if getattr(each, "training", False)]
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    homes = {tensor.device for tensor in chain(module.parameters(), module.buffers())}
    try:
        settle(module, device)
        yield
    finally:
        for each in training:
            each.training = True
        for parameter in trained:
            # A tensor that was made in inference mode is changed there alone.
            with torch.inference_mode(parameter.is_inference()):
                parameter.requires_grad_(True)
        if len(homes) == 1:
            module.to(homes.pop())


def settle(module: nn.Module, device: str) -> None:
    """Put a module on a device, frozen and in eval mode, for good. Raises ConfigError."""
    try:
        # Not in one chain: somebody's own `to` or `train` may return nothing.
        module.to(device)
        try:
            module.eval()
        except NotImplementedError:
            # Of torch.export: its mode is part of the graph.
            for each in module.modules():
                each.training = False
        # Not by the module: a scripted one refuses that.
        for parameter in module.parameters():
            parameter.requires_grad_(False)
    except Exception as error:
        raise ConfigError(f"cannot be put on {device} in eval mode: {one_line(error)}") from error


def detach_computed(module: nn.Module) -> None:
    """Take plain tensors that were computed from weights out of their graph, so that the module can be copied.

    Pruning and the older weight norm keep such a tensor, and compute it again at each pass.
    """
    for each in module.modules():
        for name, value in list(vars(each).items()):
            if isinstance(value, Tensor) and not value.is_leaf:
                setattr(each, name, value.detach())


def found_asking(module: nn.Module, images: Tensor, classes: int) -> WayOfAsking:
    """Find out how a module must be asked. Whatever it does to itself on the way is put back.

    module: ready.
    images: float (N, C, H, W) in [0, 1], on its device, some that no attack will show it.
    classes: number of classes among which it is to answer.
    Raises ConfigError if it gives no answer, or none to images that take a gradient.
    """
    with torch.inference_mode(False), random_state_kept(), _kept(module):
        dtype, answer, changed = _first_answer(module, images)
        asking = WayOfAsking(changed, dtype, _place_of_logits(answer, len(images), classes))
        few = images[:PROBE_ROWS]
        error = _refusal(lambda: asking.of(module)(few.clone().requires_grad_()))
        if error is not None and not asking.copies:
            asking = WayOfAsking(True, asking.dtype, asking.output)
            again = _refusal(lambda: asking.of(module)(few.clone().requires_grad_()))
            error = error if again is not None else None
        if error is not None:
            raise ConfigError(f"answers no images that take a gradient: {one_line(error)}{hint(error)}") from error
    return asking


@contextmanager
def _kept(module: nn.Module) -> Iterator[None]:
    """As `classifier_kept`. Raises ConfigError for weights of a kind that cannot be read or put back."""
    inside = False
    try:
        with classifier_kept(module):
            inside = True
            yield
            inside = False
    except ConfigError:
        raise
    except Exception as error:
        if inside:
            raise
        raise ConfigError(f"its weights cannot be read: {one_line(error)}") from error


def _first_answer(module: nn.Module, images: Tensor) -> tuple[str | None, Any, bool]:
    """The type that images are cast to, the answer, and True if the images were written to. Raises ConfigError."""
    first = None
    for dtype in (None, _own_dtype(module)):
        asked = images.clone() if dtype is None else images.to(getattr(torch, dtype))
        before, version = asked.clone(), asked._version
        try:
            with torch.no_grad():
                answer = module(asked)
        except Exception as error:
            first = first or error
        else:
            return dtype, answer, asked._version != version or not torch.equal(asked, before)
    assert first is not None
    shape = f"float32 images of shape {tuple(images.shape)}"
    if _refusal(lambda: module(images[:1].clone())) is None:
        more = "; it answers one image alone: export or trace it with a batch of any size"
    else:
        more = _elsewhere(module, images.device) or hint(first)
    raise ConfigError(f"does not answer {shape}: {one_line(first)}{more}") from first


def _own_dtype(module: nn.Module) -> str | None:
    """The type of the module's first weights of floats, if that is another one than float32."""
    for tensor in chain(module.parameters(), module.buffers()):
        if tensor.is_floating_point():
            return None if tensor.dtype == torch.float32 else str(tensor.dtype).removeprefix("torch.")
    return None


def _refusal(ask: Callable[[], object]) -> Exception | None:
    try:
        ask()
    except Exception as error:
        return error
    return None


def _place_of_logits(answer: Any, rows: int, classes: int) -> str | int | None:
    """The place of the logits in what a module returned; None if it returned a tensor, or nothing that tells."""
    if isinstance(answer, Tensor):
        return None
    if isinstance(_taken(answer, LOGITS), Tensor):
        return LOGITS
    parts: dict[Any, Any] = {}
    if isinstance(answer, Mapping):
        parts = dict(answer)
    elif isinstance(answer, tuple | list):
        parts = dict(enumerate(answer))
    fitting = [place for place, part in parts.items() if isinstance(part, Tensor) and part.shape == (rows, classes)]
    found = fitting[0] if len(fitting) == 1 else None
    return found if isinstance(found, str | int) else None


def _taken(answer: Any, place: str | int | None) -> Any:
    """The part of an answer at a place; the whole answer if there is no such part."""
    if place is None or isinstance(answer, Tensor):
        return answer
    found = getattr(answer, place, None) if isinstance(place, str) else None
    try:
        return answer[place] if found is None else found
    except (TypeError, KeyError, IndexError):
        return answer


def _elsewhere(module: nn.Module, device: torch.device) -> str:
    """The mend for tensors that do not move with the module; empty if it has none on another device."""
    for name, each in module.named_modules():
        for key, value in vars(each).items():
            if isinstance(value, Tensor) and value.device.type != device.type:
                where = f"{name}.{key}" if name else key
                return f"; {where} is a plain tensor on {value.device}: register_buffer({key!r}, ...) lets it move"
    return ""


HINTS = {
    "Inference tensors": "make its weights outside torch.inference_mode",
    "numpy() on": "compute in torch from images to logits: numpy has no gradient",
    "map_location": 'load with map_location="cpu"',
    "NVIDIA driver": "make it on the CPU: --device says where it is attacked",
    "not compiled with CUDA": "make it on the CPU: --device says where it is attacked",
    "in-place operation": "clone() the images in `forward`",
    "to have 3 channels, but got 1": "repeat the grey image: `images.expand(-1, 3, -1, -1)`",
}
"""What would be right, by a part of somebody else's message."""


def hint(error: BaseException) -> str:
    text = str(error)
    return next((f"; {mend}" for part, mend in HINTS.items() if part in text), "")


def one_line(error: BaseException) -> str:
    """An error of others in one line, with its type, and cut where it goes on and on."""
    text = " ".join(str(error).split()).rstrip(".")
    text = text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
