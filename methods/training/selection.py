"""The choice of an epoch: the network of the best one by validation accuracy, or of the last one, is left behind."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from methods.training.fit import Fit
from methods.training.recipe import Selection
from methods.training.validation import Validation


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's log. An accuracy is None if it was not measured in this epoch.

    epoch: from 0.
    loss: mean over the steps.
    clean_train, robust_train: accuracy on the images trained on, one of the two: as the objective uses them.
    clean_validation, robust_validation: accuracy on the validation split.
    learning_rate: at the start of the epoch.
    seconds: wall time of the epoch, validation included.
    """

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
    """The outcome of a training.

    epoch: the epoch (from 0) whose network was kept.
    validation: what that network got right on the validation split.
    last: what the last validated network got right.
    epochs: the log, in order.
    image_gradients: gradients with respect to images that were taken, counted in images.
    collapsed: the epoch in which training collapsed and ended (`CollapseWatch`); `last` is then of the epoch before it.
    recordings: how often a step was recorded, to be repeated from then on (`methods/training/captured.py`).
    why_plain: the reason for which steps were made one by one; empty if they were not.
    """

    epoch: int
    validation: Validation
    last: Validation
    epochs: list[Epoch]
    image_gradients: int
    collapsed: int | None = None
    recordings: int = 0
    why_plain: str = ""


class KeptEpoch:
    """The epoch whose network is left behind: the first of the best by validation, or the last.

    epoch: the one kept so far, -1 before the first.
    best: what its network got right on the validation split.
    last: what the last validated network got right.
    stopped: True once the patience of the fit is at its end.
    """

    best: Validation
    last: Validation

    def __init__(self, fit: Fit, selection: Selection) -> None:
        self._fit, self._selection = fit, selection
        self.epoch = self._validated = -1
        self.stopped = False
        self._unimproved = 0
        self._state: dict[str, Tensor] = {}

    def consider(self, epoch: int, *, last_one: bool, collapsed: bool) -> bool:
        """Validate the network after `epoch` (from 0) if it is due, keep it if it is to be kept; True if it was due.

        last_one: True for the last epoch of the recipe, which is always due.
        collapsed: True if the network is that of the epoch before again, which ends the training: it is validated unless it was.
        """
        if collapsed:
            if self._validated != epoch - 1:
                self._offer(epoch - 1, last_one=True)
            return False
        if not last_one and (epoch + 1) % self._selection.every:
            return False
        self._offer(epoch, last_one)
        return True

    def _offer(self, epoch: int, last_one: bool) -> None:
        fit = self._fit
        fit.network.eval()
        self.last, self._validated = fit.validate(), epoch
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
    """A copy of the network's state."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
