"""The choice of an epoch: the network of the best one by validation accuracy, or of the last one, is left behind."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from methods.training.fit import Fit
from methods.training.recipe import Selection
from methods.training.validation import Validation


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's log. Accuracies are None where they were not measured in this epoch."""

    epoch: int
    loss: float
    clean_train: float | None
    robust_train: float | None
    clean_validation: float | None
    robust_validation: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Selected:
    """The epoch whose network was kept, what it reached on the validation split, and what the last epoch reached.

    collapsed: the epoch in which training went wrong and ended, by `CollapseWatch`; the last is then the one before it.
    """

    epoch: int
    validation: Validation
    last: Validation
    epochs: list[Epoch]
    image_gradients: int
    collapsed: int | None = None


class KeptEpoch:
    """The epoch whose network is left behind: the first of the best by validation, or the last."""

    best: Validation
    last: Validation

    def __init__(self, fit: Fit, selection: Selection) -> None:
        self._fit, self._selection = fit, selection
        self.epoch = self.offered = -1
        self.stopped = False
        self._unimproved = 0
        self._state: dict[str, Tensor] = {}

    def offer(self, epoch: int, last_one: bool) -> None:
        """Validate the network as it stands after `epoch` (from 0), and keep it if it is to be kept so far."""
        fit = self._fit
        fit.network.eval()
        self.last, self.offered = fit.validate(), epoch
        better = self.epoch < 0 or fit.objective.score(self.last) > fit.objective.score(self.best)
        self._unimproved = 0 if better else self._unimproved + 1
        self.stopped = fit.patience is not None and self._unimproved >= fit.patience
        if better or self._selection.keep == "last":
            self.best, self.epoch = self.last, epoch
            # The last epoch needs no copy: its network is the one that stays.
            self._state = {} if last_one or self.stopped else snapshot(fit.network)

    def restore(self) -> None:
        """Leave the kept network behind, in eval mode."""
        if self._state:
            self._fit.network.load_state_dict(self._state)
        self._fit.network.eval()


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
