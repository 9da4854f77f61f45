"""Random numbers of attacks: a pure function of the sample that is attacked, so that every sweep and every method starts alike.

u(seed, key, sample, restart, element) is a counter-based hash (the finalizer of SplitMix64, Steele et al. 2014, applied twice),
not a generator. It depends on no order, batch size or device, and is the same to the bit everywhere because it is integer
arithmetic.

A plug-in imports from here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Starts"]


def _signed(value: int) -> int:
    """An unsigned 64-bit constant as the int64 with the same bits (torch has no uint64 arithmetic on all devices)."""
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX1 = _signed(0xBF58476D1CE4E5B9)
_MIX2 = _signed(0x94D049BB133111EB)


def _shift(value: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's >> is arithmetic)."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _mix(value: Tensor) -> Tensor:
    """The finalizer of SplitMix64. It needs multiplication that wraps, as that of int64 does."""
    value = (value ^ _shift(value, 30)) * _MIX1
    value = (value ^ _shift(value, 27)) * _MIX2
    return value ^ _shift(value, 31)


def words_of(rows: Tensor, places: Tensor) -> Tensor:
    """The words at some places of endless rows of them: int64 (N, K) from rows int64 (N,), places int64 (N, K), 0 or more."""
    return _mix(rows[:, None] + (places + 1) * _GOLDEN)


@dataclass(frozen=True, slots=True)
class Starts:
    """The random numbers of a batch.

    seed: the evaluation seed.
    key: tells tasks apart: a task's test fingerprint.
    samples: int64 (N,), sample ids.
    """

    seed: int
    key: str
    samples: Tensor

    def words(self, purpose: str, count: int) -> Tensor:
        """`count` words of 64 random bits per sample: int64 (N, count). Another purpose gives independent ones."""
        return self._words(f"{purpose} {self.seed} {self.key}", count)

    def rows(self, purpose: str) -> Tensor:
        """Each sample's endless row of words, named by one: int64 (N,), from which `words_of` reads."""
        return self._rows(f"{purpose} {self.seed} {self.key}")

    def _words(self, text: str, count: int) -> Tensor:
        places = torch.arange(count, dtype=torch.int64, device=self.samples.device)
        return words_of(self._rows(text), places[None, :])

    def _rows(self, text: str) -> Tensor:
        base = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little", signed=True)
        return _mix(self.samples.to(torch.int64) * _GOLDEN + base)

    def uniform(self, shape: torch.Size | tuple[int, ...], restart: int = 0) -> Tensor:
        """Uniform numbers in [-1, 1), 24 random bits each, to be multiplied by eps: float32 of `shape` (N, ...)."""
        bits = _shift(self._words(f"start {self.seed} {self.key} {restart}", int(torch.Size(shape[1:]).numel())), 40)
        return (bits.to(torch.float32) * 2.0**-23 - 1.0).reshape(shape)

    def fractions(self, purpose: str, count: int) -> Tensor:
        """`count` uniform numbers in [0, 1) per sample, 24 random bits each: float32 (N, count)."""
        return _shift(self.words(purpose, count), 40).to(torch.float32) * 2.0**-24

    def inside(self, shape: torch.Size | tuple[int, ...], restart: int = 0) -> Tensor:
        """Points of the unit l2 ball, of random direction and uniform radius as in torchattacks' PGDL2: float32 of `shape`.

        shape: (N, ...).

        The coordinates of a direction are sums of four 16-bit numbers, nearly normal. Their squares are summed as integers,
        and root and quotient round correctly in float64, so that these too are the same to the bit everywhere.
        """
        words = self.words(f"direction {restart}", int(torch.Size(shape[1:]).numel()))
        parts = [_shift(words, bits) & 0xFFFF for bits in (0, 16, 32, 48)]
        coordinates = 2 * torch.stack(parts).sum(0) - 4 * 0xFFFF
        length = (coordinates * coordinates).sum(1, keepdim=True).to(torch.float64).sqrt()
        radius = self.fractions(f"radius {restart}", 1).to(torch.float64)
        return (coordinates.to(torch.float64) * radius / length).to(torch.float32).reshape(shape)

    def in_unit_ball(self, norm: str, shape: torch.Size | tuple[int, ...], restart: int = 0) -> Tensor:
        """Points of the unit ball of a norm, to be multiplied by eps: `uniform` under linf, `inside` under l2."""
        return (self.inside if norm == "l2" else self.uniform)(shape, restart)

    def select(self, index: Tensor) -> Starts:
        """The random numbers of some samples of the batch: index int64 (M,) or bool (N,)."""
        return Starts(self.seed, self.key, self.samples[index])
