"""Arguments that an attack must refuse, with an AttackError of one line: broken classifiers, bad batches, bad checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from attacks.base import AttackError
from benchmark.contract.attack_trial import AttackTrial
from benchmark.contract.requirement import Broken


class Says(nn.Module):
    """A module whose output is that of a function of the images."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Any:
        return self.function(images)


def _nan_for_one(images: Tensor, classes: int) -> Tensor:
    logits = images.flatten(1)[:, :classes].clone()
    logits[1] = float("nan")
    return logits


def broken_classifiers(trial: AttackTrial) -> None:
    classes = trial.classes
    says: dict[str, Callable[[Tensor], Any]] = {
        "NaN": lambda images: _nan_for_one(images, classes),
        "logits of one column": lambda images: images.flatten(1)[:, :1],
        "logits of three dimensions": lambda images: images[:, 0],
        "class numbers": lambda images: images.flatten(1).argmax(1),
        "a tuple": lambda images: (images.flatten(1), None),
        "fewer classes than labels": lambda images: images.flatten(1)[:, : classes - 1],
    }
    for what, function in says.items():
        _refuses(partial(trial.run, classifier=Says(function)), f"a classifier that returns {what}")


def bad_batches(trial: AttackTrial) -> None:
    batch = trial.batch()
    images, labels = batch.images, batch.labels
    given: dict[str, dict[str, Tensor]] = {
        "pixels up to 255": {"images": images * 255},
        "pixels below 0": {"images": images - 0.5},
        "uint8 images": {"images": (images * 255).byte()},
        "an empty batch": {"images": images[:0], "labels": labels[:0]},
        "negative labels": {"labels": labels - 9},
        "fewer labels than images": {"labels": labels[:3]},
    }
    for what, other in given.items():
        _refuses(partial(trial.run, **other), what)
    for checkpoints in ([], [-1], [10_000]):
        _refuses(partial(trial.run, checkpoints=checkpoints), f"checkpoints = {checkpoints}")


def _refuses(run: Callable[[], object], what: str) -> None:
    how = "ask the classifier through attacks.victim.Victim and begin with self.checked(checkpoints): they raise AttackError"
    try:
        run()
    except AttackError as error:
        if "\n" in str(error):
            raise Broken(f"its error about {what} has several lines", "say it in one line") from None
        return
    except Exception as error:
        raise Broken(f"{what}: it raises {type(error).__name__} ({error}) instead of AttackError", how) from None
    raise Broken(f"{what}: it runs as if nothing were wrong", how)
