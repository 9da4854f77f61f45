"""Starting points of attacks: a pure function of who is attacked, so every sweep and every method starts alike.

u(seed, key, sample, restart, element) is a counter-based hash (the finalizer of SplitMix64, Steele et al. 2014, applied
twice), not a generator: it depends on no order, batch size or device, and is the same to the bit everywhere because it
is integer arithmetic.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


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
    """SplitMix64's finalizer; int64 multiplication wraps, as it should."""
    value = (value ^ _shift(value, 30)) * _MIX1
    value = (value ^ _shift(value, 27)) * _MIX2
    return value ^ _shift(value, 31)


@dataclass(frozen=True, slots=True)
class Starts:
    """Uniform starting noise for a batch.

    seed: the evaluation seed; key: what tells tasks apart (a task's test fingerprint); samples: int64 (N,) sample ids.
    """

    seed: int
    key: str
    samples: Tensor

    def words(self, purpose: str, count: int) -> Tensor:
        """`count` words of 64 random bits per sample, int64 (N, count); other purposes give independent ones."""
        digest = hashlib.sha256(f"{purpose} {self.seed} {self.key}".encode()).digest()
        return self._words(digest, count)

    def words_at(self, purpose: str, places: Tensor) -> Tensor:
        """The words at some places of an endless row of them: int64 (N, K) from places int64 (N, K), 0 or more."""
        digest = hashlib.sha256(f"{purpose} {self.seed} {self.key}".encode()).digest()
        base = int.from_bytes(digest[:8], "little", signed=True)
        per_sample = _mix(self.samples.to(torch.int64) * _GOLDEN + base)
        return _mix(per_sample[:, None] + (places + 1) * _GOLDEN)

    def _words(self, digest: bytes, count: int) -> Tensor:
        base = int.from_bytes(digest[:8], "little", signed=True)
        per_sample = _mix(self.samples.to(torch.int64) * _GOLDEN + base)
        counter = torch.arange(1, count + 1, dtype=torch.int64, device=self.samples.device) * _GOLDEN
        return _mix(per_sample[:, None] + counter[None, :])

    def uniform(self, shape: torch.Size | tuple[int, ...], restart: int = 0) -> Tensor:
        """float32 of `shape` (N, ...) in [-1, 1), 24 random bits each; to be multiplied by eps."""
        digest = hashlib.sha256(f"start {self.seed} {self.key} {restart}".encode()).digest()
        bits = _shift(self._words(digest, int(torch.Size(shape[1:]).numel())), 40)
        return (bits.to(torch.float32) * 2.0**-23 - 1.0).reshape(shape)

    def fractions(self, purpose: str, count: int) -> Tensor:
        """`count` numbers per sample, float32 (N, count) uniform in [0, 1), 24 random bits each."""
        return _shift(self.words(purpose, count), 40).to(torch.float32) * 2.0**-24

    def inside(self, shape: torch.Size | tuple[int, ...], restart: int = 0) -> Tensor:
        """float32 of `shape` (N, ...) in the unit L2 ball: a random direction, a uniform radius (as torchattacks' PGDL2).

        The coordinates of a direction are sums of four 16-bit numbers, nearly normal. Their squares are summed as integers,
        and root and quotient round correctly in float64, so that these too are the same to the bit everywhere.
        """
        words = self.words(f"direction {restart}", int(torch.Size(shape[1:]).numel()))
        parts = [_shift(words, bits) & 0xFFFF for bits in (0, 16, 32, 48)]
        coordinates = 2 * torch.stack(parts).sum(0) - 4 * 0xFFFF
        length = (coordinates * coordinates).sum(1, keepdim=True).to(torch.float64).sqrt()
        radius = self.fractions(f"radius {restart}", 1).to(torch.float64)
        return (coordinates.to(torch.float64) * radius / length).to(torch.float32).reshape(shape)

    def select(self, index: Tensor) -> Starts:
        return Starts(self.seed, self.key, self.samples[index])
