"""A stand-in for the classifier, for others' code."""

from __future__ import annotations

from torch import Tensor, nn

from attacks.victim import Victim


class StandIn(nn.Module):
    """A module that others' code gets instead of the classifier: it answers alike, and has a mode of its own.

    So `train()` and `eval()` do not reach the classifier, which is attacked in the mode in which it is scored. Passes are counted
    by the victim.

    raised: the classifier's exception, if there was one, to tell it from one of the attack itself.
    """

    def __init__(self, victim: Victim) -> None:
        super().__init__()
        self.victim = victim  # no module, so the classifier is not part of this tree
        self.place = nn.Parameter(victim.images.new_empty(0), requires_grad=False)  # what an attack asks for its device
        self.raised: Exception | None = None

    def forward(self, points: Tensor) -> Tensor:
        """Logits (M, C) of points (M, ...), both of the points' type, whatever the classifier's is.

        An attack that divided by zero asks about NaN. That is no fault of the classifier, which is asked about black instead.
        """
        asked = points.nan_to_num(0.0, 1.0, 0.0)
        if asked.requires_grad:
            asked.register_hook(self._count)
        try:
            logits = self.victim.logits(asked.to(self.victim.images.dtype)).to(points.dtype)
        except Exception as error:
            self.raised = error
            raise
        if asked.requires_grad and not logits.requires_grad:
            logits = logits + 0 * asked.flatten(1).sum(1, keepdim=True)  # zero gradients where the classifier cuts them
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.victim.gradient_evaluations += len(gradient)
