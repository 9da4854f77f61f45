"""Everything that attacks must leave as it was: the classifier, its gradients, and the global random states."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from attacks.parts.clock import purpose
from benchmark.evaluating.fingerprints import Snapshot
from benchmark.evaluating.inspection.python_state import PythonState, python_state
from results.checkpoints import tensor_hash


class StateWatch:
    """A watch over one classifier, which tells after each attack whether all is as it was.

    What was looked at after an attack and found the same is not looked at again before the next one.
    """

    def __init__(self, classifier: nn.Module, snapshot: Snapshot | None = None) -> None:
        """snapshot: of the classifier as it is now, if one was taken."""
        self._classifier, self._snapshot = classifier, snapshot
        self._known: _Held | None = None
        self._before: _Held | None = None
        self._random: tuple[object, ...] = ()

    def begin(self, settle: Callable[[], None]) -> None:
        """Note how things are before an attack.

        settle: is called before anything is noted; it lets the classifier make what an honest one makes at first use.
        """
        with purpose("hash"):
            # If an attack failed, nobody knows how it left the classifier: then everything is noted anew.
            self._before, self._known = self._known, None
            if self._before is None:
                settle()
                if self._snapshot is None or not self._snapshot.is_of(self._classifier):
                    self._snapshot = Snapshot(self._classifier)
                self._before = _Held.of(self._classifier, self._snapshot)
            self._random = _random_states()

    def unchanged(self) -> bool:
        """True if an attack that has ended left everything as it was."""
        with purpose("hash"):
            assert self._before is not None, "no attack began"
            random_states = _random_states()
            same = self._before.is_of(self._classifier)
            self._known = self._before if same else None
            return same and random_states == self._random


@dataclass(frozen=True)
class _Held:
    """A classifier as it was.

    parts: all that decides what it answers.
    python: what it holds in Python.
    gradients: by parameter, the hash of its gradient; False if it has none.
    """

    parts: Snapshot
    python: PythonState
    gradients: dict[str, str | bool]

    @classmethod
    def of(cls, classifier: nn.Module, parts: Snapshot) -> _Held:
        return cls(parts, python_state(classifier), _gradients(classifier))

    def is_of(self, classifier: nn.Module) -> bool:
        return (
            self.parts.is_of(classifier)
            and python_state(classifier) == self.python
            and _gradients(classifier) == self.gradients
        )


def _gradients(classifier: nn.Module) -> dict[str, str | bool]:
    return {name: p.grad is not None and tensor_hash(p.grad) for name, p in classifier.named_parameters()}


def _random_states() -> tuple[object, ...]:
    on_gpu = torch.cuda.get_rng_state().numpy().tobytes() if torch.cuda.is_initialized() else b""
    # As bytes: to print the 624 words of numpy's state took longer than to hash a small classifier.
    name, words, *counters = np.random.get_state(legacy=True)
    of_numpy = (name, np.asarray(words).tobytes(), *counters)
    return torch.get_rng_state().numpy().tobytes(), on_gpu, of_numpy, random.getstate()
