"""The inputs that a network's layers were given, as columns: what gradient projection keeps the weights from forgetting.

A convolution sees patches. Row by row of its weight, W (outputs, d) times a column of d values is an output, so whatever moves W
at right angles to the columns of old images leaves what the layer says of them as it was (Saha et al. 2021, section 5).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from attacks.parts.guard import modes_kept
from methods.backbones import Backbone, TaskNetwork

CHUNK = 16
"""Images that go through the network at once: their patches, in float64, lie in memory together."""
APART = 0.01
"""An output may differ from weight times columns by this share of the largest: above rounding, on a GPU (TF32) too."""

Seen = Callable[[str, nn.Conv2d | nn.Linear, Tensor, Tensor], None]
"""(name of the layer's weight, layer, its input, its output)."""


class InputColumns:
    """Columns of one layer's inputs, and the directions in which most of their energy lies. All in float64.

    rows: d, the number of values in a column.
    device: that they are on.

    They are kept one by one while they are fewer than d, and as their Gram matrix R R' (d, d) from then on: it has the same left
    singular vectors, and one of the two forms is always small enough for an exact decomposition.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.rows, self.device = rows, device
        self._parts: list[Tensor] = []
        self._gram: Tensor | None = None

    def add(self, columns: Tensor) -> None:
        """Add columns: float (rows, n)."""
        self._parts.append(columns.double())
        if self._gram is not None or sum(part.shape[1] for part in self._parts) > self.rows:
            for part in self._parts:
                gram = part @ part.T
                self._gram = gram if self._gram is None else self._gram.add_(gram)
            self._parts = []

    @property
    def energy(self) -> float:
        """The sum of squares of all columns."""
        held = sum(float(part.square().sum()) for part in self._parts)
        return held if self._gram is None else float(self._gram.diagonal().sum())

    def leading(self, basis: Tensor, share: float) -> Tensor:
        """The fewest directions that, beside a basis, hold a share of the columns' energy: float64 (rows, r), orthonormal.

        basis: float (rows, k), orthonormal; the directions are at right angles to it.
        share: 0 (no direction) to 1 (all that the columns have): of the sum of squares of all columns, what lies in the basis
            counted (eq. 9 of the paper; eq. 5 for an empty basis).
        """
        basis = basis.double()
        energies, directions = self._decomposed(basis)
        total = self.energy
        # Sums of what is left, from the smallest on: near a share of 1 nothing is lost in rounding.
        left = torch.cat([energies.flip(0).cumsum(0).flip(0), energies.new_zeros(1)])
        # Energy below what rounding leaves of a direction is none.
        noise = total * max(self.rows, len(energies)) * torch.finfo(torch.float64).eps
        count = min(int((left > (1 - share) * total + noise).sum()), self.rows - basis.shape[1])
        found = directions[:, :count]
        found = found - basis @ (basis.T @ found)
        return torch.linalg.qr(found).Q if count else found

    def _decomposed(self, basis: Tensor) -> tuple[Tensor, Tensor]:
        """Energies, largest first, and directions of what the basis lacks."""
        if self._gram is not None:
            rest = self._gram - basis @ (basis.T @ self._gram)
            rest = rest - (rest @ basis) @ basis.T
            energies, vectors = torch.linalg.eigh((rest + rest.T) / 2)
            energies = energies.flip(0).clamp(min=0)
            return energies, vectors.flip(1)
        columns = torch.cat([basis.new_zeros(self.rows, 0), *self._parts], 1)
        rest = columns - basis @ (basis.T @ columns)
        energies, vectors = torch.linalg.eigh(rest.T @ rest)
        energies, vectors = energies.flip(0).clamp(min=0), vectors.flip(1)
        lengths = energies.sqrt()
        directions = (rest @ vectors) / torch.where(lengths > 0, lengths, 1.0)
        return energies, directions


def patches(layer: nn.Conv2d | nn.Linear, given: Tensor) -> Tensor:
    """The columns of a layer's input: float (d, n), d as in `layer.weight.flatten(1)`.

    given: float (N, C, H, W) of a convolution, (..., features) of a linear layer.

    The groups of a grouped convolution share one set of columns: what is kept for one is kept for all.
    """
    if isinstance(layer, nn.Linear):
        return given.reshape(-1, layer.in_features).T
    return _by_group(layer, given).permute(2, 0, 1, 3).flatten(1)


def _by_group(layer: nn.Conv2d, given: Tensor) -> Tensor:
    """Patches of a convolution's input: float (N, groups, d, places)."""
    padding: tuple[int, ...] = (0, 0) if isinstance(layer.padding, str) else layer.padding
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        given, padding = F.pad(given, layer._reversed_padding_repeated_twice, mode=mode), (0, 0)
    found = F.unfold(given, layer.kernel_size, layer.dilation, padding, layer.stride)
    return found.unflatten(1, (layer.groups, -1))


@contextmanager
def _watched(backbone: Backbone, seen: Seen) -> Iterator[None]:
    """Call `seen` for each convolution and linear layer of a backbone that images go through inside the block."""

    def behind(name: str, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        seen(name, layer, given[0], output)

    hooks = [
        module.register_forward_hook(partial(behind, f"{name}.weight"))
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def inputs_of_layers(network: TaskNetwork, images: Tensor) -> dict[str, InputColumns]:
    """The inputs of a backbone's layers, by the name of their weight.

    network: in the mode in which it is to be asked.
    images: float (N, C, H, W) in [0, 1].
    """
    found: dict[str, InputColumns] = {}

    def seen(name: str, layer: nn.Conv2d | nn.Linear, given: Tensor, output: Tensor) -> None:
        _add(found, name, patches(layer, given))

    with _watched(network.backbone, seen):
        for part in images.split(CHUNK):
            network(part)
    return found


@torch.no_grad()
def input_derivatives_of_layers(network: TaskNetwork, images: Tensor, directions: Tensor) -> dict[str, InputColumns]:
    """The derivatives of the layers' inputs where images move in a direction, J v, by the name of their weight.

    By forward-mode differentiation, one pass.

    network, images: as of `inputs_of_layers`.
    directions: v, float (N, C, H, W).
    """
    found: dict[str, InputColumns] = {}

    def seen(name: str, layer: nn.Conv2d | nn.Linear, given: Tensor, output: Tensor) -> None:
        tangent = forward_ad.unpack_dual(given).tangent
        _add(found, name, patches(layer, torch.zeros_like(given) if tangent is None else tangent))

    with (
        warnings.catch_warnings(),
        # Fused attention knows no such derivatives.
        sdpa_kernel(SDPBackend.MATH),
        forward_ad.dual_level(),
        _watched(network.backbone, seen),
    ):
        # Torch compiles what it knows of derivatives at their first use, in a way that it warns of itself.
        warnings.simplefilter("ignore", FutureWarning)
        for part, direction in zip(images.split(CHUNK), directions.split(CHUNK), strict=True):
            network(forward_ad.make_dual(part, direction))
    return found


def _add(found: dict[str, InputColumns], name: str, columns: Tensor) -> None:
    found.setdefault(name, InputColumns(columns.shape[0], columns.device)).add(columns)


@torch.no_grad()
def check_layers(network: TaskNetwork, images: Tensor) -> list[str]:
    """The names of a backbone's weights in the order in which images meet them.

    images: float (N, C, H, W) in [0, 1].

    Raises ValueError, one line, unless each layer's output is its weight times the columns of its input. This finds layers whose
    module is not called, and weights that are standardised before use.
    """
    order: list[str] = []
    apart: list[str] = []

    def seen(name: str, layer: nn.Conv2d | nn.Linear, given: Tensor, output: Tensor) -> None:
        if name not in order:
            order.append(name)
        expected = _by_columns(layer, given, output.shape)
        if float((expected - output).abs().max()) > APART * float(output.abs().max()):
            apart.append(name)

    with modes_kept(network), _watched(network.backbone, seen):
        network.eval()
        network(images)
    silent = [name for name, _ in network.backbone.shared_weights() if name not in order]
    if silent:
        raise ValueError(f"images do not pass through the layer of {silent[0]}")
    if apart:
        raise ValueError(f"the layer of {apart[0]} does not use its weight as it is")
    return order


def _by_columns(layer: nn.Conv2d | nn.Linear, given: Tensor, shape: torch.Size) -> Tensor:
    """The output of a layer, computed from the columns of its input: of this shape."""
    if isinstance(layer, nn.Linear):
        output = (layer.weight @ patches(layer, given)).T.reshape(shape)
        return output if layer.bias is None else output + layer.bias
    weight = layer.weight.flatten(1).unflatten(0, (layer.groups, -1))
    output = torch.einsum("god,ngdl->ngol", weight, _by_group(layer, given)).reshape(shape)
    return output if layer.bias is None else output + layer.bias[:, None, None]
